"""The adapted image side against the number of unlabelled pictures: a curve and its points.

    python -m benchmarks.adapt_pictures 96 --numbers 480 5000 --kinds patch rank=4
    python -m benchmarks.adapt_pictures 96 --world demo --numbers 160 320 960 5000 24000
    python -m benchmarks.adapt_pictures 96 --world demo --folder ~/photographs --numbers 960
    python -m benchmarks.adapt_pictures --plot docs/pictures/unlabelled.png

Zero-shot CLIP at phi is adapted on pictures of the base classes, drawn for this and read without
their labels, or on those of a folder, and tested as `loreal zero_shot` tests. With `demo-heldout`
base and new classes are halves of the base classes, and no test picture is read: settings are
chosen there. All points take about as many steps (`--steps`): views of a picture get fewer where
pictures get more. Every point is a JSON line on the terminal and in `OUT/adapt_pictures.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.select_adaptation import Trials, read_settings
from loreal_plugin.adapt.pictures import unlabelled_pictures
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.demo import render, world
from loreal_plugin.demo.pictures import as_jpeg
from loreal_plugin.files import replacing
from loreal_plugin.paths import cache_root

STREAM = 40  # of the pictures drawn here; no other pool has it
EPOCHS = 3
MOST_VIEWS = 64
MANY_STEPS = 1000  # a point with more than that is no part of the line


def main() -> None:
    """Measure the points that the command line asks for, or draw the curve of all points."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phi", type=int, nargs="?", default=96)
    parser.add_argument("--world", choices=("demo-heldout", "demo"), default="demo-heldout")
    parser.add_argument("--numbers", type=int, nargs="+", default=[320], help="of pictures")
    parser.add_argument("--kinds", nargs="+", default=["patch"], help="patch, or name=value,...")
    parser.add_argument("--steps", type=int, default=960, help="of a training, about")
    parser.add_argument("--folder", type=Path, help="pictures of any kind instead of drawn ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw all points of `demo`")
    args = parser.parse_args()
    record = Path(os.environ.get("OUT", "output")) / "adapt_pictures.jsonl"
    if args.plot:
        plot([json.loads(line) for line in record.read_text("utf-8").splitlines()], args.plot)
        return
    trials = Trials(args.phi, args.seed, args.world)
    for number in args.numbers:
        paths = (
            _from_folder(args.folder, number, args.seed) if args.folder else drawn(trials, number)
        )
        for kind in args.kinds:
            line = _point(trials, paths, kind, args)
            print(json.dumps(line), flush=True)
            record.parent.mkdir(parents=True, exist_ok=True)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _point(trials: Trials, paths: list[str], kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return one point: where it was measured, the settings, what came out."""
    views, epochs = passes(len(paths), args.steps)
    words = kind if "=" in kind else f"kind={kind}"  # `rank=4` is of the class's kind, patch_lora
    settings = read_settings(f"views={views},epochs={epochs},{words}", args.seed)
    where = {"world": args.world, "phi": args.phi, "pictures": len(paths)}
    where["source"] = "folder" if args.folder else "drawn"
    return {**where, "settings": settings.facts(), **trials.trial(settings, paths)}


def passes(number: int, steps: int, batch: int = AdaptSettings.batch) -> tuple[int, int]:
    """Return views of a picture and passes over them that take about `steps` steps."""
    rounds = max(1, round(steps * batch / number))  # how often a picture is shown
    epochs = min(EPOCHS, rounds)
    return min(MOST_VIEWS, max(1, rounds // epochs)), epochs


def drawn(trials: Trials, number: int) -> list[str]:
    """Return files of pictures of the classes that training may see; missing ones are drawn.

    The classes take turns, so the first n of a larger number are the pictures of n.
    """
    names = trials.halves["base"].classnames
    labels = [world.NAMES.index(name) for name in names]
    return [str(_draw(labels[i % len(labels)], i // len(labels))) for i in range(number)]


def _draw(label: int, index: int) -> Path:
    """Return the file of one picture."""
    folder = cache_root() / "adapt_pictures" / f"{label:02d}"
    path = folder / f"{index:05d}.jpg"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([world.WORLD_VERSION, STREAM, label, index])
        attributes = world.sample_attributes(label, rng)
        picture = render.draw(attributes, rng, world.get_pool("train").zoom)[0]
        with replacing(path, durable=False) as part:
            part.write_bytes(as_jpeg(picture))
    return path


def _from_folder(folder: Path, number: int, seed: int) -> list[str]:
    """Return `number` pictures of a folder, drawn with the seed."""
    found = [str(path) for path in unlabelled_pictures(folder, "--folder")]
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[i] for i in order[:number]]


def plot(points: list[dict[str, Any]], out: Path) -> None:
    """Draw the harmonic mean against the number of pictures, a line for each setting."""
    from matplotlib.figure import Figure

    lines: dict[str, dict[int, float]] = {}
    for point in points:
        if point["world"] == "demo":
            kind = point["settings"]["kind"]
            rank = f", rank {point['settings']['rank']}" if "lora" in kind else ""
            who = "drawings of the base classes" if point["source"] == "drawn" else "photographs"
            steps = f", {point['steps']:,} steps" if point["steps"] > MANY_STEPS else ""
            lines.setdefault(f"{kind}{rank}{steps}; {who}", {})[point["pictures"]] = point["hm"]
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, found in sorted(lines.items()):
        axes.plot(*zip(*sorted(found.items()), strict=True), "o-", label=name)
    axes.set(xscale="log", xlabel="unlabelled pictures", ylabel="HM, zero-shot CLIP at phi, %")
    numbers = sorted({number for found in lines.values() for number in found})
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()

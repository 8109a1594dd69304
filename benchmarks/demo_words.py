"""Compares attribute words on the demonstration world: a table of LOREAL's HM with each set.

    python -m benchmarks.demo_words --methods maple coop --seeds 1 2 3 --out output \\
        --write results/EARLIER.md

The sets have five words each. `coarse` is attributes/demo.json; `fine` names details that a small
picture loses (the world's patterns and marks); `generic` is attributes/generic.json; `random` are
words of the captions that are neither attributes nor class names, drawn with a fixed seed; `none`
keeps the contents and drops the words. Stages 1 and 2 are shared with every other run in the output
folder; what is complete is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.demo_world.captions import NEUTRAL, THING, vocabulary
from loreal_plugin.attributes.attribute_set import SCHEMA_VERSION
from loreal_plugin.cli.results import deliver
from loreal_plugin.demo.world import ATTRIBUTES, NAMES, VALUES
from loreal_plugin.files import write_text
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import build_spec

KEY = "loreal:TRAINER.LOREAL."
FINE = ("pattern", "mark", "spot", "hoop", "dotted")
RANDOM_SEED = 0


def random_words() -> tuple[str, ...]:
    """Return five words of captions that tell nothing about a picture's attributes or class."""
    taken = {*ATTRIBUTES, *NAMES, *FINE, *sum(VALUES.values(), ()), NEUTRAL, THING, "with"}
    free = [word for word in vocabulary() if word not in taken and word.isalpha() and len(word) > 1]
    return tuple(random.Random(RANDOM_SEED).sample(free, 5))


def word_sets(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return label and overrides of every set; a set without a file is written into `folder`."""
    sets = {"fine": FINE, "random": random_words()}
    for name, words in sets.items():
        content = {
            "schema_version": SCHEMA_VERSION,
            "dataset": "",
            "domain": "",
            "attributes": list(words),
        }
        write_text(folder / f"{name}.json", json.dumps(content))
    labels = {name: f"{name}: {', '.join(words)}" for name, words in sets.items()}

    def of_file(name: str) -> list[str]:
        return [f"{KEY}ATTRIBUTES", str(folder / f"{name}.json")]

    return {
        "coarse": ("coarse: the words of attributes/demo.json", []),
        "fine": (labels["fine"], of_file("fine")),
        "generic": (
            "generic: the words of attributes/generic.json",
            [f"{KEY}ATTRIBUTES", "generic"],
        ),
        "random": (labels["random"], of_file("random")),
        "none": ("no words", [f"{KEY}SLOT_PARTS", "contents"]),
    }


def measure(method: str, phi: int, seed: int, out: str, opts: list[str]) -> dict[str, Any]:
    """Return the record of one run."""
    spec = build_spec(method, str(phi), "demo", str(seed), out=out, opts=opts)
    return run_protocol(spec, say=lambda _text: None).record


def spread(values: list[float]) -> str:
    """Return mean and sample standard deviation over seeds."""
    text = f"{statistics.mean(values):.2f}"
    return f"{text} ± {statistics.stdev(values):.2f}" if len(values) > 1 else text


def table(found: dict[tuple[str, str], list[dict[str, Any]]], phi: int, seeds: list[int]) -> str:
    """Return the markdown table of LOREAL's rows, and of the host at phi for comparison."""
    lines = [
        "| method | words in the slots | Base | New | HM | n |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (method, label), rows in found.items():
        cells = [spread([row[s]["accuracy"] for row in rows]) for s in ("base", "new")]
        cells += [spread([row["hm"] for row in rows]), str(len(rows))]
        lines.append(f"| {' | '.join([method, label, *cells])} |")
    return "\n".join(
        [
            *lines,
            "",
            f"demo, phi {phi}, seeds {', '.join(map(str, seeds))}; mean ± sample deviation.",
            "",
        ]
    )


def main() -> None:
    """Run every set and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["maple"])
    parser.add_argument("--phi", type=int, default=96)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", default="output")
    parser.add_argument("--write", metavar="FILE", help="replace the part `words` of a document")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sets = word_sets(Path(args.out).resolve() / "words")
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for method in args.methods:
        for seed in args.seeds:
            for name, (label, opts) in sets.items():
                rows = {
                    row["name"]: row
                    for row in measure(method, args.phi, seed, args.out, opts)["rows"]
                }
                if name == "coarse":
                    found.setdefault((method, f"no slots: the host at {args.phi}"), []).append(
                        rows["phi"]
                    )
                found.setdefault((method, label), []).append(rows["loreal"])
                print(f"{method} seed {seed} {name}: HM {rows['loreal']['hm']:.2f}", flush=True)
    deliver(table(found, args.phi, args.seeds), args.write, "words")


if __name__ == "__main__":
    main()

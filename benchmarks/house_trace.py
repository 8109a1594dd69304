"""How far one reads: files and visits of a prediction, of a step, of a class name; sizes, imports.

    python benchmarks/house_trace.py                              # this checkout, a Markdown table
    python benchmarks/house_trace.py --root ../before --root .    # two checkouts, a column each
    python benchmarks/house_trace.py --transitions                # which file hands over to which

Calls are those of Python functions (`sys.setprofile`) in MaPLe at toy size: six classes of
pictures, a random CLIP of three layers, stages 1 and 2 trained for one epoch. A checkout is
measured in a process of its own. Comprehensions count as calls before Python 3.12: compare columns
of one Python only. Takes about ten seconds a checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import house_counts as counts

HERE = Path(__file__).resolve()
METHOD, NATIVE, PHI = "maple", 64, 32
PACKAGE, HOST = "loreal_plugin", "hosts"
# What somebody reads to know the method. The first list whose first file is there holds.
READING = (
    # adaptation.py is beside the method: ours, a stage of its own
    ("method/loreal.py", "method/*.py", "!method/__init__.py", "!method/adaptation.py"),
    (
        *("trainer/model.py", "trainer/mixin.py", "method/*.py", "!method/__init__.py"),
        *("text/prefix.py", "text/reference.py", "text/attention.py", "text/blocks.py"),
        *("text/chunks.py", "students/build.py|students/student.py", "students/views.py"),
        *("contract/base.py", "contract/tokens.py", "options.py"),
        "attributes/files.py|attributes/attribute_set.py",
    ),
)


# ---- the traced calls, in a process of the measured checkout -------------------------------------


def toy_words(folder: Path, clip: Path, trainer: str, recipe: Path, size: int) -> list[str]:
    """Return the words of a `train.py` for one stage on the toy pictures."""
    words = ["--root", folder / "data", "--seed", 1, "--output-dir", folder / trainer / str(size)]
    words += ["--trainer", trainer, "--config-file", recipe]
    words += ["--dataset-config-file", recipe.parents[2] / "datasets" / "folder.yaml"]
    words += ["DATASET.FOLDER", "pictures", "DATASET.NUM_SHOTS", 6]
    words += ["DATASET.SUBSAMPLE_CLASSES", "base", "MODEL.BACKBONE.NAME", clip]
    words += ["INPUT.SIZE", f"({size}, {size})", "OPTIM.MAX_EPOCH", 1]
    return [str(word) for word in (*words, "DATALOADER.TRAIN_X.BATCH_SIZE", 4)]


def toy_trainer(root: Path, folder: Path) -> Any:
    """Return a trainer of stage 3 that encodes its pictures at every step."""
    sys.path[:0] = [str(root), str(HERE.parents[1] / "tests")]
    os.environ["LOREAL_CACHE"] = str(folder / "cache")
    from helpers import random_clip_file, tiny_image_folder

    attach = importlib.import_module(f"{PACKAGE}.attach").attach_host
    host = attach(importlib.import_module(f"{PACKAGE}.paths").embedded_host(), METHOD)
    tiny_image_folder(folder / "data" / "pictures", classes=6, per_class=12)
    clip, ours = random_clip_file(folder, resolution=NATIVE), host.contract.loreal_trainer
    recipes = root / "configs" / "trainers" / ours
    stages = []
    for size in (NATIVE, PHI):
        words = toy_words(folder, clip, host.contract.trainer, recipes / "host_demo.yaml", size)
        host.build_trainer(host.setup_cfg(words)).train()
        stages.append(folder / host.contract.trainer / str(size))
    words = toy_words(folder, clip, ours, recipes / "demo.yaml", NATIVE)
    keys = {"PHI": PHI, "ALPHA_DIR": stages[0], "BETA_DIR": stages[1], "CACHE_VIEWS": 0}
    for key, value in keys.items():
        words += [f"TRAINER.LOREAL.{key}", str(value)]
    return host.build_trainer(host.setup_cfg(words))


def prediction(trainer: Any) -> Callable[[], Any]:
    """Return one prediction of a batch; the first one, which fills what is kept, is behind it."""
    import torch

    images = torch.cat([batch["img"] for batch in trainer.test_loader])[:5]
    trainer.set_model_mode("eval")
    predict = torch.no_grad()(trainer.model_inference)
    predict(images)
    return lambda: predict(images)


def training_step(trainer: Any) -> Callable[[], Any]:
    """Return one step on a new batch, pictures read and encoded; another step is behind it."""
    trainer.num_batches, trainer.batch_idx, trainer.epoch, trainer.max_epoch = 4, 0, 0, 2
    trainer.set_model_mode("train")
    trainer.before_epoch()
    trainer.forward_backward(next(iter(trainer.train_loader_x)))
    batches = iter(trainer.train_loader_x)
    return lambda: trainer.forward_backward(next(batches))


def class_names(trainer: Any) -> Callable[[], Any]:
    """Return the way from the class names and words to a first text feature of each student."""
    import torch

    model = trainer.model
    contents = torch.zeros(1, *_content_shape(trainer))

    def first_features() -> None:
        if hasattr(model, "set_words"):  # until the students were bound to their text paths
            model.set_words(trainer.words)
            paths = list(model.paths.values())
        else:
            with_slots = importlib.import_module(_binding_module(trainer)).with_slots
            words, options = trainer.stage3.words, trainer.stage3.options
            students = (model.alpha, model.beta)
            paths = [with_slots(one, words, options).text_path for one in students]
        for path in paths:
            path(contents)

    return torch.no_grad()(first_features)


def _binding_module(trainer: Any) -> str:
    """Return the module that binds a student to its slots; stage 3 of every revision takes it."""
    return sys.modules[type(trainer.stage3).__module__].with_slots.__module__


def _content_shape(trainer: Any) -> tuple[int, int]:
    """Return (K, D_t): number of attributes and text width."""
    nets = trainer.model.meta_nets.meta_nets
    return len(nets), nets[0].up.out_features


QUESTIONS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "prediction": prediction,
    "uncached step": training_step,
    "class name": class_names,
}


def probe(root: Path) -> dict[str, list[str]]:
    """Return the files of every call of the three questions; to be run in a process of its own."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        trainer = toy_trainer(root, Path(folder))
        calls = {name: counts.traced(ask(trainer), root) for name, ask in QUESTIONS.items()}
    return {name: counts.within(files, PACKAGE, HOST) for name, files in calls.items()}


def probed(root: Path) -> dict[str, list[str]]:
    """Return what `probe` says of a checkout, asked in a new process.

    Raises:
        RuntimeError: the process failed; its last words are in the message.
    """
    words = [sys.executable, str(HERE), "--probe", "--root", str(root)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"{root} could not be traced: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


# ---- the table -----------------------------------------------------------------------------------


def call_rows(files: dict[str, list[str]], root: Path) -> dict[str, Any]:
    """Return calls, files and visits of each question, in the package and with the host's files."""
    rows: dict[str, Any] = {}
    for name, calls in files.items():
        ours = counts.within(calls, PACKAGE)
        for place, chosen in (("package", ours), ("package and host", calls)):
            numbers = [len(chosen), len(set(chosen)), counts.visits(chosen)]
            rows[f"{name}: calls, files, visits ({place})"] = numbers
    entered = set(counts.within(files["uncached step"], PACKAGE))
    rows["lines of the files an uncached step enters"] = sum(
        counts.count_lines(root / file) for file in entered
    )
    return rows


def reading_list(package: Path) -> list[Path]:
    """Return the files to read for the method, as READING has them for this revision."""
    globs = next(globs for globs in READING if (package / globs[0]).exists())
    return counts.files_of(package, globs)


def size_rows(package: Path) -> dict[str, Any]:
    """Return how much there is to read, and what is longer than the house allows."""
    paths, reading = sorted(package.rglob("*.py")), reading_list(package)
    rooms, lines = counts.room_lines(package), counts.count_lines
    total, largest = sum(map(lines, paths)), next(iter(rooms))
    long_files = [p.relative_to(package).as_posix() for p in counts.long_files(paths)]
    return {
        "to read for the method: files, lines": [len(reading), sum(map(lines, reading))],
        "package: files, lines": [len(paths), total],
        f"files over {counts.MAX_LINES} lines": long_files,
        f"functions over {counts.MAX_FUNCTION} lines": counts.long_functions(paths),
        "rooms": len(rooms),
        "largest room": f"{largest}, {100 * rooms[largest] / total:.1f} % of the lines",
    }


def import_rows(root: Path) -> dict[str, Any]:
    """Return which imports go upward or in circles, and who imports the package from outside."""
    edges = counts.module_edges(root / PACKAGE)
    numbers = counts.room_numbers(root / "docs" / "ARCHITECTURE.md")
    rooms = counts.room_edges(edges)
    host = root / HOST / "embedded"
    importing = [
        path.relative_to(root).as_posix()
        for path in sorted(host.rglob("*.py"))
        if counts.imports_package(path, PACKAGE)
    ]
    return {
        "imports of a higher room": [str(a) for a in counts.upward_arrows(edges, numbers)],
        "circles of modules": [" ".join(circle) for circle in counts.circles(edges)],
        "circles of rooms": [" ".join(circle) for circle in counts.circles(rooms)],
        "files of the embedded host that import the package": importing,
    }


def measured(root: Path) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return every row of a checkout, and the files of its traced calls."""
    files = probed(root)
    return call_rows(files, root) | size_rows(root / PACKAGE) | import_rows(root), files


def markdown(columns: dict[str, dict[str, Any]]) -> str:
    """Return a table with a row a measure and a column a checkout; of names their number."""
    names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    lines = [["measure", *columns], ["---"] * (1 + len(columns))]
    lines += [[name, *(_cell(rows.get(name)) for rows in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(value: Any) -> str:
    """Return a value as a cell: numbers side by side, of names their number."""
    if not isinstance(value, list):
        return "" if value is None else str(value)
    return ", ".join(map(str, value)) if value and isinstance(value[0], int) else str(len(value))


def transition_lines(files: dict[str, list[str]]) -> str:
    """Return, for each question, which file hands over to which and how often."""
    lines = []
    for name, calls in files.items():
        found = counts.transitions(counts.within(calls, PACKAGE)).most_common()
        lines += [f"{name}: {sum(count for _, count in found) + 1} visits"]
        lines += [f"{count:>5}  {before} -> {after}" for (before, after), count in found]
    return "\n".join(lines)


def main() -> None:
    """Measure the checkouts asked for and print a table, JSON or the transitions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", action="append", type=Path, help="a checkout (this one)")
    parser.add_argument("--json", action="store_true", help="every row with all names")
    parser.add_argument("--transitions", action="store_true", help="where the visits come from")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    roots = [root.resolve() for root in args.root or [HERE.parents[1]]]
    if args.probe:
        print(json.dumps(probe(roots[0])))
        return
    same_name = len({root.name for root in roots}) < len(roots)
    found = {str(root) if same_name else root.name: measured(root) for root in roots}
    columns = {name: rows for name, (rows, _) in found.items()}
    print(json.dumps(columns, indent=2) if args.json else markdown(columns))
    if args.transitions:
        for name, (_, files) in found.items():
            print(f"\n{name}\n{transition_lines(files)}")


if __name__ == "__main__":
    main()

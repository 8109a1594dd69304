"""Walks the first steps of a new user on a fresh clone, and writes docs/FIRST_STEPS.md from them.

    python benchmarks/first_steps.py            # needs git, Python's venv and a package index

A clone, an environment and a home folder are made in a temporary folder, so that nothing of this
machine's caches is used; variables that would steer a run are taken away. Every command runs as it
stands on the page, is timed, and must succeed. Nothing here needs more than Python itself.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "FIRST_STEPS.md"
CLONE = "loreal"
HOME = "~"  # what the page calls the temporary folder
WIDEST = 200  # characters of a line that are shown
OURS = re.compile(r"LOREAL_|PYTHON|CONDA|VIRTUAL_ENV|XDG_")
KNOBS = ("DATA", "OUT", "HOST", "CLIP_WEIGHTS", "RECIPE", "SHOTS", "ATTRIBUTES", "INFERENCE")
CLASSES = ("anchor", "barrel", "basket", "blanket", "bottle", "bucket")
UNSEEN = tuple(f"world/demo/images/val/{name}/000.jpg" for name in CLASSES)


@dataclass(frozen=True)
class Step:
    """One command of the walk.

    Attributes:
        title: what it does, a heading of the page.
        command: what is typed; from the outputs of the steps before it.
        text: what the page says of it.
        shown: how many lines of the output the page shows at most, from its end.
    """

    title: str
    command: Callable[[Sequence[str]], str]
    text: str = ""
    shown: int = 60


@dataclass(frozen=True)
class Done:
    """A step that was walked: its command as it was typed, its output and wall time."""

    step: Step
    command: str
    output: str
    seconds: float


def typed(command: str) -> Callable[[Sequence[str]], str]:
    """Return a command that does not depend on outputs."""
    return lambda _outputs: command


def told(start: str, rest: str = "") -> Callable[[Sequence[str]], str]:
    """Return the command that an earlier step printed under "next".

    Args:
        start: first words of the command.
        rest: what stands for its placeholder.
    """

    def command(outputs: Sequence[str]) -> str:
        lines = [line.strip() for text in outputs for line in text.splitlines()]
        found = [line.partition("    #")[0] for line in lines if line.startswith(start)]
        if not found:
            raise SystemExit(f"no step printed a command that begins with '{start}'")
        return found[-1].replace("PICTURES...", rest)

    return command


STEPS = (
    Step("Clone", typed(f"git clone <this repository> {CLONE} && cd {CLONE}")),
    Step(
        "Install",
        typed("python3 -m venv .venv && source .venv/bin/activate && pip install -e '.[export]'"),
        "`[export]` brings what writes packages for devices. The page shows the last line.",
        shown=1,
    ),
    Step(
        "Pictures",
        typed(
            "loreal demo draw --root world --splits train val\n"
            "mkdir pictures\n"
            f"cp -r world/demo/images/train/{{{','.join(CLASSES)}}} pictures/"
        ),
        "Drawings of six classes stand in for pictures of your own: a folder per class. The CLIP"
        " that ships with the project was trained on such drawings, so nothing is downloaded.",
    ),
    Step(
        "Train",
        typed("loreal fit pictures --phi 96 --weights demo --shots 8"),
        "Eight pictures a class train, so that it is short. Photographs need real CLIP weights;"
        " these are drawings.",
        shown=100,
    ),
    Step(
        "Name pictures",
        told("loreal predict", " ".join(UNSEEN)),
        "The command that `fit` printed, with drawings that it has not seen; the folder's name is"
        " the class.",
    ),
    Step("Export", told("loreal export"), "The command that `fit` printed."),
    Step(
        "Test the package",
        typed("python -m loreal_plugin.edge pictures-96 --selftest"),
        "A device runs this with numpy, pillow and onnxruntime, without torch:"
        " [DEVICE.md](DEVICE.md).",
    ),
    Step(
        "Name pictures with the package",
        typed(f"python -m loreal_plugin.edge pictures-96 {UNSEEN[0]} --top 3"),
    ),
)


def fresh_environment(folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a new user whose home is `folder`: none that steers a run."""
    kept = {k: v for k, v in given.items() if not OURS.match(k) and k not in KNOBS}
    # a version manager's links to Python may look into the home folder, which is another now
    path = os.pathsep.join([str(Path(sys.base_prefix) / "bin"), given["PATH"]])
    return kept | {"HOME": str(folder), "PATH": path, "COLUMNS": "100"}


def walk(repository: Path, folder: Path, say: Callable[[str], None] = print) -> list[Done]:
    """Run all steps in an empty folder and return them.

    Raises:
        SystemExit: a command failed.
    """
    env, done = fresh_environment(folder, os.environ), []
    for step in STEPS:
        command = step.command([one.output for one in done])
        say(f"$ {command}")
        real = command.replace("<this repository>", str(repository))
        clone = folder / CLONE
        words = ["source .venv/bin/activate"] if (clone / ".venv").is_dir() else []
        script = "\n".join(["set -e", *words, real])
        start = time.perf_counter()
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=clone if clone.is_dir() else folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        seconds = time.perf_counter() - start
        # decoded by hand: what draws over its own line keeps its carriage returns
        output = ended.stdout.decode(errors="replace")
        say(f"{output}[{seconds:.1f} s]")
        if ended.returncode:
            raise SystemExit(f"exit code {ended.returncode}: {command}")
        done.append(Done(step, command, output, seconds))
    return done


def shortened(output: str, lines: int) -> str:
    """Return the end of an output; lines that were drawn over, and the ends of long ones, fall."""
    found = [line.rsplit("\r", 1)[-1].rstrip() for line in output.strip("\n").split("\n")]
    cut = [line if len(line) <= WIDEST else f"{line[: WIDEST - 4]} ..." for line in found]
    gone = len(cut) - lines
    return "\n".join([f"... ({gone} lines)", *cut[-lines:]] if gone > 0 else cut)


def page(done: Sequence[Done], machine: str, folder: Path) -> str:
    """Return the page, on which `folder` is called HOME."""
    total = sum(one.seconds for one in done)
    rows = [f"| {one.step.title} | {one.seconds:.1f} |" for one in done]
    head = (
        "From `git clone` to a named picture and a package for a device: every command with what it"
        "\nprinted. `python benchmarks/first_steps.py` runs them in a fresh clone with a fresh"
        f" environment and\nan empty home folder, which is called `{HOME}` here, and writes this"
        " page. Long lines are cut."
    )
    table = ["| step | seconds |", "|---|---:|", *rows, f"| together | {total:.1f} |"]
    parts = ["# First steps, as they ran", head, machine, "\n".join(table)]
    for number, one in enumerate(done, 1):
        # before lines are cut, lest a part of the folder's name stays
        shown = shortened(one.output.replace(str(folder), HOME), one.step.shown)
        command = one.command.replace(str(folder), HOME)
        typed_lines = "\n".join(f"$ {line}" for line in command.splitlines())
        block = f"```text\n{typed_lines}\n{shown}".rstrip("\n") + "\n```"
        text = [one.step.text] if one.step.text else []
        parts += [f"## {number}. {one.step.title} ({one.seconds:.1f} s)", *text, block]
    return "\n\n".join(parts) + "\n"


def machine_text(before: float, after: float) -> str:
    """Return what the page says of this machine, with its load before and after the walk."""
    cores = os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    used = f", `OMP_NUM_THREADS={threads}`" if threads else ""
    # the walk itself keeps the cores busy, so what else was there is seen before it
    busy = "busy with other work, too" if before > cores / 4 else "idle otherwise"
    return (
        f"Machine: {cores} cores, no GPU used, {platform.system()}, Python"
        f" {platform.python_version()}{used}. It was {busy} (load {before:.1f} before the walk,"
        f" {after:.1f} after it).\nHow long the installation takes depends on where packages come"
        " from."
    )


def main() -> None:
    """Walk and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repository", type=Path, default=ROOT, help="what is cloned (this)")
    parser.add_argument("--to", type=Path, default=PAGE, help="the page (docs/FIRST_STEPS.md)")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="first-steps-") as name:
        folder = Path(name).resolve()
        done = walk(given.repository.resolve(), folder)
        text = page(done, machine_text(before, os.getloadavg()[0]), folder)
        given.to.write_text(text, encoding="utf-8")
        print(f"written: {given.to}", flush=True)  # removing the environment takes a while


if __name__ == "__main__":
    main()

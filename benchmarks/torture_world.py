"""What `torture.py` runs and compares: a toy world, a quiet run of it, forked processes."""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# what differs between two runs of the same: times, memory, places
OWN = {
    *("seconds", "peak_memory_mb", "kept_embeddings", "kept_seconds", "milliseconds"),
    "picture_ms",
    *("resumed", "checked", "own_sha256", "files", "git_revision"),
}
NOT_READ = ("log.txt", "checkpoint", "comparison.png")
# what a run imports only when it comes to it: a forked process has it
EARLY = ("loreal_plugin.runs.run", "loreal_plugin.adapt.train", "loreal_plugin.trainer.mixin")
EARLY += ("loreal_plugin.runs.deployed_stage", "torch.utils.tensorboard")
FAST = ["--", "OPTIM.MAX_EPOCH", "2", "TRAIN.CHECKPOINT_FREQ", "1"]


@dataclass
class Row:
    """What was done in one kind of story, and what went wrong."""

    what: str
    number: str
    stories: int = 0
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the row of the table."""
        return f"| {self.what} | {self.number} | {self.stories} | {len(self.faults)} |"


class World:
    """Pictures, weights and caches in a folder, and what an undisturbed run gives there.

    Attributes:
        quiet: output folder of the undisturbed run.
        seconds: what that took, started as all others are.
        run: the words of its command, without the output folder.
    """

    def __init__(self, folder: Path, until: str = "") -> None:
        from helpers import random_clip_file, tiny_image_folder

        self.folder, self.cache, self.quiet = folder, folder / "cache", folder / "quiet"
        tiny_image_folder(folder / "data" / "pics", classes=4, per_class=6)
        random_clip_file(folder)
        settings = {"DATA": folder / "data", "CLIP_WEIGHTS": folder / "tiny_clip.pt"}
        settings |= {"LOREAL_CACHE": self.cache, "SHOTS": 2, "RECIPE": "demo"}
        settings |= {"LOREAL_PICTURE_TIMES": 0}  # times are not compared, and take long
        os.environ.update({name: str(value) for name, value in settings.items()})
        self.run = ["base2new", "coop", "32", "pics", *(["--until", until] if until else [])]
        self._prepare()
        # the first one also draws what caches keep
        for out in (self.quiet, folder / "second"):
            start = time.perf_counter()
            assert self.wait(self.fork(self.run, out)) == 0, (folder / "log").read_text()[-2000:]
            self.seconds = time.perf_counter() - start
        assert differences(self.quiet, folder / "second") == [], "a quiet run is not repeatable"
        shutil.rmtree(folder / "second")

    def _prepare(self) -> None:
        """Import and attach everything here, so that a forked process begins at once."""
        import torch

        from loreal_plugin.attach import attach_host
        from loreal_plugin.cli.main import build_parser
        from loreal_plugin.paths import embedded_host

        torch.set_num_threads(1)
        build_parser("base2new")
        attach_host(embedded_host(), "coop")
        self.prepare(EARLY)

    def prepare(self, modules: tuple[str, ...]) -> None:
        """Import modules here."""
        for name in modules:
            importlib.import_module(name)
        gc.freeze()  # processes need not go through all of it again

    def plan(self) -> str:
        """Return a plan of two runs that share no folder."""
        lines = ["name: torture", "methods: [coop]", "datasets: [pics]", "phis: [32]"]
        lines += ["seeds: [1, 2]", "shots: [2]", "variants:"]
        lines += ["  plain: {OPTIM.MAX_EPOCH: 2, TRAIN.CHECKPOINT_FREQ: 1}"]
        return "\n".join(lines) + "\n"

    def empty_caches(self) -> None:
        """Remove all that runs keep for each other."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def fork(
        self,
        words: list[str],
        out: Path,
        before: Callable[[], None] = lambda: None,
        **settings: str,
    ) -> int:
        """Start a command in a process that is forked from this one; return its number.

        Args:
            before: is called in the process before the command.
            settings: variables of its environment.
        """
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        code = 70
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                default = signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
                signal.signal(number, default)
            os.environ.update(settings)
            with open(self.folder / "log", "a", encoding="utf-8") as log:
                for number in (1, 2):
                    os.dup2(log.fileno(), number)
            from loreal_plugin.cli.main import main

            before()
            after = FAST if words[0] == "base2new" else []
            code = main([*words, "--out", str(out), *after])
            sys.stdout.flush()
        finally:
            os._exit(code)

    def ended(self, process: int) -> bool:
        """Return whether a process has ended; its exit code is still to be waited for."""
        return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, process: int) -> int:
        """Return the exit code of a process, negative for the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kept_files(out: Path) -> list[Path]:
    """Return the files of runs and caches that are read back."""
    found = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(
        path
        for path in found
        if path.name not in NOT_READ
        and path.suffix not in (".lock", ".png")
        and "tensorboard" not in path.parts
        and not any(part.endswith(".replaced") or part == "sweeps" for part in path.parts)
    )


def flip(path: Path, place: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def differences(quiet: Path, out: Path) -> list[str]:
    """Return in what a run's records and checkpoints differ from the quiet one's, times aside."""
    from loreal_plugin.runs.verify import verify

    found = [f"{path} {fault}" for path, fault in verify(out).damaged.items()]
    for path in sorted(quiet.rglob("results.json")):
        other = out / path.relative_to(quiet)
        if not other.is_file():
            found.append(f"{other} is missing")
        elif (where := first_difference(record(path), record(other))) is not None:
            found.append(f"{other} differs at {where}")
    for path in sorted(quiet.rglob("model*")):
        other = out / path.relative_to(quiet)
        if not other.is_file():
            found.append(f"{other} is missing")
        elif not same_tensors(path, other):
            found.append(f"{other} has other tensors")
    return found


def record(path: Path) -> Any:
    """Return a record without what is each run's own."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(entry) for name, entry in value.items() if name not in OWN}
        return [plain(entry) for entry in value] if isinstance(value, list) else value

    return plain(json.loads(path.read_text(encoding="utf-8")))


def first_difference(one: Any, other: Any, at: str = "") -> str | None:
    """Return where two records differ first, with both values; None where they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(name, one.get(name), other.get(name)) for name in sorted({*one, *other})]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(str(n), *both) for n, both in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else f"{at}: {one!r:.80} and {other!r:.80}"
    found = (first_difference(a, b, f"{at}/{name}") for name, a, b in pairs)
    return next((where for where in found if where is not None), None)


def same_tensors(one: Path, other: Path) -> bool:
    """Return whether two checkpoints hold the same tensors, bit for bit."""
    import torch
    from safetensors.torch import load_file

    from loreal_plugin.files.torch_files import read_torch

    tables = [
        load_file(path) if path.suffix == ".safetensors" else read_torch(path)["state_dict"]
        for path in (one, other)
    ]
    return tables[0].keys() == tables[1].keys() and all(
        torch.equal(tables[0][name], tables[1][name]) for name in tables[0]
    )


def leftovers(out: Path) -> list[str]:
    """Return files that somebody was writing and that nobody removed."""
    return [f"{path} was left" for path in out.rglob("*.part")]

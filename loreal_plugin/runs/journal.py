"""The journal of a training that is under way: what it has written so far, and the time it took.

`<stage>/started.json` has the stage's key, the parts of the training and the hashes of its
checkpoints. A training that was interrupted goes on from what the journal vouches for, and from
nothing else. It is written after the files: a checkpoint that is newer was about to be vouched for
when the process died, and is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError
from loreal_plugin.files import read_checked, write_checked, write_text
from loreal_plugin.files.checked_json import OLD
from loreal_plugin.files.manifest import Manifest, damage
from loreal_plugin.results.record import SCHEMA_VERSION, STARTED
from loreal_plugin.runs.meter import Meter
from loreal_plugin.runs.random_state import PATTERN
from loreal_plugin.runs.stage_files import BEST, POINTER, checkpoint_files, epoch_of, files_of


@contextmanager
def ending(journal: Journal, meter: Meter) -> Iterator[None]:
    """Note in the journal what the block took, whether it ends well or not."""
    try:
        yield
    except BaseException:
        with suppress(LorealError):  # a full disk must not hide what ended the training
            journal.end(meter.peak_memory_mb)
        raise
    journal.end(meter.peak_memory_mb)


class Journal:
    """The journal of one stage's folder.

    Args:
        folder: of the stage.
        name: its folder of checkpoints.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self._folder, self._name = folder / STARTED, folder, name
        content, self.fault = read_checked(self.path)
        self.key: str = content.get("key", "")
        self.parts: list[dict[str, float]] = content.get("parts", [])
        # None: of an earlier release, which kept no hashes
        self.files: dict[str, str] | None = content.get("files")
        self.earlier = 0.0  # seconds of the parts before this one
        self._manifest = Manifest(folder)
        self._began = time.monotonic()

    # ---- an interrupted training -----------------------------------------------------------------

    def obstacle(self, *, random_state: bool) -> str:
        """Return why a training cannot go on from this folder, "" where it can.

        Args:
            random_state: the training draws from the process's random state.
        """
        if self.fault and self.fault != OLD:
            return f"{self.path} {self.fault}"
        known = self.files or {}
        found = damage(self._folder, known)
        if found:
            return found[0]
        inside = self._folder / self._name
        for path in inside.glob(f"{BEST}*"):
            if self.files is not None and f"{self._name}/{path.name}" not in known:
                return f"{path} was being written when the training ended"
        epoch = self._epoch()
        ended = bool(self.parts) and self.parts[-1].get("epochs") == epoch
        state = self._folder / PATTERN.format(epoch)
        # after the last epoch nothing is drawn, and the state is gone on purpose
        if random_state and epoch and not ended and not state.is_file():
            return f"{state}, the random state of the training, is gone"
        return ""

    def drop_others(self) -> None:
        """Remove checkpoints that the journal does not vouch for: no training may resume there."""
        if self.files is None:
            return
        states = self._folder.glob(PATTERN.format("*"))
        for path in [*checkpoint_files(self._folder, self._name), *states]:
            if path.relative_to(self._folder).as_posix() not in self.files:
                path.unlink()
        pointer, epoch = self._folder / self._name / POINTER, self._epoch()
        newest = [Path(name).name for name in self.files if epoch and epoch_of(name) == epoch]
        if newest:
            write_text(pointer, f"{newest[0]}\n")
        else:
            pointer.unlink(missing_ok=True)

    def _epoch(self) -> int:
        """Return the epoch to go on from."""
        if self.files is not None:
            return max((epoch_of(name) for name in self.files), default=0)
        pointer = self._folder / self._name / POINTER
        return epoch_of(pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else 0

    # ---- a training that runs --------------------------------------------------------------------

    def begin(self, key: str, epochs: int) -> None:
        """Note that a part of the training begins, and what the parts before it took.

        A part that was killed is taken to have ended when a file of the stage last changed.
        """
        if self.parts and "seconds" not in self.parts[-1]:
            self.parts[-1]["seconds"] = self._seconds_until_last_write()
        self.earlier = sum(part["seconds"] for part in self.parts)
        self.key, self._began, self.files = key, time.monotonic(), self.files or {}
        self.parts.append({"began": time.time(), "epochs": epochs})
        self._write()

    def watch(self, trainer: Any) -> None:
        """Let a trainer note each checkpoint as soon as it is saved."""
        save = trainer.save_model

        def save_model(epoch: int, directory: str, *args: Any, **kwargs: Any) -> None:
            if kwargs.get("model_name"):  # the best one: another takes its place
                self.forget(kwargs["model_name"])
            save(epoch, directory, *args, **kwargs)
            self.note_files()

        trainer.save_model = save_model

    def note_files(self) -> dict[str, str]:
        """Bring the stage's files to the disk, note their hashes, and return these."""
        self.files = self._manifest.hashes(files_of(self._folder, self._name))
        self._write()
        return self.files

    def mend(self, key: str, files: dict[str, str]) -> None:
        """Write the journal of a stage that is complete anew, where it is damaged.

        Args:
            key, files: of the stage's record.
        """
        if self.path.is_file() and self.fault and self.fault != OLD:
            self.key, self.parts, self.files = key, [], files
            self._write()

    def end(self, peak_memory_mb: float) -> None:
        """Note that this part has ended, whole or not."""
        part = {"seconds": time.monotonic() - self._began, "peak_memory_mb": peak_memory_mb}
        self.parts[-1] |= part
        self._write()

    @property
    def peak_memory_mb(self) -> float:
        """The largest memory of all parts that ended."""
        return max((part.get("peak_memory_mb", 0.0) for part in self.parts), default=0.0)

    def forget(self, name: str) -> None:
        """Vouch no longer for a file that is written again in its place."""
        if self.files and self.files.pop(f"{self._name}/{name}", None):
            self._write()

    def _seconds_until_last_write(self) -> float:
        """Return how long the last part ran, as far as the stage's files tell."""
        last = [path.stat().st_mtime for path in self._folder.glob("**/*") if path.is_file()]
        return max(max(last, default=0.0) - self.parts[-1]["began"], 0.0)

    def _write(self) -> None:
        content = {"schema_version": SCHEMA_VERSION, "key": self.key, "parts": self.parts}
        write_checked(self.path, content | {"files": self.files or {}})

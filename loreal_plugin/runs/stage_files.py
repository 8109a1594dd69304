"""The files of a trained stage that are read back, and whether they are as they were written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loreal_plugin.errors import CheckpointError, LorealError
from loreal_plugin.files.checked_json import OLD
from loreal_plugin.files.manifest import damage
from loreal_plugin.results.record import read_results
from loreal_plugin.runs.random_state import PATTERN

POINTER = "checkpoint"  # names the newest checkpoint, in Dassl's folders and in ours
BEST = "model-best"
TABLES = "inference"  # has notes with hashes of its own, and comes later
_EPOCH = re.compile(r"model(?:\.pth\.tar)?-(\d+)(?:\.safetensors)?")


def epoch_of(name: str) -> int:
    """Return the epoch in a checkpoint's file name, 0 for other files."""
    found = _EPOCH.fullmatch(Path(name).name)
    return int(found[1]) if found else 0


def checkpoint_files(folder: Path, name: str) -> list[Path]:
    """Return the files below `<folder>/<name>` that are read back."""
    inside = folder / name
    found = []
    for path in sorted(inside.glob("**/*")):
        parts = path.relative_to(inside).parts
        plain = not any(part.startswith(".") for part in parts) and path.suffix != ".tmp"
        if plain and parts[0] not in (POINTER, TABLES) and path.is_file():
            found.append(path)
    return found


def files_of(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a stage that are read back, its newest random state included."""
    found = checkpoint_files(folder, name)
    yield from found
    newest = max((epoch_of(path.name) for path in found), default=0)
    state = folder / PATTERN.format(newest)
    if state.is_file():
        yield state


def finished_stage(
    folder: Path, key: str, name: str, say: Callable[[str], None]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the record of the finished stage `key` in a folder, and what is wrong with its files.

    Args:
        name: its folder of checkpoints.
        say: prints one line: that files were made before hashes were kept.
    """
    record = read_results(folder)
    if record is None or record["key"] != key:
        return None, []
    if "files" in record:
        return record, damage(folder, record["files"])
    say(f"  {folder}: {OLD}")
    last = [p for p in checkpoint_files(folder, name) if epoch_of(p.name) == record.get("epochs")]
    return record, [] if last else [f"{folder / name}: the checkpoint of the last epoch is gone"]


def check_files(folder: Path) -> None:
    """Raise CheckpointError where a file of a stage is not what its record says."""
    found = damage(folder, (read_results(folder) or {}).get("files", {}))
    if found:
        raise CheckpointError(
            f"{found[0]}; run the command of its training again, which trains the stage anew"
        )


def load_checkpoint(trainer: Any, folder: Path, epoch: int | None) -> None:
    """Load a checkpoint into a trainer; `epoch` None means the best one, as in the family.

    Raises:
        CheckpointError: it is missing, damaged, or does not fit.
    """
    try:
        trainer.load_model(str(folder), epoch=epoch)
    except LorealError:
        raise
    except (OSError, RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        which = f"checkpoint of epoch {epoch}" if epoch else "best checkpoint"
        raise CheckpointError(f"the {which} in {folder} cannot be loaded: {first}") from error

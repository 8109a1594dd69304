"""Finding a finished run: from a folder to stage 3, its record and its host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from loreal_plugin.errors import CheckpointError, HostError
from loreal_plugin.results.record import RESULTS, read_record
from loreal_plugin.runs.spec import find_host
from loreal_plugin.trainer.checkpoint import NAME


def find_run(path: str | Path) -> tuple[Path, dict[str, Any], Path | None]:
    """Return stage 3's folder, the run's record and the output folder of all stages.

    The output folder is None where the run was copied alone.

    Args:
        path: the run's results.json, or the folder it lies in.

    Raises:
        CheckpointError: there is no record of a run with stage 3, or stage 3 is not where it says.
    """
    path = Path(path)
    folder = (path.parent if path.name == RESULTS else path).expanduser().resolve()
    record, fault = read_record(folder / RESULTS)
    if fault or record.get("kind") == "sweep":
        why = f"{RESULTS} {fault or 'is the record of a sweep'}"
        raise CheckpointError(
            f"no finished run in {folder}: {why}; name the folder of stage 3 "
            "(.../train_base/.../<X>_LOREAL/phi<N>/<cfg>/seed<S>), or run base2new_train.sh first"
        )
    stages = record.get("stages") or {}
    alone = record.get("stage") == "loreal" and (folder / NAME).is_dir()
    if "loreal" not in stages and not alone:
        found = f"{record['kind']} {record.get('stage') or ''}".strip()
        raise CheckpointError(
            f"{folder / RESULTS} is the record of '{found}'; a run with stage 3 is needed"
        )
    inside = stages["loreal"]["folder"] if "loreal" in stages else ""
    for out in folder.parents:
        if inside and (out / inside / NAME).is_dir():
            return out / inside, record, out
    if alone:
        return folder, record, None
    raise CheckpointError(
        f"the run in {folder} wrote stage 3 to OUT/{inside}, which is not there; keep the folders"
        " of an output together"
    )


def host_folder(record: dict[str, Any], host: str | None) -> Path:
    """Return the checkout that a run was made on.

    Raises:
        HostError: it was a stranger's, and none was named.
    """
    theirs = record["host"]["name"]
    named = host or os.environ.get("HOST") or ""
    if theirs != "embedded" and not named:
        raise HostError(
            f"the run was made on host '{theirs}'; name that checkout with --host or HOST"
        )
    return find_host(named)

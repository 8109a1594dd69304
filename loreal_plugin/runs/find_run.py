"""Finding a finished run: from a folder to stage 3, its record and its host."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from loreal_plugin.errors import CheckpointError, ConfigError, HostError, unknown_name
from loreal_plugin.files.packed import unpacked
from loreal_plugin.results.record import RESULTS, read_record
from loreal_plugin.runs.folders import place_aside
from loreal_plugin.runs.spec import find_host
from loreal_plugin.trainer.checkpoint import NAME

# What a run can be opened as: LOREAL's student, or the one with the adapted image side.
LOREAL, ADAPTED = "loreal", "adapted"


def find_run(path: str | Path, row: str = "") -> tuple[Path, str, dict[str, Any], Path | None]:
    """Return the folder of a stage 3, its name, the run's record and the output folder.

    The output folder is None where the run was copied alone.

    Args:
        path: the run's results.json, the folder it lies in, or an archive of `loreal pack`.
        row: `loreal` or `adapted`; empty: the student whose own folder it is, else the adapted one
            where the run has one.

    Raises:
        CheckpointError: there is no record of a run with stage 3, or stage 3 is not where it says.
    """
    folder, record, fault = _record_at(path)
    own = record.get("stage", "") if (folder / NAME).is_dir() else ""
    if not fault and _of_one_stage(record):
        row = row or (ADAPTED if record["stage"] == ADAPTED else "")
        record = _record_of_run(folder, record)
    if fault or record.get("kind") == "sweep":
        why = f"{RESULTS} {fault or 'is the record of a sweep'}"
        raise CheckpointError(
            f"no finished run in {folder}: {why}; name the folder of stage 3 "
            "(.../train_base/.../<X>_LOREAL/phi<N>/<cfg>/seed<S>), or run base2new_train.sh first"
        )
    asked = _stages_asked(record, row)
    for name in asked:
        place = _place(folder, own, record, name)
        if place:
            return place[0], name, record, place[1]
    stages = record.get("stages") or {}
    if not set(asked) & stages.keys():
        found = f"{record['kind']} {record.get('stage') or ''}".strip()
        raise CheckpointError(
            f"{folder / RESULTS} is the record of '{found}'; a run with stage 3 is needed"
        )
    raise CheckpointError(
        f"the run in {folder} wrote stage 3 to OUT/{stages[asked[-1]]['folder']}, which is not"
        " there; keep the folders of an output together"
    )


def _record_at(path: str | Path) -> tuple[Path, dict[str, Any], str]:
    """Return the folder that a path names, its record, and what is wrong with that."""
    path = unpacked(Path(path).expanduser())
    folder = (path.parent if path.name == RESULTS else path).resolve()
    return folder, *read_record(folder / RESULTS)


def _of_one_stage(record: dict[str, Any]) -> bool:
    """Return whether a record tells of one training and not of a whole run."""
    return record.get("kind") == "stage" and not record.get("stages")


def _record_of_run(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the run that a stage 3 belongs to, where it lies beside the trainings.

    A stage that was copied alone keeps its own record.
    """
    for place in _places_of_runs(folder):
        found, fault = read_record(place / RESULTS)
        stages = {} if fault else found.get("stages") or {}
        if stages.get(record["stage"], {}).get("key") == record["key"]:
            return found
    return record


def _places_of_runs(folder: Path) -> list[Path]:
    """Return where the record of a stage's run may lie.

    The adapted student is trained in a folder of its own, and protocols other than base-to-new keep
    records in `OUT/<protocol>/run/`, with the folders of `OUT/<protocol>/train/` below.
    """
    parts = list(folder.parts)
    if len(parts) > 3:  # .../adapted_phi<N>/<cfg>/seed<S>
        parts[-3] = parts[-3].removeprefix("adapted_")
    places = [Path(*parts)]
    places += [
        Path(*parts[:i], "run", *parts[i + 1 :]) for i, p in enumerate(parts) if p == "train"
    ]
    # other settings of stage 3 alone have another last folder but one
    return [
        *places,
        *(found for p in places for found in sorted(p.parent.parent.glob(f"*/{p.name}"))),
    ]


def _stages_asked(record: dict[str, Any], row: str) -> tuple[str, ...]:
    """Return which trainings of a run may be opened, the best first; ConfigError: no such row."""
    stages = record.get("stages") or {}
    check_row(row, (record.get("stage"), *stages))
    alone = not stages and record.get("stage") == ADAPTED
    if alone and row == LOREAL:
        raise CheckpointError(
            "row 'loreal' was asked for, and this is the student with the adapted image side,"
            " copied alone; name the run that it came from, or row 'adapted'"
        )
    if row or alone:
        return (row or ADAPTED,)
    return (ADAPTED, LOREAL) if ADAPTED in stages else (LOREAL,)


def check_row(row: str, stages: Collection[str | None]) -> None:
    """Check that a run of these stages can be opened as a row (empty: as any).

    Raises:
        ConfigError: no such row.
        CheckpointError: the run has no adapted student.
    """
    if row not in ("", LOREAL, ADAPTED):
        raise ConfigError(unknown_name("row of a run", row, (LOREAL, ADAPTED)))
    if row == ADAPTED and ADAPTED not in stages:
        raise CheckpointError(
            "the run has no student with an adapted image side; it was made with"
            " TRAINER.LOREAL.ADAPT none, or stopped before"
        )


def _place(
    folder: Path, own: str, record: dict[str, Any], name: str
) -> tuple[Path, Path | None] | None:
    """Return where a training of a run lies, and the output folder; None where it is not there.

    The output folder is None where the training was copied alone. Such a copy may lie inside the
    output folder; it is opened all the same, and not what it was copied from.

    Args:
        own: the training that the folder itself holds; empty: none.

    Raises:
        CheckpointError: another run has trained into its place since.
    """
    stages = record.get("stages") or {}
    places = {one: facts["folder"] for one, facts in stages.items()}
    copied = bool(own) and not any(_is_at(folder, o, places.get(own, "")) for o in folder.parents)
    if copied:
        return (folder, None) if own == name else None
    inside = places.get(name, "")
    for out in folder.parents:
        if inside and (out / inside / NAME).is_dir():
            check_owner(out / inside, stages[name].get("key"))
            return out / inside, out
    return None


def check_owner(folder: Path, key: str | None) -> None:
    """Check that a stage's folder holds the training of a key (None: of any).

    Raises:
        CheckpointError: another run has trained there since; what was there was moved beside it.
    """
    found, fault = read_record(folder / RESULTS)
    theirs = None if fault else found.get("key")
    if key and theirs and theirs != key:
        raise CheckpointError(
            f"{folder} holds the training of another run by now; this run's own was moved to"
            f" {place_aside(folder, key)}: run its command again, in another output folder if both"
            " are wanted"
        )


def _is_at(folder: Path, out: Path, inside: str) -> bool:
    """Return whether a folder is that of a stage in an output folder."""
    place = out / inside
    return bool(inside) and place.is_dir() and place.samefile(folder)


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

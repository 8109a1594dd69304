"""`results.json` as it lies on disk: its form, and the one place where it is read.

Types tell the form (docs/RESULTS_SCHEMA.md has the words); `loreal_plugin.runs.records` builds it;
`read_record` reads it and upgrades what older releases wrote. A field that is new goes into the
type here, into the builder, and onto the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.checked_json import OLD, read_checked, write_checked
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.results.schema import schema_fault

SCHEMA_VERSION = 2
READABLE = (1, SCHEMA_VERSION)  # version 1 knew base-to-new only
RESULTS = "results.json"
STARTED = "started.json"  # the journal of a training, beside it
AGAIN = "delete it and run the same command again"


class HeadFacts(TypedDict, total=False):
    """What every record has."""

    schema_version: int
    protocol: str
    kind: str
    key: str
    stage: str | None
    method: str
    trainer: str
    host: dict[str, Any]
    dataset: str
    phi: int | None
    input_size: int
    native_size: int
    seed: int
    shots: int
    weights: dict[str, str]
    recipe: str
    overrides: list[list[str]]
    attributes: list[str] | None
    config: dict[str, Any]
    inference: dict[str, Any] | None
    images: str
    parents: dict[str, str]
    device: str
    threads: int
    versions: dict[str, str]
    git_revision: str | None


class ScoreFacts(TypedDict, total=False):
    """A score on one test set; the last five only in runs whose record is apart from the stages.

    `mistaken` has the labels that were predicted where `hits` are wrong, in the order of the list.
    """

    accuracy: float
    correct: int
    total: int
    hits: str
    mistaken: str
    seconds: float | None
    peak_memory_mb: float | None
    kept_embeddings: bool
    kept_seconds: float | None
    key: str | None


class RowFacts(TypedDict, total=False):
    """One row of a run or of rivals; `base`, `new`, `hm` and `targets`, `average` by protocol."""

    name: str
    label: str
    model: str
    correction: str
    milliseconds: float
    tokens: int
    train_size: int | None
    test_size: int | None
    parameters: int | None
    seconds: float | None
    picture_ms: float
    base: ScoreFacts | None
    new: ScoreFacts | None
    hm: float | None
    targets: dict[str, ScoreFacts]
    average: float


class StageFacts(TypedDict):
    """What a run's record says of a stage."""

    key: str
    folder: str
    parameters: int
    seconds: float
    peak_memory_mb: float
    epochs: int
    steps_per_epoch: int


class AdaptationFacts(TypedDict):
    """What the record of the stage `adapt` says of its adaptation: the settings, and the hash of
    the pictures, None where they are the few shots.
    """

    settings: dict[str, Any]
    pictures: str | None


class TestSetFacts(TypedDict):
    """What a record says of a test set."""

    dataset: str
    role: str
    classes: int
    images: str
    test_images: str
    attributes: list[str] | None


class TestListFacts(TypedDict):
    """The test pictures of a run in the order of its scores: class names, and a label a picture."""

    classnames: list[str]
    labels: str


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a folder's record, with its own hash.

    Raises:
        LorealError: it cannot be written (disk full, no permission), or a newer release's is there.
    """
    refuse_newer(folder / RESULTS)
    write_checked(folder / RESULTS, record)


def is_newer(record: Mapping[str, Any]) -> bool:
    """Return whether a record or a journal is of a schema that a later release brought."""
    version = record.get("schema_version")
    return isinstance(version, int) and version > SCHEMA_VERSION


def refuse_newer(path: Path) -> None:
    """Raise CheckpointError where a file is of a newer release, so that none is written over."""
    record, _ = read_checked(path)
    if is_newer(record):
        raise CheckpointError(
            f"{path} is of a newer release (schema version {record['schema_version']}, this one"
            f" writes {SCHEMA_VERSION}) and is left as it is; use that release, or another OUT"
        )


def read_record(path: Path) -> tuple[dict[str, Any], str]:
    """Return a record and "", or {} and what is wrong with the file."""
    record, fault = read_checked(path)
    if fault and fault != OLD:
        to_delete = "cannot be read" not in fault and fault != "is not there"
        return {}, f"{fault}; {AGAIN}" if to_delete else fault
    version = record.get("schema_version")
    if version not in READABLE:
        known = " and ".join(map(str, sorted(READABLE)))
        todo = "use the release that wrote it" if is_newer(record) else "run the same command again"
        return {}, f"has schema version {version}, this release reads {known}; {todo}"
    wrong = schema_fault(record).removeprefix("the record ")
    if wrong:
        return {}, wrong if wrong.startswith("lacks") else f"is not valid: {wrong}; {AGAIN}"
    return (record if record["kind"] == "sweep" else upgrade(record)), ""


def read_results(folder: Path) -> dict[str, Any] | None:
    """Return the record of a stage, an evaluation, a run or rivals in a folder, or None when it is
    absent, broken, incomplete or of an unknown schema.
    """
    record, fault = read_record(folder / RESULTS)
    return None if fault or record.get("kind") == "sweep" else record


def finished_record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder that is known to be complete (`is_complete`)."""
    record = read_results(folder)
    assert record is not None, "asked for where there is one"
    return record


def is_complete(folder: Path, key: str) -> bool:
    """Return True when the folder holds the finished stage or evaluation `key`."""
    record = read_results(folder)
    return record is not None and record["key"] == key


def upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of any release that is read in the form of this one.

    Version 1 had no `protocol`: all of its runs were base-to-new. Rivals had no `model` and
    `correction`; their `name` says both, as in `MaPLe trained at 96, ridge`.
    """
    if record["schema_version"] == 1:
        record = {"protocol": BASE2NEW.name} | record
    if record["kind"] == "rivals":
        rows = [_upgraded_rival(row, record["phi"]) for row in record.get("rows") or ()]
        record = record | {"rows": rows}
    return record


def _upgraded_rival(row: dict[str, Any], phi: int) -> dict[str, Any]:
    """Return a rival's row with the model and the correction that its name tells."""
    if "model" in row or "name" not in row:
        return row
    model, _, correction = row["name"].partition(", ")
    size = re.search(r" trained at (\d+)$", model)
    host = "beta" if size and int(size[1]) == phi else "alpha"
    return row | {
        "model": model if model == "zero-shot" else host,
        "correction": correction,
    }


def harmonic_mean(base: float, new: float) -> float:
    """Return the harmonic mean of two accuracies, 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new > 0 else 0.0

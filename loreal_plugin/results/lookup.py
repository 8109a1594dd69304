"""What the records of stages and tests say of a run's rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loreal_plugin.files import digest
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.results.record import RESULTS

Record = Mapping[str, Any]
# settings that records of earlier releases do not tell
_ADAPTED, _LISTED = "adaptation: ", "test list of "
_LATER = (_ADAPTED, _LISTED)
# the stages that a row depends on; the last one is its own
_STAGES = {
    "native": ("alpha",),
    "native_at_phi": ("alpha",),
    "phi": ("beta",),
    "phi_longer": ("beta",),
    "loreal": ("alpha", "beta", "loreal"),
    "adapted": ("alpha", "adapt", "adapted"),
}


class Lookup:
    """Stage records by folder, evaluation records by what they tested, whole runs without
    overrides.
    """

    def __init__(self, out: Path, records: Mapping[Path, Record]) -> None:
        self._out, self._records = out, records
        tests = [r for r in records.values() if r["kind"] == "evaluation" and "row" in r]
        self._tests = {_name(r, r["row"], r["subset"]): r for r in tests}
        self._alike = {
            _answers(r, r["row"], r["subset"], r.get("score") or {}): r
            for r in tests
            if (r.get("score") or {}).get("hits")
        }
        # a run that was stopped after stage 2 has left a record without stage 3, too
        runs = [
            r for r in records.values() if r.get("rows") and "loreal" in (r.get("stages") or {})
        ]
        self._plain = {_run_name(r): r for r in runs if not r.get("overrides")}

    def test(self, record: Record, row: str, subset: str, score: Record) -> Record:
        """Return the evaluation of a run's row, empty where the final test of the training stands
        for it.

        A host's row is tested once for runs at several phi and with several overrides; then it is
        known by its answers.
        """
        own = self._tests.get(_name(record, row, subset))
        return own or self._alike.get(_answers(record, row, subset, score), {})

    def unchanged(self, record: Record) -> Record | None:
        """Return the record of the whole run without a run's overrides, None where it is not
        there.
        """
        return self._plain.get(_run_name(record))

    def stage(self, record: Record, name: str) -> Record:
        """Return the record of a run's stage, empty where its folder holds another run by now."""
        facts = record["stages"].get(name)
        stored = self._records.get(self._out / facts["folder"] / RESULTS, {}) if facts else {}
        return stored if facts and stored.get("key") == facts["key"] else {}


def _name(record: Record, row: str, subset: str) -> tuple[Any, ...]:
    """Return what an evaluation is found by: its run, and what of it was tested."""
    overrides = tuple(map(tuple, record.get("overrides") or ()))
    return *_asked(record), record["weights"].get("sha256"), overrides, row, subset


def _answers(record: Record, row: str, subset: str, score: Record) -> tuple[Any, ...]:
    """Return what an evaluation is known by whatever run asked for it: what it answered."""
    asked = _asked({**record, "phi": 0} if row == "native" else record)  # the same at every phi
    weights = (record.get("weights") or {}).get("sha256")
    return *asked, weights, row, subset, score.get("hits"), score.get("mistaken")


def _run_name(record: Record) -> tuple[Any, ...]:
    """Return what a run is found by, its overrides apart."""
    return *_asked(record), (record.get("weights") or {}).get("name")


def _asked(record: Record) -> tuple[Any, ...]:
    """Return what was asked for, weights and overrides apart."""
    facts = (record.get(key) for key in ("dataset", "method", "phi", "seed", "shots", "recipe"))
    protocol = record.get("protocol", BASE2NEW.name)
    return protocol, *facts, (record.get("host") or {}).get("name")


def stages_of(row: str) -> tuple[str, ...]:
    """Return the stages that a row depends on; a rival is alpha's."""
    return _STAGES.get(row, _STAGES["loreal"] if row.startswith("loreal") else ("alpha",))


def train_pictures(record: Record, row: str, lookup: Lookup) -> int | None:
    """Return how many pictures the row's own stage looked at in training, all epochs together."""
    name = stages_of(row)[-1]
    facts = (record.get("stages") or {}).get(name)
    config = lookup.stage(record, name).get("config", {}) if facts else {}
    batch = config.get("DATALOADER.TRAIN_X.BATCH_SIZE")
    return facts["epochs"] * facts["steps_per_epoch"] * batch if facts and batch else None


def row_identity(record: Record, row: str, lookup: Lookup) -> dict[str, Any]:
    """Return the settings that a row depends on, flat, without the seed."""
    facts = {"weights": record["weights"].get("sha256"), "host": (record["host"] or {}).get("code")}
    if not record.get("stages"):
        return facts | _seedless(record.get("config") or {}, "") | tested_on(record)
    for name in stages_of(row):
        stored = lookup.stage(record, name) or (record if name == record.get("stage") else {})
        facts |= _seedless(stored.get("config") or {}, f"{name}: ")
        facts |= _adaptation(stored.get("adaptation") or {})
    if row.startswith("loreal"):
        facts["attributes"] = record.get("attributes")
    return facts | tested_on(record)


def tested_on(record: Record) -> dict[str, Any]:
    """Return what tells the test pictures of a run: their hash where the record has one, and the
    hash of their classes and labels.
    """
    targets, lists = record.get("targets") or {}, record.get("test_sets") or {}
    hashes = {f"test pictures of {name}": part.get("test_images") for name, part in targets.items()}
    return hashes | {
        f"{_LISTED}{name}": digest([part["classnames"], part["labels"]])[:12]
        for name, part in lists.items()
    }


def _adaptation(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stage's record says of an adaptation, flat, without the seed."""
    if not facts:
        return {}
    # settings name the size of enlarged pictures only where they are enlarged
    settings = {"enlarge": 0} | dict(facts["settings"]) | {"pictures": facts.get("pictures")}
    return {f"{_ADAPTED}{name}": value for name, value in settings.items() if name != "seed"}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return which settings of two rows differ, sorted.

    What one of two records does not tell, because it is of an earlier release, is no difference.
    """
    lacking = {key for key in one.keys() ^ other.keys() if key.startswith(_LATER)}
    keys = (one.keys() | other.keys()) - lacking
    return sorted(key for key in keys if one.get(key) != other.get(key))


def _seedless(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in config.items() if key != "SEED"}

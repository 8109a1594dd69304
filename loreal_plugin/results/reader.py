"""Every result below an output folder, one object a row and run; what cannot be used is listed with
its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError
from loreal_plugin.results.record import READABLE, RESULTS, missing_fields
from loreal_plugin.results.variants import merge_variant

STARTED = "started.json"
ZERO_SHOT_METHOD = "clip"


@dataclass(frozen=True)
class Setting:
    """What has to be equal for two runs to be repetitions of each other, the seed apart."""

    protocol: str
    dataset: str
    method: str
    phi: int
    shots: int
    weights: str
    recipe: str
    host: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """Accuracy in percent on one test set; `hits`, `seconds` and `memory_mb` where they were
    recorded.

    `kept`: the test read embeddings that another had kept, whose making took `kept_seconds`.
    """

    accuracy: float
    total: int
    hits: str | None = None
    seconds: float | None = None
    memory_mb: float | None = None
    kept: bool = False
    kept_seconds: float | None = None

    @property
    def whole_seconds(self) -> float | None:
        """Return the seconds of the test as if it had read its pictures, None where they are not
        known.
        """
        if not self.kept:
            return self.seconds
        return (
            None
            if self.seconds is None or self.kept_seconds is None
            else self.seconds + self.kept_seconds
        )


@dataclass(frozen=True)
class Result:
    """One row of one run.

    `summary` is the number that the protocol is judged by, in percent: HM, or the average over
    targets. `identity` holds the settings that the row depends on, without the seed. `asked` are
    the run's overrides as given: a control stands in the table of the run that it controls, so its
    setting has none.
    """

    setting: Setting
    seed: int
    row: str
    label: str
    scores: Mapping[str, Score]
    summary: float
    train_size: int | None
    test_size: int | None
    parameters: int | None
    seconds: float | None
    milliseconds: float | None
    train_pictures: int | None
    roles: Mapping[str, str]
    identity: Mapping[str, Any]
    path: Path
    asked: tuple[str, ...] = ()

    @property
    def adds(self) -> bool:
        """Return whether parameters and seconds come on top of the host's."""
        return self.row.startswith("loreal")


@dataclass
class Evidence:
    """What an output folder holds; paths are below `out`."""

    out: Path
    results: list[Result] = field(default_factory=list)
    broken: dict[Path, str] = field(default_factory=dict)
    unfinished: list[Path] = field(default_factory=list)
    sweeps: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, set[str]] = field(default_factory=dict)


def collect(out: Path) -> Evidence:
    """Return everything below an output folder; what was set aside (`.replaced`) does not count.

    Raises:
        LorealError: there is no such folder, or no results.json in it.
    """
    if not out.is_dir():
        raise LorealError(
            f"no folder {out}; give the output folder of your runs (OUT, by default ./output)"
        )
    evidence, records = Evidence(out), {}
    for path in sorted(p for p in out.rglob(RESULTS) if not set_aside(p)):
        record, fault = read_record(path)
        if fault:
            evidence.broken[path.relative_to(out)] = fault
        elif record.get("kind") == "sweep":
            evidence.sweeps.append(record)
        else:
            records[path] = record
    if not (records or evidence.broken or evidence.sweeps):
        raise LorealError(f"no {RESULTS} below {out}; run base2new_train.sh or loreal sweep first")
    _add_results(evidence, records)
    started = (p.parent for p in out.rglob(STARTED) if not set_aside(p))
    evidence.unfinished = sorted(p.relative_to(out) for p in started if not (p / RESULTS).exists())
    return evidence


def set_aside(path: Path) -> bool:
    """Return whether a file lies in a folder that was moved away for another run."""
    return any(part.endswith(".replaced") for part in path.parts)


def read_record(path: Path) -> tuple[dict[str, Any], str]:
    """Return a record and "", or {} and what is wrong with the file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    except ValueError as error:
        return {}, f"is no JSON ({error}); delete it and run the same command again"
    if not isinstance(record, dict):
        return {}, "is no JSON object; delete it and run the same command again"
    version = record.get("schema_version")
    if version not in READABLE:
        known = " and ".join(map(str, sorted(READABLE)))
        return (
            {},
            f"has schema version {version}, this release reads {known}; run the same command again",
        )
    if record.get("kind") == "sweep":
        return record, ""
    missing = missing_fields(record)
    return (record, "") if not missing else ({}, f"lacks {', '.join(missing)}")


def _add_results(evidence: Evidence, records: dict[Path, dict[str, Any]]) -> None:
    """Turn the records that have rows into results; tests and stages are looked up where a row
    needs them.
    """
    lookup = _Lookup(evidence.out, records)
    for path, record in records.items():
        if not record.get("rows"):
            continue
        try:
            evidence.results += list(_results(path, record, lookup))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            evidence.broken[path.relative_to(evidence.out)] = (
                f"has rows of another form ({error!r})"
            )
            continue
        _note_provenance(evidence, record)


def _targets(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is told about the test sets, by name; nothing for base-to-new."""
    return record.get("targets") or {}


def _control(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a record's overrides as text, in the order of the command line."""
    return tuple(" ".join(map(str, words)) for words in record.get("overrides") or ())


def _note_provenance(evidence: Evidence, record: Mapping[str, Any]) -> None:
    facts = {
        "device": f"{record.get('device')} ({record.get('threads')} threads)",
        "torch": str((record.get("versions") or {}).get("torch", "?")),
        "revision": str(record.get("git_revision") or "no checkout")[:12],
    }
    for name, value in facts.items():
        evidence.provenance.setdefault(name, set()).add(value)


class _Lookup:
    """Stage records by folder, and evaluation records by what they tested."""

    def __init__(self, out: Path, records: Mapping[Path, dict[str, Any]]) -> None:
        self._out, self._records = out, records
        tests = [r for r in records.values() if r["kind"] == "evaluation" and "row" in r]
        self._tests = {self._name(r, r["row"], r["subset"]): r for r in tests}

    @staticmethod
    def _name(record: Mapping[str, Any], row: str, subset: str) -> tuple[Any, ...]:
        facts = (record[key] for key in ("dataset", "method", "phi", "seed", "shots"))
        return (
            record.get("protocol", "base2new"),
            *facts,
            record["weights"]["sha256"],
            _control(record),
            row,
            subset,
        )

    def test(self, record: Mapping[str, Any], row: str, subset: str) -> Mapping[str, Any]:
        """Return the evaluation of a run's row, empty where the final test of the training stands
        for it.
        """
        return self._tests.get(self._name(record, row, subset), {})

    def stage(self, record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Return the record of a run's stage, empty where its folder holds another run by now."""
        facts = record["stages"].get(name)
        stored = self._records.get(self._out / facts["folder"] / RESULTS, {}) if facts else {}
        return stored if facts and stored.get("key") == facts["key"] else {}


def _results(path: Path, record: dict[str, Any], lookup: _Lookup) -> Iterator[Result]:
    """Yield a run's or rivals' rows; of a control only the row that its run's table needs."""
    merged = merge_variant(record | {"label": path.parent.parent.name})
    plain = merged["label"] != path.parent.parent.name
    setting = setting_of(record, () if plain else _control(record))
    for row in merged["rows"]:
        # zero-shot CLIP is the same whichever method's run it was measured beside
        shared = record["kind"] == "rivals" and row["name"].startswith("zero-shot")
        yield Result(
            setting=replace(setting, method=ZERO_SHOT_METHOD) if shared else setting,
            seed=record["seed"],
            row=row["name"],
            label=row["label"],
            scores=_scores(record, row, lookup),
            summary=_summary(row),
            train_size=row.get("train_size"),
            test_size=row.get("test_size", record["phi"]),
            parameters=row.get("parameters"),
            seconds=row.get("seconds"),
            milliseconds=row.get("milliseconds"),
            train_pictures=_train_pictures(record, row["name"], lookup),
            roles={name: facts["role"] for name, facts in _targets(record).items()},
            identity=(
                {"weights": record["weights"]["sha256"]}
                if shared
                else _identity(record, row["name"], lookup)
            ),
            path=path,
            asked=_control(record),
        )


def setting_of(record: Mapping[str, Any], overrides: tuple[str, ...] | None = None) -> Setting:
    """Return a record's setting, with `overrides` in place of its own where they are given."""
    overrides = _control(record) if overrides is None else overrides
    host = record["host"] or {}
    return Setting(
        record.get("protocol", "base2new"),
        record["dataset"],
        record["method"],
        record["phi"],
        record["shots"],
        record["weights"]["name"],
        record.get("recipe", ""),
        host.get("name", ""),
        overrides,
    )


def _summary(row: Mapping[str, Any]) -> float:
    """Return the number a row is judged by."""
    value = row["hm"] if row.get("hm") is not None else row["average"]
    return float(value)


def _scores(record: Mapping[str, Any], row: Mapping[str, Any], lookup: _Lookup) -> dict[str, Score]:
    """Return a row's scores by test set."""
    parts = dict(row.get("targets") or {})
    if row.get("base"):
        parts |= {subset: row[subset] for subset in ("base", "new")}
    scores = {}
    for name, part in parts.items():
        test = lookup.test(record, row["name"], name) if record["kind"] != "rivals" else {}
        scores[name] = Score(
            accuracy=float(part["accuracy"]),
            total=int(part["total"]),
            hits=part.get("hits"),
            seconds=part.get("seconds", test.get("seconds")),
            memory_mb=part.get("peak_memory_mb", test.get("peak_memory_mb")),
            kept=bool(part.get("kept_embeddings", test.get("kept_embeddings"))),
            kept_seconds=part.get("kept_seconds", test.get("kept_seconds")),
        )
    return scores


_NEEDS = {
    "native": ("alpha",),
    "native_at_phi": ("alpha",),
    "phi": ("beta",),
    "phi_longer": ("beta",),
    "loreal": ("alpha", "beta", "loreal"),
}


def _needs(row: str) -> tuple[str, ...]:
    """Return the stages that a row depends on; a rival is alpha's."""
    return _NEEDS.get(row, _NEEDS["loreal"] if row.startswith("loreal") else ("alpha",))


def _train_pictures(record: Mapping[str, Any], row: str, lookup: _Lookup) -> int | None:
    """Return how many pictures the row's own stage looked at in training, all epochs together."""
    name = _needs(row)[-1]
    facts = (record.get("stages") or {}).get(name)
    batch = (
        lookup.stage(record, name).get("config", {}).get("DATALOADER.TRAIN_X.BATCH_SIZE")
        if facts
        else None
    )
    return facts["epochs"] * facts["steps_per_epoch"] * batch if batch else None


def _identity(record: Mapping[str, Any], row: str, lookup: _Lookup) -> dict[str, Any]:
    """Return the settings that a row depends on, flat, without the seed."""
    facts = {"weights": record["weights"]["sha256"], "host": (record["host"] or {}).get("code")}
    if not record.get("stages"):
        return facts | _seedless(record.get("config") or {}, "")
    for name in _needs(row):
        stored = lookup.stage(record, name) or (record if name == record.get("stage") else {})
        facts |= _seedless(stored.get("config") or {}, f"{name}: ")
    if row.startswith("loreal"):
        facts["attributes"] = record.get("attributes")
    return facts | {
        f"test pictures of {name}": part.get("test_images")
        for name, part in _targets(record).items()
    }


def _seedless(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in config.items() if key != "SEED"}

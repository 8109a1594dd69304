"""A run or its rivals in memory: one shape of rows, whatever the protocol has on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loreal_plugin.results.per_class import Measured, decode_answers
from loreal_plugin.results.protocols import BASE2NEW, HALVES, TARGET
from loreal_plugin.results.record import TestListFacts
from loreal_plugin.results.row_fields import row_numbers

TestOf = Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Score:
    """Accuracy in percent on one test set; `hits`, `mistaken`, `seconds` and `memory_mb` where they
    were recorded.

    `reused`: the test read embeddings of another, whose making took `reused_seconds`.
    `test_list`: classes and labels of the test pictures.
    """

    accuracy: float
    total: int
    hits: str | None = None
    mistaken: str | None = None
    seconds: float | None = None
    memory_mb: float | None = None
    reused: bool = False
    reused_seconds: float | None = None
    test_list: TestListFacts | None = None

    @property
    def answers(self) -> Measured | None:
        """Return what was predicted for each picture; None where the record does not say it, or
        says what cannot be.
        """
        if self.test_list is None or self.hits is None or self.mistaken is None:
            return None
        names, labels = self.test_list["classnames"], self.test_list["labels"]
        try:
            return decode_answers(names, labels, self.hits, self.mistaken)
        except ValueError:
            return None

    @property
    def whole_seconds(self) -> float | None:
        """Return the seconds of the test as if it had read its pictures, None where they are not
        known.
        """
        if not self.reused:
            return self.seconds
        if self.seconds is None or self.reused_seconds is None:
            return None
        return self.seconds + self.reused_seconds


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: `native`, `native_at_phi`, `phi`, `loreal`, `adapted`, of a control or rival its own.
        label: the row in words, for people.
        scores: by test set.
        summary: what the row is judged by, in percent: HM, or the average over targets.
        numbers: what the record says of the row beside its scores, by name of `ROW_FIELDS`.
        model: of a rival `zero-shot`, `alpha` or `beta`; else empty.
        change: what a rival or control changes, in short; empty for nothing.
    """

    name: str
    label: str
    scores: Mapping[str, Score]
    summary: float
    train_size: int | None = None
    test_size: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    milliseconds: float | None = None
    model: str = ""
    change: str = ""

    @property
    def adds(self) -> bool:
        """Return whether parameters and seconds come on top of the host's."""
        return self.name.startswith(("loreal", "adapted"))


@dataclass(frozen=True)
class Run:
    """A record with rows. `facts` is the record; what several readers ask for has a name here."""

    facts: Mapping[str, Any]
    rows: tuple[Row, ...]

    def __getitem__(self, key: str) -> Any:
        """Return a field of the record."""
        return self.facts[key]

    @property
    def protocol(self) -> str:
        """Return the name of the protocol."""
        return self.facts.get("protocol", BASE2NEW.name)

    @property
    def rivals(self) -> bool:
        """Return whether these are rivals of a run."""
        return self.facts["kind"] == "rivals"

    @property
    def weights(self) -> str:
        """Return the weights' name as it was given."""
        return self.facts["weights"]["name"]

    @property
    def overrides(self) -> tuple[str, ...]:
        """Return the overrides as text, in the order of the command line."""
        return tuple(" ".join(map(str, words)) for words in self.facts.get("overrides") or ())

    @property
    def roles(self) -> dict[str, str]:
        """Return `source` or `target` by test set; nothing for base-to-new."""
        targets = self.facts.get("targets") or {}
        return {name: facts["role"] for name, facts in targets.items()}

    @property
    def across(self) -> bool:
        """Return whether other datasets than the source were tested."""
        return TARGET in self.roles.values()

    @property
    def test_sets(self) -> list[str]:
        """Return the names of the test sets in the order of the tables."""
        return list(self.facts.get("targets") or HALVES)

    @property
    def test_heads(self) -> list[str]:
        """Return the heads of the test sets' columns: halves as words, datasets by their names."""
        return self.test_sets if self.roles else [half.title() for half in self.test_sets]

    @property
    def summary_name(self) -> str:
        """Return what the rows' summary is called in a sentence."""
        if not self.roles:
            return "HM"
        return "the average over the targets" if self.across else "accuracy"

    def summaries(self) -> dict[str, float]:
        """Return the summary by row name."""
        return {row.name: row.summary for row in self.rows}


def run_of(record: Mapping[str, Any], test_of: TestOf | None = None) -> Run:
    """Return a record with rows in the one shape of memory.

    Args:
        record: from `loreal_plugin.results.record.read_record`.
        test_of: (row, test set, score) -> the evaluation's record; it knows costs a row may not.

    Raises:
        KeyError, TypeError, ValueError: its rows have another form.
    """
    return Run(record, tuple(_row(row, record, test_of) for row in record["rows"]))


def _row(row: Mapping[str, Any], record: Mapping[str, Any], test_of: TestOf | None) -> Row:
    lists = record.get("test_sets") or {}
    # zero-shot CLIP has both: its own protocol is judged by the accuracy on all classes
    summary = row["hm"] if row.get("average") is None else row["average"]
    return Row(
        name=row["name"],
        label=row["label"],
        scores={
            name: _score(part, test_of(row["name"], name, part) if test_of else {}, lists.get(name))
            for name, part in _parts(row).items()
        },
        summary=float(summary),
        train_size=row.get("train_size"),
        test_size=row.get("test_size", record["phi"]),
        numbers=row_numbers(row),
        milliseconds=row.get("milliseconds"),
        model=row.get("model", ""),
        change=row.get("correction", ""),
    )


def _parts(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a row's scores on disk by test set: halves stand beside the row's other fields."""
    parts = dict(row.get("targets") or {})
    if row.get("base"):
        parts |= {half: row[half] for half in HALVES}
    return parts


def _score(
    part: Mapping[str, Any], test: Mapping[str, Any], test_list: TestListFacts | None
) -> Score:
    return Score(
        accuracy=float(part["accuracy"]),
        total=int(part["total"]),
        hits=part.get("hits"),
        mistaken=part.get("mistaken"),
        seconds=part.get("seconds", test.get("seconds")),
        memory_mb=part.get("peak_memory_mb", test.get("peak_memory_mb")),
        reused=bool(part.get("kept_embeddings", test.get("kept_embeddings"))),
        reused_seconds=part.get("kept_seconds", test.get("kept_seconds")),
        test_list=test_list,
    )

"""Repetitions of one row over seeds; rows whose settings differ in more than the seed are refused,
and why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from loreal_plugin.results.answers import decode_hits
from loreal_plugin.results.lookup import differing
from loreal_plugin.results.reader import Result, Setting

SHOWN = 6


@dataclass(frozen=True)
class Group:
    """One row of one setting, over its seeds (in ascending order)."""

    setting: Setting
    row: str
    results: tuple[Result, ...]

    @property
    def label(self) -> str:
        """Return the row's text."""
        return self.results[0].content.label

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds."""
        return tuple(result.seed for result in self.results)

    @property
    def rival(self) -> bool:
        """Return whether the row is a rival's."""
        return self.results[0].rival

    @property
    def native_size(self) -> int:
        """Return the input size of the weights, in pixels."""
        return self.results[0].native_size

    @property
    def low(self) -> bool:
        """Return whether the row reads small pictures."""
        return self.results[0].content.test_size == self.setting.phi

    def summaries(self) -> list[float]:
        """Return HM, or the average over targets, of each seed in percent."""
        return [result.summary for result in self.results]

    def accuracies(self, test_set: str) -> list[float]:
        """Return each seed's accuracy on a test set in percent; empty where there is none."""
        return [r.scores[test_set].accuracy for r in self.results if test_set in r.scores]

    def numbers(self, get: Callable[[Result], float | None]) -> list[float]:
        """Return a number of each seed, where it is known."""
        return [value for value in map(get, self.results) if value is not None]

    def field(self, name: str) -> list[float]:
        """Return a row's field (`ROW_FIELDS`) of each seed, where it is known."""
        return self.numbers(lambda result: result.content.numbers.get(name))

    def test_milliseconds(self) -> list[float]:
        """Return milliseconds per test picture of each seed: a rival's own, else a test's, building
        included.
        """
        own = self.numbers(lambda result: result.content.milliseconds)
        return own or self.numbers(_test_milliseconds)

    def picture_times(self) -> list[float]:
        """Return milliseconds of one picture alone, in memory, of each seed that has them."""
        return self.field("picture_ms")

    def test_memory(self) -> list[float]:
        """Return the peak memory in MB of each seed's tests."""
        return self.numbers(
            lambda r: max((s.memory_mb for s in r.scores.values() if s.memory_mb), default=None)
        )

    def answers(self, test_set: str, seeds: Sequence[int] | None = None) -> np.ndarray | None:
        """Return right and wrong (N, R) by picture and seed; None where a record has none or the
        lists differ.
        """
        wanted = [r for r in self.results if seeds is None or r.seed in seeds]
        scores = [r.scores[test_set] for r in wanted if test_set in r.scores]
        known = [(s.hits, s.total) for s in scores if s.hits is not None]
        if not known or len(known) < len(wanted) or len({total for _, total in known}) > 1:
            return None
        try:
            return np.stack([decode_hits(hits, total) for hits, total in known], axis=1)
        except ValueError:
            return None


@dataclass(frozen=True)
class Refusal:
    """A row that was not averaged, and why."""

    setting: Setting
    row: str
    reason: str

    def __str__(self) -> str:
        s = self.setting
        changed = f", {'; '.join(s.overrides)}" if s.overrides else ""
        where = (
            f"{s.protocol}, {s.dataset}, {s.method}, phi {s.phi}, shots {s.shots}, weights"
            f" {s.weights}{changed}"
        )
        return f"{where}, row '{self.row}': {self.reason}"


def group_results(results: Iterable[Result]) -> tuple[list[Group], list[Refusal]]:
    """Return one group a row and setting, and the rows that must not be averaged."""
    found: dict[tuple[Setting, str], list[Result]] = defaultdict(list)
    for result in results:
        found[result.setting, result.row].append(result)
    groups, refusals = [], []
    for (setting, row), members in found.items():
        unique, reason = repetitions(members)
        if reason:
            refusals.append(Refusal(setting, row, reason))
        else:
            groups.append(Group(setting, row, tuple(unique)))
    return groups, refusals


def repetitions(results: Sequence[Result]) -> tuple[list[Result], str]:
    """Return results of one row without copies, by their seeds, and why they must not be averaged,
    "" where they may.
    """
    unique = _without_copies(results)
    return sorted(unique, key=lambda result: result.seed), _why_not(unique)


def _without_copies(results: Sequence[Result]) -> list[Result]:
    """Keep one of results that say the same of the same seed: the first of those that know most
    answers by picture.

    Zero-shot CLIP is measured beside every method; a run that was stopped after stage 2 and then
    went on has left two records with the same rows.
    """
    copies: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for result in results:
        scores = tuple((name, score.accuracy) for name, score in result.scores.items())
        copies[result.seed, scores].append(result)
    return [
        max(same, key=lambda r: sum(bool(s.hits) for s in r.scores.values()))
        for same in copies.values()
    ]


def _why_not(results: Sequence[Result]) -> str:
    """Return why results are no repetitions of each other, "" when they are."""
    # each with each: what one record does not tell, two others may tell differently
    for first, other in combinations(results, 2):
        differences = _differences(first.identity, other.identity)
        if differences:
            return f"seed {first.seed} and seed {other.seed} differ in {differences}"
        if first.scores.keys() != other.scores.keys():
            one, two = (", ".join(result.scores) for result in (first, other))
            return f"seed {first.seed} was tested on {one}, seed {other.seed} on {two}"
    seeds = [result.seed for result in results]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        places = "; ".join(str(r.path.parent) for r in results if r.seed == twice[0])
        return f"two runs of seed {twice[0]} with different scores: {places}"
    return ""


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the settings that differ as text, "" when none does."""
    keys = differing(one, other)
    shown = [f"{key} ({one.get(key)!r} and {other.get(key)!r})" for key in keys[:SHOWN]]
    more = [f"{len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
    return ", ".join(shown + more)


def _test_milliseconds(result: Result) -> float | None:
    timed = [(s.whole_seconds, s.total) for s in result.scores.values() if s.whole_seconds]
    return 1000 * sum(s for s, _ in timed) / sum(n for _, n in timed) if timed else None

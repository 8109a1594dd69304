"""Ways to classify a picture, each once, with what they cost: what `loreal advise` compares."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import changes_text, method_name
from loreal_plugin.results.reader import ZERO_SHOT_METHOD
from loreal_plugin.results.statistics import mean_std


@dataclass(frozen=True)
class Choice:
    """One way to classify a picture; None where a cost was not measured.

    `alone`: the time is that of one picture alone; memory, which only tests have, is then told but
    decides nothing.
    """

    group: Group
    accuracy: float
    milliseconds: float | None
    memory_mb: float | None
    alone: bool = False

    @property
    def text(self) -> str:
        """Return the choice in words."""
        s = self.group.setting
        changed = f" ({changes_text(s.overrides)})" if s.overrides else ""
        return f"{method_name(s.method)}: {self.group.label}{changed}"

    @property
    def size(self) -> int:
        """Return the size of the picture that has to be there, in pixels."""
        return self.group.results[0].content.test_size or self.group.setting.phi

    def beats(self, other: Choice) -> bool:
        """Return whether this is at least as good in everything that the other tells, and better in
        something.

        A choice whose cost was not measured never beats one whose cost was.
        """
        costs = [(self.milliseconds, other.milliseconds)]
        costs += [] if self.alone else [(self.memory_mb, other.memory_mb)]
        if any(mine is None and theirs is not None for mine, theirs in costs):
            return False
        pairs = [
            (self.accuracy, other.accuracy),
            *((-a, -b) for a, b in costs if a is not None and b is not None),
        ]
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def choice_of(group: Group) -> Choice:
    """Return a choice with the time of a test picture."""
    time, memory = group.picture_times() or group.test_milliseconds(), group.test_memory()
    return Choice(
        group,
        statistics.fmean(group.summaries()),
        statistics.fmean(time) if time else None,
        statistics.fmean(memory) if memory else None,
    )


def timed_alone(group: Group) -> Choice:
    """Return a choice with the time of one picture alone, None where that was not taken."""
    times = group.picture_times()
    ms = statistics.fmean(times) if times else None
    return replace(choice_of(group), milliseconds=ms, alone=True)


def once(choices: Sequence[Choice]) -> list[Choice]:
    """Return each choice once: the host at the native size stands beside every phi, timed beside
    one of them, with other seeds beside each. The entry with the most seeds is kept.
    """
    found: dict[tuple[object, ...], list[Choice]] = defaultdict(list)
    for choice in sorted(choices, key=lambda c: c.milliseconds is None):
        found[_name(choice)].append(choice)
    return [_with_most_seeds(same) for same in found.values()]


def _name(choice: Choice) -> tuple[object, ...]:
    """Return what two entries of one choice share. No phi changes the host at the native size, so
    that only its seeds make its scores differ; no recipe and no host changes zero-shot CLIP.
    """
    s, group = choice.group.setting, choice.group
    trained = () if s.method == ZERO_SHOT_METHOD else (s.recipe, s.host)
    score = "" if group.row == "native" else mean_std(group.summaries())
    return choice.text, choice.size, trained, score


def _with_most_seeds(same: Sequence[Choice]) -> Choice:
    """Return the entry of one choice with the most seeds, with the first one's time where it has
    none of its own.
    """
    most = max(same, key=lambda choice: len(choice.group.seeds))
    return most if most.milliseconds else replace(most, milliseconds=same[0].milliseconds)

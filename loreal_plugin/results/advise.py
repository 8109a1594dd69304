"""Which phi, method and mode to take for a dataset: the choices that no other beats, as a table, a
picture and a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from loreal_plugin.errors import LorealError, unknown_name
from loreal_plugin.results.changed_runs import ADDED, ChangedRuns
from loreal_plugin.results.choices import Choice, choice_of, once, timed_alone
from loreal_plugin.results.cost_plots import cost_pictures
from loreal_plugin.results.group import Group, group_results
from loreal_plugin.results.layout import kind_of
from loreal_plugin.results.plots import Picture
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.reader import collect
from loreal_plugin.results.statistics import mean_std

NAMED = 6  # choices that were not timed: more of them are counted
LESS = 0.9  # of the time: a less accurate choice is named only where it takes at most this
WITH_READING = "time includes building the model and reading the pictures"
ALONE = "time of one picture alone, in memory; compare times of one machine only"
WITHOUT_READING = "rivals, timed without building and reading; compare times only within this list"


@dataclass(frozen=True)
class Advice:
    """What to take, in words, and the pictures of the fronts."""

    text: str
    pictures: tuple[Picture, ...]


def advise(
    out: Path,
    dataset: str,
    *,
    protocol: str = "",
    ms: float | None = None,
    mb: float | None = None,
) -> Advice:
    """Return the Pareto choices of a dataset.

    Args:
        protocol: whose runs; "" for the first one that has runs of the dataset.
        ms: leave out what takes longer for a test picture.
        mb: leave out what takes more memory, and what does not tell.

    Raises:
        LorealError: there are no results of that dataset, or none within the limits.
    """
    groups, refusals = group_results(collect(out).results)
    protocol = protocol or _first_protocol(groups, dataset)
    known = {g.setting.dataset for g in groups if g.setting.protocol in (protocol or PROTOCOLS)}
    if dataset not in known:
        if not known:
            of = f" of protocol {protocol}" if protocol else ""
            raise LorealError(f"no finished run{of} below {out}; loreal sweep makes some")
        kind = f"{protocol} runs" if protocol else "runs"
        raise LorealError(unknown_name(f"dataset with {kind} in {out}", dataset, known))
    mine = _own_choices(groups, protocol, dataset)
    parts, pictures = [], []
    kinds = sorted({kind_of(group) for group in mine})
    for number, one in enumerate(kinds, start=1):
        of_kind = [group for group in mine if kind_of(group) == one]
        title = f"{dataset}, {protocol}, {one.title}"
        parts += _of_kind(title, of_kind, ms, mb)
        name = "front" if len(kinds) == 1 else f"front_{number}"
        pictures += cost_pictures(name, title, of_kind, PROTOCOLS[protocol].unit)
    if not parts:
        raise LorealError(
            f"nothing for {dataset} within the limits; give a larger --ms or --mb, or leave"
            " them out"
        )
    parts += [f"left out: {refusal}" for refusal in refusals if refusal.setting.dataset == dataset]
    return Advice("\n\n".join(parts), tuple(pictures))


def _own_choices(groups: Sequence[Group], protocol: str, dataset: str) -> list[Group]:
    """Return the groups of a dataset; what a run shares with the one that it changes is one."""
    changed = ChangedRuns(groups)
    return [
        g
        for g in groups
        if (g.setting.protocol, g.setting.dataset) == (protocol, dataset)
        and (g.row in ADDED or g not in changed)
        and not changed.repeats(g)
    ]


def _first_protocol(groups: Sequence[Group], dataset: str) -> str:
    """Return the first protocol with runs of a dataset, "" where none has."""
    found = {group.setting.protocol for group in groups if group.setting.dataset == dataset}
    return next((name for name in PROTOCOLS if name in found), "")


def _of_kind(title: str, groups: Sequence[Group], ms: float | None, mb: float | None) -> list[str]:
    """Return a table of all choices whose time alone is known, with a sentence for each size, and
    which choices are not in it because theirs is not.

    Where no record has that time: one table for runs and one for rivals, whose times are taken in
    different ways.
    """
    choices = once([timed_alone(g) for g in _no_repeats(groups)])
    timed = [c for c in choices if c.milliseconds is not None]
    alone = [c for c in timed if _within(c.milliseconds, ms) and _within(c.memory_mb, mb)]
    if alone:
        untimed = [c for c in choices if c.milliseconds is None]
        return [_table(title, ALONE, alone), *what_to_take(alone, ms), *_left_out(untimed)]
    parts = []
    for basis, rival in ((WITH_READING, False), (WITHOUT_READING, True)):
        choices = once([choice_of(g) for g in groups if g.results[0].rival == rival])
        within = [
            c
            for c in choices
            if _within(c.milliseconds, ms) and (rival or _within(c.memory_mb, mb))
        ]
        if within:
            parts.append(_table(title, basis, within))
    return parts


def _left_out(choices: Sequence[Choice]) -> list[str]:
    """Return a sentence on choices that could not be compared: nobody knows their time."""
    if not choices:
        return []
    ranked = sorted(choices, key=lambda c: -c.accuracy)
    names = [f"{c.text} (picture {c.size}, {c.accuracy:.1f} %)" for c in ranked[:NAMED]]
    names += [f"{len(ranked) - NAMED} more"] if len(ranked) > NAMED else []
    how = {
        "the run's command with --test-only": any(not c.group.rival for c in choices),
        "loreal rivals": any(c.group.rival for c in choices),
    }
    times = " and ".join(command for command, there in how.items() if there)
    return [f"Left out, because not timed alone: {'; '.join(names)}. To time them: {times}."]


def _within(value: float | None, limit: float | None) -> bool:
    return limit is None or (value is not None and value <= limit)


def _no_repeats(groups: Sequence[Group]) -> list[Group]:
    """Return groups without rivals that correct nothing where a run's row says the same."""
    there = {(g.setting.method, g.setting.phi) for g in groups if not g.rival}
    return [
        g
        for g in groups
        if g.results[0].repeats not in ("alpha", "beta")
        or (g.setting.method, g.setting.phi) not in there
    ]


def what_to_take(choices: Sequence[Choice], ms: float | None) -> list[str]:
    """Return a sentence for each size that pictures may have: what to take with how much time.

    Args:
        choices: within the budget.
        ms: the budget, where one was given.
    """
    lines = []
    for size in sorted({c.size for c in choices}):
        steps = _worthwhile([c for c in choices if c.size == size])
        unit = PROTOCOLS[steps[0].group.setting.protocol].unit.removesuffix(" (%)")
        best, *others = steps
        budget = f" and {ms:g} ms each" if ms is not None else ""
        line = f"With pictures of {size} pixels{budget}, take {_in_words(best, unit)}"
        less = ", or ".join(_in_words(c, unit) for c in others)
        lines.append(f"{line}; with less time {less}." if less else f"{line}.")
    return ["\n".join(lines)]


def _worthwhile(choices: Sequence[Choice]) -> list[Choice]:
    """Return the front from accurate to fast, without steps that save little time."""
    steps: list[Choice] = []
    for choice in front(choices):
        last = steps[-1].milliseconds if steps else None
        if last is None or (choice.milliseconds or 0.0) <= LESS * last:
            steps.append(choice)
    return steps


def _in_words(choice: Choice, unit: str) -> str:
    return f"{choice.text} ({unit} {choice.accuracy:.1f}, {_number(choice.milliseconds, 1)} ms)"


def front(choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices that no other beats, the most accurate first."""
    unbeaten = [c for c in choices if not any(other.beats(c) for other in choices)]
    return sorted(unbeaten, key=lambda c: -c.accuracy)


def _table(title: str, basis: str, choices: Sequence[Choice]) -> str:
    best = _worthwhile(choices) if (alone := choices[0].alone) else front(choices)
    body = [
        [
            c.text,
            c.size,
            mean_std(c.group.summaries()),
            _tokens(c),
            _number(c.milliseconds, 2),
            _number(c.memory_mb, 0),
            len(c.group.seeds),
        ]
        for c in best
    ]
    unit = PROTOCOLS[choices[0].group.setting.protocol].unit
    heads = ("choice", "picture", unit, "tokens", "ms / picture", "memory MB", "seeds")
    aligned = ("left", *("right",) * 6)
    table = tabulate(
        body, headers=heads, tablefmt="simple", disable_numparse=True, colalign=aligned
    )
    costs = "time (a less accurate one saves at least a tenth)" if alone else "time and memory"
    text = f"{len(best)} of {len(choices)} choices that no other beats in {unit} and {costs}"
    return f"{title}: {text}; {basis}\n\n{table}"


def _tokens(choice: Choice) -> str:
    known = choice.group.field("tokens")
    return _number(known[0] if known else None, 0)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

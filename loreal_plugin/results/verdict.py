"""What a report says first: what low resolution costs, what is given back, and at which price."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.results.comparisons import compare
from loreal_plugin.results.group import Group, group_results
from loreal_plugin.results.layout import (
    Block,
    average,
    blocks_of,
    changes_text,
    shots_text,
    targets_text,
    weights_text,
)
from loreal_plugin.results.protocols import PROTOCOLS
from loreal_plugin.results.reader import Setting, collect

# row -> what gives points back
GIVERS = {"loreal": "LOREAL", "adapted": "the adapted image side (ours, not the paper's)"}
NEAR = 1.1  # a picture that takes at most this many times as long costs next to nothing
FIRST = 3  # sentences that a page opens with
_NAMED = 3  # datasets that a sentence names; of more it says how many


@dataclass(frozen=True)
class Verdict:
    """What a row gives back to one host at one phi.

    Attributes:
        key: the settings of its block.
        giver: the row, one of `GIVERS`.
        host: registered name of its trainer.
        lost, given: points of the protocol's summary; `unsure`: the test pictures cannot tell what
            is given from none.
        times: milliseconds of a picture by row, where they were measured.
        where: the datasets, in words.
    """

    key: Setting
    giver: str
    host: str
    lost: float
    given: float
    unsure: bool
    times: Mapping[str, float]
    where: str

    @property
    def unit(self) -> str:
        """Return what the points are points of."""
        return PROTOCOLS[self.key.protocol].unit.removesuffix(" (%)")

    @property
    def text(self) -> str:
        """Return the sentence."""
        who, of = GIVERS[self.giver], f"{self.lost:.1f} points of {self.unit} lost"
        if self.lost <= 0:
            text = (
                f"small pictures cost {self.host} nothing; {who} changes {self.unit} by"
                f" {self.given:+.1f} points"
            )
        elif self.given < 0:
            text = f"{who} gives {self.host} nothing back ({self.given:+.1f}) of the {of}"
        else:
            text = f"{who} gives {self.host} back {self.given:.1f} of the {of}"
        unsure = " (these test pictures cannot tell that from no change)" if self.unsure else ""
        return f"At {self.key.phi} ({self.where}), {text}{unsure}{self._price()}."

    @property
    def slower(self) -> float | None:
        """Return how many times the host's time a picture takes; None where it was not measured."""
        known = {self.giver, "phi"} <= self.times.keys()
        return self.times[self.giver] / self.times["phi"] if known else None

    @property
    def gives_back(self) -> bool:
        """Return whether points were lost and some of them are given back."""
        return self.lost > 0 and self.given >= 0

    def _price(self) -> str:
        if self.slower is None:
            return ""
        large = f"; {self.times['native']:.1f} at the native size" if "native" in self.times else ""
        ours, host = (f"{self.times[name]:.1f}" for name in (self.giver, "phi"))
        if self.slower <= NEAR:
            return f"; costs next to nothing at test ({ours} ms a picture, the host {host}{large})"
        return f"; a picture takes {ours} ms at test, the host {host}{large}"


def verdict_lines(blocks: Mapping[str, Sequence[Block]]) -> tuple[list[str], list[str]]:
    """Return the sentences that a page opens with, and one on each host by itself.

    At most `FIRST` sentences open a page: what everybody has, with the weights, recipe and host of
    most results, for most hosts; then the largest gain. Hosts of one setting share a sentence. Of
    few-shot runs, those with the most shots count. The second list is empty where it would say the
    same.

    Args:
        blocks: by name of the protocol.
    """
    every = [
        v
        for of in blocks.values()
        for v in _told_apart([v for block in of for v in block_verdicts(block)])
    ]
    several = len({v.key.protocol for v in every}) > 1

    def named(verdict: Verdict, text: str) -> str:
        return f"{PROTOCOLS[verdict.key.protocol].title}: {text}" if several else text

    most: dict[str, int] = defaultdict(int)
    for v in every:
        most[v.key.protocol] = max(v.key.shots, most[v.key.protocol])
    found: dict[tuple[Setting, str, str], list[Verdict]] = defaultdict(list)
    for v in every:
        if v.key.shots == most[v.key.protocol]:
            found[v.key, v.giver, v.where].append(v)
    places = {name: number for number, name in enumerate(blocks)}
    results = _results(blocks)

    def place(vs: Sequence[Verdict]) -> tuple[float, ...]:
        """Return where a setting stands: what somebody changed after what everybody has."""
        key, hosts = vs[0].key, len(_sentences(vs)[0])
        own = bool(key.overrides), bool(key.targets)
        gain = max(v.given for v in vs)
        return places[key.protocol], *own, -results[_basis(key)], -hosts, -gain

    first = [some for vs in sorted(found.values(), key=place) for some in _sentences(vs)][:FIRST]
    heads = [named(vs[0], _together(vs)) for vs in first]
    alone = [named(v, v.text) for v in sorted(every, key=lambda v: places[v.key.protocol])]
    return heads, [] if set(alone) <= set(heads) else alone


def _results(blocks: Mapping[str, Sequence[Block]]) -> Counter[tuple[str, ...]]:
    """Return how many results of runs there are with the same weights, recipe and host: most have
    those of the main setting, and a few what was tried beside it.
    """
    own = [g for of in blocks.values() for block in of for g in block.without_rivals().groups]
    found: Counter[tuple[str, ...]] = Counter()
    for group in own:
        found[_basis(group.setting)] += len(group.results)
    return found


def _basis(key: Setting) -> tuple[str, ...]:
    return key.weights, key.recipe, key.host


def opening(out: Path, protocol: str) -> list[str]:
    """Return the sentences that a page on one protocol's runs opens with, as a list.

    Raises:
        LorealError: there are no results below `out`.
    """
    groups, _ = group_results(collect(out).results)
    return [f"- {line}" for line in verdict_lines({protocol: blocks_of(groups, protocol)})[0]]


def _told_apart(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return verdicts of one protocol whose words say in which settings they differ."""
    asked = [list(_settings(v.key)) for v in verdicts]
    differ = [len(set(words)) > 1 for words in zip(*asked, strict=True)]
    said = [[w for w, differs in zip(words, differ, strict=True) if differs] for words in asked]
    return [
        replace(v, where=", ".join(filter(None, (v.where, *words))))
        for v, words in zip(verdicts, said, strict=True)
    ]


def _settings(key: Setting) -> Iterator[str]:
    """Yield in words what a sentence does not say otherwise."""
    yield shots_text(key.shots)
    yield f"weights {weights_text(key.weights)}"
    yield f"recipe {key.recipe}"
    yield f"host {key.host}"
    yield changes_text(key.overrides)
    yield targets_text(key.targets).removeprefix(", ")


def _sentences(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Return hosts of one setting by sentence: those that get points back share one."""
    together = [v for v in verdicts if v.gives_back]
    return [*([together] if together else []), *([v] for v in verdicts if not v.gives_back)]


def block_verdicts(block: Block) -> list[Verdict]:
    """Return what is given back in one block; none where a row that is needed is not there."""
    rows: dict[str, dict[str, list[Group]]] = defaultdict(dict)
    for method, row, groups in block.lines():
        rows[method][row] = groups
    found = []
    for of in rows.values():
        for giver in GIVERS:
            needed = _common({name: of.get(name, []) for name in ("native", "phi", giver)})
            found += [_verdict(block, needed, giver)] if needed[giver] else []
    return found


def _common(rows: Mapping[str, list[Group]]) -> dict[str, list[Group]]:
    """Return rows on the datasets that all of them have: means of others say nothing together."""
    has = [{group.setting.dataset for group in groups} for groups in rows.values()]
    shared = set.intersection(*has)
    return {name: [g for g in of if g.setting.dataset in shared] for name, of in rows.items()}


def _verdict(block: Block, rows: Mapping[str, list[Group]], giver: str) -> Verdict:
    """Return what one row gives back.

    Args:
        rows: groups of the method by row, one a dataset; the same datasets in each.
        giver: one of `GIVERS`.
    """
    native, phi, ours = (_mean(rows[name]) for name in ("native", "phi", giver))
    method, of = rows[giver][0].setting.method, rows[giver]
    found = compare(of[0], rows["phi"][0]) if len(of) == 1 else None
    times = {name: _milliseconds(rows[name]) for name in ("native", "phi", giver)}
    names = sorted(group.setting.dataset for group in of)
    return Verdict(
        key=block.key,
        giver=giver,
        host=CONTRACTS[method].trainer if method in CONTRACTS else method,
        lost=native - phi,
        given=ours - phi,
        unsure=bool(found and found.pictures and not found.pictures.excludes_zero),
        times={name: ms for name, ms in times.items() if ms is not None},
        where=", ".join(names) if len(names) <= _NAMED else f"mean of {len(names)} datasets",
    )


def _together(verdicts: Sequence[Verdict]) -> str:
    """Return one sentence on several hosts of one setting that all get points back."""
    if len(verdicts) == 1:
        return verdicts[0].text
    ordered = sorted(verdicts, key=lambda v: v.given)
    low, high, first = ordered[0], ordered[-1], verdicts[0]
    ends = min(v.lost for v in verdicts), max(v.lost for v in verdicts)
    lost = " to ".join(dict.fromkeys(f"{number:.1f}" for number in ends))
    gains = f"{low.given:.1f} ({low.host}) to {high.given:.1f} ({high.host})"
    text = (
        f"At {first.key.phi} ({first.where}), {GIVERS[first.giver]} gives {len(verdicts)} hosts"
        f" back {gains} of the {lost} points of {first.unit} lost"
    )
    unsure = " and ".join(v.host for v in verdicts if v.unsure)
    text += (
        f" (for {unsure}, these test pictures cannot tell that from no change)" if unsure else ""
    )
    slower = [v.slower for v in verdicts if v.slower is not None]
    if len(slower) < len(verdicts):  # the price of one is not that of all
        return f"{text}."
    if max(slower) <= NEAR:
        price = f"at most {max(slower):.2f} times the host's time"
        return f"{text}; costs next to nothing at test ({price})."
    return f"{text}; a picture takes up to {max(slower):.1f} times the host's time."


def _mean(groups: Sequence[Group]) -> float:
    return statistics.fmean(average(groups, Group.summaries))


def _milliseconds(groups: Sequence[Group]) -> float | None:
    """Return the mean time of one picture alone, over datasets and seeds."""
    known = [ms for group in groups for ms in group.picture_times()]
    return statistics.fmean(known) if known else None

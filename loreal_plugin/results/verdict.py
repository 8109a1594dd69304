"""What a report says first: what low resolution costs, what is given back, and at which price."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.results.comparisons import compare
from loreal_plugin.results.group import Group
from loreal_plugin.results.layout import Block, average
from loreal_plugin.results.protocols import PROTOCOLS

# row -> what gives points back
GIVERS = {"loreal": "LOREAL", "adapted": "the adapted image side (ours, not the paper's)"}
NEAR = 1.1  # a picture that takes at most this many times as long costs next to nothing
_NAMED = 3  # datasets that a sentence names; of more it says how many


@dataclass(frozen=True)
class Verdict:
    """What a row gives back to a host at one phi, in points and in a sentence."""

    text: str
    given: float


def verdict_lines(blocks: Mapping[str, Sequence[Block]]) -> list[str]:
    """Return a sentence for each host, phi and row that gives something back, the largest gains of
    each protocol first.

    Args:
        blocks: by name of the protocol.
    """
    found = {name: [v for b in of for v in block_verdicts(b)] for name, of in blocks.items()}
    several = sum(map(bool, found.values())) > 1
    lines = []
    for name, verdicts in found.items():
        head = f"{PROTOCOLS[name].title}: " if several else ""
        lines += [head + v.text for v in sorted(verdicts, key=lambda v: -v.given)]
    return lines


def block_verdicts(block: Block) -> list[Verdict]:
    """Return the sentences of one block; none where a row that they need is not there."""
    rows: dict[str, dict[str, list[Group]]] = defaultdict(dict)
    for method, row, groups in block.lines():
        rows[method][row] = groups
    return [
        _verdict(block, of, giver)
        for of in rows.values()
        for giver in GIVERS
        if {"native", "phi", giver} <= of.keys()
    ]


def _verdict(block: Block, rows: Mapping[str, list[Group]], giver: str) -> Verdict:
    """Return what one row gives back.

    Args:
        rows: groups of the method by row, one a dataset.
        giver: one of `GIVERS`.
    """
    native, phi, ours = (_mean(rows[name]) for name in ("native", "phi", giver))
    lost, given, ours_of = native - phi, ours - phi, rows[giver]
    method = ours_of[0].setting.method
    host = CONTRACTS[method].trainer if method in CONTRACTS else method
    unit = PROTOCOLS[block.key.protocol].unit.removesuffix(" (%)")
    who, of = GIVERS[giver], f"{lost:.1f} points of {unit} lost"
    if lost <= 0:
        text = f"small pictures cost {host} nothing; {who} changes {unit} by {given:+.1f} points"
    elif given < 0:
        text = f"{who} gives {host} nothing back ({given:+.1f}) of the {of}"
    else:
        text = f"{who} gives {host} back {given:.1f} of the {of}"
    found = compare(ours_of[0], rows["phi"][0]) if len(ours_of) == 1 else None
    if found and found.pictures and not found.pictures.excludes_zero:
        text += " (these test pictures cannot tell that from no change)"
    names = block.datasets
    where = ", ".join(names) if len(names) <= _NAMED else f"mean of {len(names)} datasets"
    return Verdict(f"At {block.key.phi} ({where}), {text}{_price(rows, giver)}.", given)


def _price(rows: Mapping[str, list[Group]], giver: str) -> str:
    """Return what a picture costs beside the host at phi; empty where it was not measured."""
    times = {name: _milliseconds(rows[name]) for name in ("native", "phi", giver)}
    ours, host, native = times[giver], times["phi"], times["native"]
    if ours is None or host is None:
        return ""
    large = f"; {native:.1f} at the native size" if native else ""
    if ours <= NEAR * host:
        return f"; costs nothing at test ({ours:.1f} ms a picture, the host {host:.1f}{large})"
    return f"; a picture takes {ours:.1f} ms at test, the host {host:.1f}{large}"


def _mean(groups: Sequence[Group]) -> float:
    return statistics.fmean(average(groups, Group.summaries))


def _milliseconds(groups: Sequence[Group]) -> float | None:
    """Return the mean time of one picture alone, over datasets and seeds."""
    known = [ms for group in groups for ms in group.picture_times()]
    return statistics.fmean(known) if known else None

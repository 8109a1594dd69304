"""A line of the ledger, and what a claim is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims_find import Place, Rows
from loreal_plugin.bench.lookup import Results
from loreal_plugin.results.comparisons import Comparison

AGREES, DISAGREES, UNDECIDED, MISSING = "agrees", "disagrees", "undecided", "not measured"


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        claim, source, command: in words.
        at: method and phi, or whatever the numbers are of.
        world: what was trained and tested on.
        measured: the numbers; empty where there are none.
        seeds: how many.
        pictures, over_seeds: intervals of 95 %.
        verdict: one of the four words.
    """

    claim: str
    source: str
    command: str
    at: str
    world: str
    measured: str = ""
    seeds: str = "-"
    pictures: str = "-"
    over_seeds: str = "-"
    verdict: str = MISSING


@dataclass(frozen=True)
class Context:
    """What claims are judged by.

    Attributes:
        rows: of finished runs.
        bench: the records of `loreal bench`, one a device and precision.
        defaults: where a claim is looked at unless it says otherwise.
        root: of the checkout, for pages.
    """

    rows: Rows
    bench: tuple[Results, ...]
    defaults: Mapping[str, Any]
    root: Path


def line(claim: Mapping[str, Any], at: str, world: str, **facts: str) -> Line:
    """Return a line of a claim."""
    return Line(claim["claim"], claim["source"], claim["command"], at, world, **facts)


def line_at(claim: Mapping[str, Any], place: Place, **facts: str) -> Line:
    """Return a line of a claim for one method at one phi."""
    return line(claim, f"{place.method}, phi {place.phi}", place.world, **facts)


def numbers(found: Comparison) -> str:
    """Return the means of both rows and their difference."""
    common = set(found.ours.seeds) & set(found.other.seeds) or set(found.ours.seeds)
    ours = _mean(found.ours, common)
    return f"{ours:.2f} against {ours - found.gain:.2f}: {found.gain:+.2f}"


def _mean(group: Any, seeds: set[int]) -> float:
    values = [r.summary for r in group.results if r.seed in seeds]
    return sum(values) / len(values)


def spread(found: Comparison) -> dict[str, str]:
    """Return number of seeds and intervals of a comparison, as a line has them."""
    return {
        "seeds": str(found.n_seeds),
        "pictures": "-" if found.pictures is None else str(found.pictures),
        "over_seeds": "-" if found.seeds is None else str(found.seeds),
    }

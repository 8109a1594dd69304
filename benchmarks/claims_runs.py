"""Claims that finished runs answer: one function a form."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.claims_find import Place, on_source, overrides_of, places
from benchmarks.claims_line import (
    AGREES,
    DISAGREES,
    UNDECIDED,
    Context,
    Line,
    line,
    line_at,
    numbers,
    spread,
)
from loreal_plugin.results.comparisons import Comparison, compare
from loreal_plugin.results.group import Group
from loreal_plugin.results.published_tables import side_by_side
from loreal_plugin.results.record import read_record
from loreal_plugin.results.statistics import seed_interval
from loreal_plugin.sweep.ablations import decided, measured, variant_groups, verdict
from loreal_plugin.sweep.plan_file import read_plan
from loreal_plugin.sweep.planned_runs import Locations, expand

Claim = Mapping[str, Any]
MARGIN = 1.25  # times as long; a wider interval says nothing about equal costs


def pair(context: Context, claim: Claim, place: Place) -> tuple[Group | None, Group | None]:
    """Return both rows of a claim; `other` is of the same runs where it names no overrides."""
    own = overrides_of(claim["ours"])
    rival = claim["other"]["row"] == "rival"
    ours = context.rows.find(place, claim["ours"], own)
    other = context.rows.find(
        place, claim["other"], overrides_of(claim["other"], () if rival else own)
    )
    if ours and other and claim.get("set") == "source":
        return on_source(ours), on_source(other)
    return ours, other


def compared(context: Context, claim: Claim, place: Place) -> Comparison | None:
    """Return the comparison of a claim's rows, None where one is not there."""
    ours, other = pair(context, claim, place)
    return compare(ours, other) if ours and other else None


def gain(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield whether `ours` is above `other`: the verdicts of the ablations."""
    for place in places(claim, context.defaults):
        found = compared(context, claim, place)
        if found is None:
            yield line_at(claim, place)
            continue
        text = numbers(found) + _share(context, claim, place, found)
        yield line_at(claim, place, measured=text, verdict=verdict(found), **spread(found))


def _share(context: Context, claim: Claim, place: Place, found: Comparison) -> str:
    """Return how much of what the host loses at phi is given back, in words."""
    if "lost" not in claim:
        return ""
    native = context.rows.find(place, {"row": claim["lost"]}, overrides_of(claim["ours"]))
    lost = compare(native, found.other) if native else None
    if lost is None or lost.gain <= 0:
        return ""
    return f", of {lost.gain:.2f} lost ({100 * found.gain / lost.gain:.0f} %)"


def never_below(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield whether `ours` is not below `other`: only a decided difference below zero denies it,
    and one below zero within noise leaves it open.
    """
    for place in places(claim, context.defaults):
        found = compared(context, claim, place)
        if found is None:
            yield line_at(claim, place)
            continue
        below = DISAGREES if decided(found) else UNDECIDED
        word = below if found.gain < 0 else AGREES
        yield line_at(claim, place, measured=numbers(found), verdict=word, **spread(found))


def trend(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield whether the gain falls from the first phi to the last; decided where the intervals of
    these two do not meet.
    """
    methods: dict[str, list[Place]] = {}
    for place in places(claim, context.defaults):
        methods.setdefault(place.method, []).append(place)
    for method, at in methods.items():
        known = [c for place in at if (c := compared(context, claim, place))]
        where = (f"{method}, phi {' '.join(str(place.phi) for place in at)}", at[0].world)
        if len(known) < len(at):
            yield line(claim, *where)
            continue
        gains, bounds = [c.gain for c in known], [c.pictures for c in known]
        word, first, last = UNDECIDED, bounds[0], bounds[-1]
        if first and last and first.low > last.high and gains == sorted(gains, reverse=True):
            word = AGREES
        elif first and last and first.high < last.low:
            word = DISAGREES
        yield line(
            claim,
            *where,
            measured=", ".join(f"{gain:+.2f}" for gain in gains),
            seeds=str(min(c.n_seeds for c in known)),
            pictures=", ".join("-" if b is None else str(b) for b in bounds),
            verdict=word,
        )


def cost(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield whether a picture costs no more: as many tokens, and the t interval over seeds of the
    ratio of milliseconds reaches down to 1 and ends below `MARGIN`.
    """
    for place in places(claim, context.defaults):
        ours, other = pair(context, claim, place)
        facts = _costs(ours, other) if ours and other else {}
        yield line_at(claim, place, **facts)


def _costs(ours: Group, other: Group) -> dict[str, str]:
    """Return a line's facts; nothing where a record lacks times or tokens."""
    pairs = [
        (a.content.numbers, b.content.numbers)
        for a in ours.results
        for b in other.results
        if a.seed == b.seed
    ]
    keys = {"picture_ms", "tokens"}
    if not pairs or not all(keys <= a.keys() and keys <= b.keys() for a, b in pairs):
        return {}
    ratios = [a["picture_ms"] / b["picture_ms"] for a, b in pairs]
    bounds, tokens = seed_interval(ratios), [{row["tokens"] for row in rows} for rows in pairs]
    means = [statistics.fmean(rows[i]["picture_ms"] for rows in pairs) for i in (0, 1)]
    text = f"{means[0]:.1f} ms against {means[1]:.1f} (x {statistics.fmean(ratios):.2f}), tokens"
    shown = " and ".join(f"{count:g}" for count in sorted(set().union(*tokens)))
    word = UNDECIDED
    if bounds is not None and (bounds.low > 1 or bounds.high < MARGIN):
        word = DISAGREES if bounds.low > 1 else AGREES
    return {
        "measured": f"{text} {shown}",
        "seeds": str(len(pairs)),
        "over_seeds": "-" if bounds is None else f"x {bounds}",
        "verdict": word if all(len(found) == 1 for found in tokens) else DISAGREES,
    }


def agreement(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield whether the chosen mode agreed with `exact` often enough in every run."""
    for place in places(claim, context.defaults):
        group = context.rows.find(place, claim["ours"], overrides_of(claim["ours"]))
        modes = [_inference(result.path) for result in group.results] if group else []
        chosen = [mode for mode in modes if mode.get("chosen")]
        if not chosen:
            yield line_at(claim, place)
            continue
        rates = [mode["chosen"]["agreement"] for mode in chosen]
        names = ", ".join(sorted({mode["INFERENCE"] for mode in chosen}))
        yield line_at(
            claim,
            place,
            measured=f"{names}: {min(rates):.1f} to {max(rates):.1f} %",
            seeds=str(len(rates)),
            verdict=AGREES if min(rates) >= claim["least"] else DISAGREES,
        )


def _inference(path: Path) -> Mapping[str, Any]:
    record, _ = read_record(path)
    return record.get("inference") or {}


def plan(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield the claims of a plan of ablations."""
    content = read_plan(claim["plan"])
    runs = expand(content, Locations(Path("output")))
    results = [result for found in context.rows.evidence for result in found.results]
    groups, _ = variant_groups(results)
    for factor in content.factors:
        known = measured(factor, runs, groups)
        for told in factor.claims:
            for entry in known:
                name = f"{factor.name}: {told.better} > {told.worse} ({told.published})"
                found = entry.against(told.better, told.worse)
                facts = {"verdict": verdict(found)}
                facts |= {"measured": numbers(found), **spread(found)} if found else {}
                world = f"{runs[0].spec.dataset}, preset paper"
                at = f"{entry.title}, phi {runs[0].spec.phi}"
                yield line({**claim, "claim": name}, at, world, **facts)


def real(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield the published averages beside ours, where runs are in the paper's setting."""
    rows = [(table, body) for table in side_by_side(context.rows.plain) for body in table.body]
    found = [(table, body) for table, body in rows if body[-1].text == "yes"]
    for table, body in found:
        text = [cell.text for cell in body]
        gains = [float(value) for value in text[8].split(" and ") if value != "-"]
        told = f"{text[6]}, gain {text[8]}; published {text[5]}, gain {text[7]}"
        word = AGREES if gains and min(gains) > 0 else DISAGREES
        yield line(claim, text[0], table.caption, measured=told, seeds=text[9], verdict=word)
    if not found:
        yield line(claim, "all methods", "the fifteen public datasets, ViT-B/16")

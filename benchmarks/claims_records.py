"""Claims that a record of `loreal bench` or a page of another command answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.claims_find import Place, places
from benchmarks.claims_line import AGREES, DISAGREES, UNDECIDED, Context, Line, line
from loreal_plugin.bench.cells import TEST_CLASSES, TRAIN_BATCH, TRAIN_CLASSES
from loreal_plugin.bench.lookup import Results

NATIVE = 224
Claim = Mapping[str, Any]
Told = tuple[str, str]


def _each(
    context: Context, claim: Claim, of: Callable[[Results, Place], Told | None]
) -> Iterator[Line]:
    """Yield a line for each record of costs that tells something of a place."""
    for place in places(claim, context.defaults):
        told = [(results, found) for results in context.bench if (found := of(results, place))]
        at = f"{place.method}, phi {place.phi}"
        for results, (text, word) in told:
            size, device, threads, precision = results.setting
            world = f"random weights, {size}, {device}, threads {threads}, {precision}"
            yield line(claim, at, world, measured=text, verdict=word)
        if not told:
            yield line(claim, at, "ViT-B/16 shapes")


def ratio(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield how many times longer one variant takes than another, beside the published factor or
    our own bound: not longer agrees, where quartiles reach down to it is open.
    """
    said = "published" if "published" in claim else "at_most"
    bound = claim[said]

    def of(results: Results, place: Place) -> Told | None:
        kind = claim["kind"]
        classes, batch = (TRAIN_CLASSES, TRAIN_BATCH) if kind == "train" else (TEST_CLASSES, 1)
        record = results.find(kind, place.method, place.phi, classes, batch)
        found = results.ratio(record, claim["slow"], claim["fast"]) if record else None
        if found is None:
            return None
        text = f"x {found['median']:.2f} ({found['q1']:.2f} to {found['q3']:.2f}, quartiles)"
        text += f", {said.replace('_', ' ')} x {bound:.2f}"
        if found["median"] <= bound:
            return text, AGREES
        return text, UNDECIDED if found["q1"] <= bound else DISAGREES

    return _each(context, claim, of)


def saving(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield what the host saves at phi of its time or memory at the native size."""

    def of(results: Results, place: Place) -> Told | None:
        sizes, batch = (place.phi, NATIVE), claim.get("batch", 1)
        low, high = (_cost(results, claim["what"], place.method, s, batch) for s in sizes)
        if low is None or high is None:
            return None
        saved = 100 * (1 - low / high)
        word = AGREES if saved >= claim["published"] else DISAGREES
        unit = "ms" if claim["what"] == "time" else "MiB"
        whole = "" if unit == "ms" else ", interpreter and weights included"
        return f"{saved:.0f} % ({low:.1f} {unit} of {high:.1f}{whole})", word

    return _each(context, claim, of)


def _cost(results: Results, what: str, method: str, size: int, batch: int) -> float | None:
    """Return the host's milliseconds a picture, or its MiB, for pictures of `size` pixels."""
    if what == "memory":
        return results.peak(method, size, TEST_CLASSES, batch, "host")
    record = results.find("infer", method, size, TEST_CLASSES, batch)
    found = results.milliseconds(record, "host")
    return found["median"] if found else None


def parameters(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield how many parameters LOREAL has at the published sizes."""
    counts = {
        record["facts"]["loreal_parameters"]
        for results in context.bench
        for record in results.records.values()
        if results.setting[0] == "vit_b16" and "loreal_parameters" in record.get("facts", {})
    }
    facts = {}
    if counts:
        shown = ", ".join(f"{count:,}" for count in sorted(counts))
        word = AGREES if counts == {claim["published"]} else DISAGREES
        facts = {"measured": shown, "verdict": word}
    yield line(claim, "all methods", "ViT-B/16 shapes", **facts)


def page(context: Context, claim: Claim) -> Iterator[Line]:
    """Yield a number of a table that another command has written into a page, `value (low to high)`
    between `begin` and `end`.

    `sign: below` claims that it is below zero, `above` that it is above.
    """
    text = (context.root / claim["source"]).read_text(encoding="utf-8")
    part = re.search(rf"<!-- begin {claim['part']} -->(.*?)<!-- end", text, re.DOTALL)
    found = _cell(part[1], claim["row"], claim["column"]) if part else None
    match = re.fullmatch(r"([-+.\d]+) \(([-+.\d]+) to ([-+.\d]+)\)", found or "")
    if match is None:
        yield line(claim, claim["row"], claim["world"])
        return
    value, low, high = map(float, match.groups())
    if claim["sign"] == "below":
        value, low, high = -value, -high, -low
    word = AGREES if low > 0 else DISAGREES if high < 0 else UNDECIDED
    yield line(
        claim,
        "coop",
        claim["world"],
        measured=f"{value:+.1f}",
        seeds=str(claim["seeds"]),
        over_seeds=f"{low:.1f} to {high:.1f}",
        verdict=word,
    )


def _cell(table: str, row: str, column: str) -> str | None:
    """Return a cell of a Markdown table, None where there is none."""
    rows = [
        [cell.strip() for cell in text.strip().strip("|").split("|")]
        for text in table.splitlines()
        if text.startswith("|")
    ]
    if not rows or column not in rows[0]:
        return None
    return next((cells[rows[0].index(column)] for cells in rows if cells[0] == row), None)

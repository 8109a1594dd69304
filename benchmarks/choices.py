"""What to take with how much time and how many bytes a picture: a plot, and a table of budgets.

    python -m benchmarks.choices OUTPUT [--method coop] [--plot FILE] [--write FILE]

Reads finished runs of LR-B2N on the demonstration world and the rivals beside them. Time is that of
one picture alone, as a share of what the host at the native size takes in the same process, in
which rows took turns: so records of different moments compare. Bytes are those of a JPEG file of
the picture at the size that has to be there (quality 92, no colour subsampling), over test pictures
of all classes. --write replaces the part `choices` of a document.
"""

from __future__ import annotations

import argparse
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from loreal_plugin.demo.pictures import as_jpeg, encode_jpeg
from loreal_plugin.demo.world import NUM_CLASSES
from loreal_plugin.edge.pixels import recipe_of, to_pixels
from loreal_plugin.errors import LorealError
from loreal_plugin.files import replace_between, write_bytes, write_text
from loreal_plugin.results.cost_plots import UPSAMPLED
from loreal_plugin.results.group import Group, group_results
from loreal_plugin.results.layout import Cell, Table, method_name
from loreal_plugin.results.markdown import table_markdown
from loreal_plugin.results.plots import Picture, finished
from loreal_plugin.results.protocols import BASE2NEW
from loreal_plugin.results.reader import Result, collect

PART = "choices"
PER_CLASS = 5  # test pictures whose files are weighed
# Percent of the host's time at the native size: between the times of 37 and 50 tokens, 82 and 101,
# 145 and 170, so that the noise of a measurement moves few choices.
SHARES = (30, 45, 60, 75, 110)
ENLARGED, VIEWS = "ADAPT_ENLARGE", "ADAPT_VIEWS"
SERIES = {
    "phi": ("host, trained at this size", "#1f77b4", "o-"),
    "native_at_phi": ("host, trained at 224", "#7f7f7f", "v-"),
    "loreal": ("+ LOREAL", "#ff7f0e", "D-"),
    "adapted": ("+ adapted image side", "#2ca02c", "^-"),
    "views": ("+ adapted image side, ADAPT_VIEWS set", "#17becf", "P"),
    "enlarged": ("+ adapted, enlarged inside", "#d62728", "*"),
    UPSAMPLED: ("host trained at 224, small picture enlarged", "#9467bd", ">--"),
    "merged": ("the same at 224, tokens merged", "#8c564b", "h"),
}


@dataclass(frozen=True)
class Choice:
    """One way to classify a picture.

    Attributes:
        kind: key of `SERIES`.
        text: in words.
        side: of the picture that has to be there, in pixels.
        accuracy: HM in percent, mean over seeds.
        share: of the host's time at the native size, in percent, mean over seeds.
        seeds: how many.
    """

    kind: str
    text: str
    side: int
    accuracy: float
    share: float
    seeds: int


def choices(out: Path, method: str, weights: str = "demo", shots: int = 16) -> list[Choice]:
    """Return what runs and rivals of a method offer.

    Raises:
        LorealError: there is nothing that was timed.
    """
    groups, _ = group_results(collect(out).results)
    mine = [
        g
        for g in groups
        if (g.setting.protocol, g.setting.dataset, g.setting.method, g.setting.weights)
        == (BASE2NEW.name, "demo", method, weights)
        and g.setting.shots == shots
    ]
    native = native_times(mine)
    found = [choice for g in mine if (choice := _choice(g, native))]
    if not found:
        raise LorealError(f"no timed run of {method} on the demonstration world below {out}")
    best: dict[tuple[str, str, int], Choice] = {}
    for choice in found:  # the host at the native size stands beside every phi: most seeds win
        key = choice.kind, choice.text, choice.side
        if key not in best or choice.seeds > best[key].seeds:
            best[key] = choice
    return sorted(best.values(), key=lambda c: (c.side, c.share))


def native_times(groups: Iterable[Group]) -> dict[Path, float]:
    """Return milliseconds of the host at the native size, by the record that they are in."""
    found = {}
    for group in groups:
        for result in group.results:
            ms = result.content.numbers.get("picture_ms")
            change = f"{UPSAMPLED} to {result.native_size}"
            whole = result.content.change == change and result.content.model == "alpha"
            if ms is not None and (result.row == "native" or whole):
                found[result.path] = ms
    return found


def _choice(group: Group, native: Mapping[Path, float]) -> Choice | None:
    """Return a group as a choice; None for what is not drawn, or was not timed."""
    kind, side, text = _kind(group)
    shares = [share for r in group.results if (share := _share(r, native)) is not None]
    if not kind or not shares:
        return None
    accuracy = statistics.fmean(group.summaries())
    return Choice(kind, text, side, accuracy, statistics.fmean(shares), len(group.seeds))


def _share(result: Result, native: Mapping[Path, float]) -> float | None:
    ms, whole = result.content.numbers.get("picture_ms"), native.get(result.path)
    return None if ms is None or whole is None else 100 * ms / whole


def _kind(group: Group) -> tuple[str, int, str]:
    """Return a key of `SERIES` ("" for none), the side of the picture, and words."""
    name, content = method_name(group.setting.method), group.results[0].content
    phi = group.setting.phi
    if group.rival:
        if content.model != "alpha":
            return "", phi, ""
        if content.change.startswith(UPSAMPLED):
            return UPSAMPLED, phi, f"{name} trained at 224, {content.change}"
        merged = "merged" in content.change
        return "merged" if merged else "", phi, f"{name} trained at 224, {content.change}"
    if group.setting.overrides:
        kind, change = _adaptation(group)
        return kind, phi, f"{name} + adapted image side, {change}"
    if group.row == "native":
        return "phi", group.native_size, f"{name} trained at {group.native_size}"
    texts = {
        "phi": f"{name} trained at {phi}",
        "native_at_phi": f"{name} trained at {group.native_size}",
        "loreal": f"{name} + LOREAL",
        "adapted": f"{name} + adapted image side",
    }
    return (group.row if group.row in texts else ""), phi, texts.get(group.row, "")


def _adaptation(group: Group) -> tuple[str, str]:
    """Return key and words of a row whose adaptation alone was changed, in views or enlarging."""
    words = [override.split() for override in group.setting.overrides]
    asked = {key.rpartition(".")[2]: value for *_, key, value in words}
    if group.row != "adapted" or not asked.keys() <= {VIEWS, ENLARGED}:
        return "", ""
    said = [f"enlarged to {asked[ENLARGED]} inside"] if ENLARGED in asked else []
    said += [f"{asked[VIEWS]} views"] if VIEWS in asked else []
    return ("enlarged" if ENLARGED in asked else "views"), ", ".join(said)


@cache
def kilobytes(side: int) -> float:
    """Return the mean size of a picture's JPEG file at a side, in kB, over test pictures."""
    sizes = []
    recipe = recipe_of(side, "bicubic")
    for label in range(NUM_CLASSES):
        for index in range(PER_CLASS):
            content = encode_jpeg("test", label, index)
            with Image.open(io.BytesIO(content)) as picture:
                if side != picture.width:
                    content = as_jpeg(to_pixels(picture.convert("RGB"), recipe))
            sizes.append(len(content) / 1000)
    return statistics.fmean(sizes)


def best_within(found: Iterable[Choice], side: int, share: float) -> Choice | None:
    """Return the most accurate choice for pictures of a side within a share of time."""
    fitting = [c for c in found if c.side == side and c.share <= share]
    return max(fitting, key=lambda c: (c.accuracy, -c.share), default=None)


def table(found: Sequence[Choice]) -> Table:
    """Return the choice at each budget: a line a share of time, a column a size of picture."""
    sides = sorted({c.side for c in found})
    body = []
    for share in SHARES:
        cells = [Cell(f"{share} %")]
        for side in sides:
            best = best_within(found, side, share)
            cells.append(Cell(f"{best.text}: **{best.accuracy:.1f}**" if best else "-"))
        body.append(tuple(cells))
    head = ("time at most", *(f"{side} px, {kilobytes(side):.1f} kB" for side in sides))
    caption = (
        "HM by time (of the host's at the native size) and by the picture that has to be there"
    )
    return Table(caption, head, tuple(body), words=len(head))


def plot(found: Sequence[Choice]) -> Picture:
    """Draw HM against time, and against the bytes of a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6))
    by_time, by_bytes = figure.subplots(1, 2, sharey=True)
    for kind, (label, colour, style) in SERIES.items():
        members = [c for c in found if c.kind == kind]
        accuracy = [c.accuracy for c in members]
        line: dict[str, Any] = {"color": colour, "markersize": 7, "linewidth": 1.2, "label": label}
        if members:
            by_time.plot([c.share for c in members], accuracy, style, **line)
            # one picture read in several ways is a column of marks, not a line
            apart = style.replace("-", "") if kind == UPSAMPLED else style
            by_bytes.plot([kilobytes(c.side) for c in members], accuracy, apart, **line)
    by_time.set_xlabel("time of one picture, % of the host at 224")
    by_bytes.set_xlabel("kB a picture (JPEG, quality 92)")
    by_time.set_ylabel("HM of base and new classes, %")
    for side in sorted({c.side for c in found}):
        by_bytes.annotate(
            f"{side} px", (kilobytes(side), 1.01), xycoords=("data", "axes fraction"), ha="center"
        )
    for axes in (by_time, by_bytes):
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
    by_time.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    return finished(figure, PART, "Accuracy against time and bytes of a picture")


def main(words: Sequence[str] | None = None) -> int:
    """Print the table, or write it; draw the plot where one is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUTPUT", help="output folder of the runs")
    parser.add_argument("--method", default="coop", help="whose runs (coop)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG file")
    parser.add_argument("--write", type=Path, metavar="FILE", help="document with the part")
    args = parser.parse_args(words)
    found = choices(args.out, args.method)
    text = table_markdown(table(found))
    if args.plot:
        write_bytes(args.plot, plot(found).png)
        print(f"drawn: {args.plot}")
    if args.write:
        write_text(args.write, replace_between(args.write.read_text("utf-8"), PART, text))
        print(f"written: {args.write}")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

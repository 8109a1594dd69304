"""The plan `scale` as a table and a plot: accuracies against the number of base classes.

    python -m benchmarks.demo_world.scale_table output --write docs/WORLD.md --plot FILE.png

A row is the mean over the seeds that are there; runs that have not ended are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from loreal_plugin.cli.results import deliver
from loreal_plugin.errors import LorealError
from loreal_plugin.results.record import RESULTS, harmonic_mean, read_record
from loreal_plugin.runs.spec import parse_overrides
from loreal_plugin.sweep.plan_file import read_plan

PART = "scale"
DEFAULT, ON_ADAPTED = "default", "slots on the adapted student"
# what a record's row is called, of the variant "default"
SHARED = {
    "native": "host, trained and tested at 224",
    "native_at_phi": "host trained at 224, tested at 96",
    "phi": "host, trained and tested at 96",
    "loreal": "+ LOREAL, default",
    "adapted": "+ LOREAL, adapted image side (ours)",
}
TEXT_SIDE = {  # title of the variant in the plan -> of the row
    "paper": "+ LOREAL, preset paper",
    "authors": "+ LOREAL, preset authors",
    "constant conditioning": "+ LOREAL, constant conditioning",
}
HOST = SHARED["phi"]
ORDER = (
    *list(SHARED.values())[:4],
    *TEXT_SIDE.values(),
    SHARED["adapted"],
    f"the same, {ON_ADAPTED}",
)

Pair = tuple[float, float]  # accuracy on base and on new classes
Table = dict[str, dict[int, list[Pair]]]  # title -> base classes -> a pair a seed


def collect(folder: Path) -> Table:
    """Return what the finished runs of the plan below a folder say.

    Raises:
        LorealError: there is none.
    """
    variants: dict[frozenset[Any], str] = {}
    for block in read_plan("scale").blocks:
        for variant in block.variants:
            words = parse_overrides(variant.words)
            variants[frozenset((o.scope, o.key, o.value) for o in words)] = variant.name
    table: Table = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.rglob(RESULTS)):
        record, fault = read_record(path)
        dataset = "" if fault else str(record.get("dataset", ""))
        if not dataset.startswith("scale-") or not record.get("rows"):
            continue
        asked = frozenset((scope, key, value) for scope, key, value in record["overrides"])
        for title, pair in rows_of(record, variants.get(asked)):
            table[title][int(dataset.removeprefix("scale-"))].append(pair)
    if not table:
        raise LorealError(f"{folder}: no finished run of the plan; `loreal sweep scale` makes them")
    return table


def rows_of(record: Mapping[str, Any], variant: str | None) -> list[tuple[str, Pair]]:
    """Return titles and accuracies of the rows that a variant's record is the source of."""
    found = []
    for row in record["rows"]:
        pair = (row["base"]["accuracy"], row["new"]["accuracy"])
        if variant == DEFAULT and row["name"] in SHARED:
            found.append((SHARED[row["name"]], pair))
        elif variant in TEXT_SIDE and row["name"] == "loreal":
            found.append((TEXT_SIDE[variant], pair))
        elif variant == ON_ADAPTED and row["name"] == "adapted":
            found.append((ORDER[-1], pair))
    return found


def means(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Return accuracy on base classes, on new ones and their HM, each a mean over seeds."""
    base, new = zip(*pairs, strict=True)
    return fmean(base), fmean(new), fmean(harmonic_mean(*pair) for pair in pairs)


def markdown(table: Table) -> str:
    """Return the table: a row a student, base / new / HM for each number of base classes."""
    numbers = sorted({number for found in table.values() for number in found})
    lines = ["| base / new / HM | " + " | ".join(f"{n} base classes" for n in numbers) + " |"]
    lines.append("|---" * (len(numbers) + 1) + "|")
    for title in (title for title in ORDER if title in table):
        cells = []
        for number in numbers:
            pairs = table[title].get(number)
            cells.append("{:.1f} / {:.1f} / **{:.1f}**".format(*means(pairs)) if pairs else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(table: Table, out: Path) -> None:
    """Draw two panels against the number of base classes, a line a student.

    Left: the HM. Right: points of it above the host trained and tested at 96. A CLIP that was
    pre-trained on more classes in as many steps knows them less well, so that HM falls for all.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    host = {n: means(pairs)[2] for n, pairs in table.get(HOST, {}).items()}
    for title in (title for title in ORDER if title in table):
        points = {n: means(pairs)[2] for n, pairs in sorted(table[title].items())}
        above = {n: value - host[n] for n, value in points.items() if n in host}
        for axes, values in ((left, points), (right, above)):
            axes.plot(list(values), list(values.values()), "o-", label=title)
    left.set(ylabel="HM, %", ylim=(0, None))
    right.set(ylabel=f"points of HM above: {HOST}")
    numbers = sorted({number for found in table.values() for number in found})
    for axes in (left, right):
        axes.set(xscale="log", xlabel="base classes (and as many new ones)")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    # beside the axes; matplotlib 3.6 has no "outside" places for a figure's legend
    right.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8)
    figure.savefig(out, dpi=100)


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code of what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the folder of the runs (OUT)")
    parser.add_argument("--write", metavar="PAGE", help="put the table in its part of a page")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    args = parser.parse_args(arguments)
    try:
        table = collect(args.out)
        deliver(markdown(table), args.write, PART)
    except LorealError as error:
        print(f"scale_table: {error}", file=sys.stderr)
        return 2
    if args.plot:
        plot(table, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())

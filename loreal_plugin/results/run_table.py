"""The table of one run, in plain text, and what it says in words."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from loreal_plugin.files import write_bytes
from loreal_plugin.results.published import published_note

TITLES = {"xd": "LR-CE", "dg": "LR-DG", "few_shot": "Few-shot", "zero_shot": "Zero-shot"}
HEADERS = ("", "Base", "New", "HM", "tunable parameters", "seconds")


def format_run(record: dict[str, Any]) -> str:
    """Return the table of a run's record with the sentences below it."""
    if "targets" in record:
        return format_targets(record)
    title = (
        f"{record['method']}, phi {record['phi']}, dataset {record['dataset']}, {record['shots']}"
        f" shots, seed {record['seed']}, weights {record['weights']['name']} (accuracy in %)"
    )
    body = [_cells(row) for row in record["rows"]]
    aligned = ("left", *("right",) * 5)
    table = tabulate(
        body, headers=HEADERS, tablefmt="simple", disable_numparse=True, colalign=aligned
    )
    parts = [title, "", table, "", *sentences(record)]
    note = published_note(record["method"], record["phi"], record["dataset"], record["recipe"])
    return "\n".join([*parts, *([note] if note else [])])


def format_targets(record: dict[str, Any]) -> str:
    """Return the table of a run that tests datasets (xd, dg, few-shot) or halves of one
    (zero-shot).
    """
    names, zero = list(record["targets"]), record["protocol"] == "zero_shot"
    more = [] if zero else [f"{record['shots']} shots", f"seed {record['seed']}"]
    facts = [record["method"], f"phi {record['phi']}", f"dataset {record['dataset']}", *more]
    title = (
        f"{TITLES[record['protocol']]}: {', '.join(facts)}, weights {record['weights']['name']}"
        " (accuracy in %)"
    )
    across = any(facts["role"] == "target" for facts in record["targets"].values())
    heads = [
        "",
        *names,
        *(["Average"] if across else []),
        *([] if zero else ["tunable parameters", "seconds"]),
    ]
    body = []
    for row in record["rows"]:
        scores = [f"{row['targets'][name]['accuracy']:.2f}" for name in names]
        mean = [f"{row['average']:.2f}"] if across else []
        body.append([row["label"], *scores, *mean, *([] if zero else _cost_cells(row))])
    aligned = ("left", *("right",) * (len(heads) - 1))
    table = tabulate(
        body, headers=heads, tablefmt="simple", disable_numparse=True, colalign=aligned
    )
    what = "the average over the targets" if across else "accuracy"
    said = (
        []
        if zero
        else sentences(record, {row["name"]: row["average"] for row in record["rows"]}, what)
    )
    return "\n".join([title, "", table, "", *said]).rstrip()


def format_shots(records: list[dict[str, Any]]) -> str:
    """Return one table over the shots of few-shot runs that are equal in everything else."""
    first, shots = records[0], [record["shots"] for record in records]
    by_shots = [{row["name"]: row for row in record["rows"]} for record in records]
    body = [
        [
            row["label"],
            *(
                f"{rows[row['name']]['average']:.2f}" if row["name"] in rows else "-"
                for rows in by_shots
            ),
        ]
        for row in first["rows"]
    ]
    title = (
        f"{TITLES['few_shot']}: {first['method']}, phi {first['phi']}, dataset {first['dataset']},"
        f" seed {first['seed']}, weights {first['weights']['name']}, all classes (accuracy in %)"
    )
    heads = ["shots", *map(str, shots)]
    aligned = ("left", *("right",) * len(shots))
    table = tabulate(
        body, headers=heads, tablefmt="simple", disable_numparse=True, colalign=aligned
    )
    return f"{title}\n\n{table}"


def format_rivals(record: dict[str, Any]) -> str:
    """Return the table of a rivals record: accuracies and what a picture costs beyond reading it."""
    title = (
        f"Rivals of {record['method']}, tested at phi {record['phi']}, dataset {record['dataset']},"
        f" {record['shots']} shots, seed {record['seed']}, weights {record['weights']['name']}"
        " (accuracy in %)"
    )
    targets = record.get("targets", {})
    across = any(facts["role"] == "target" for facts in targets.values())
    mean = ["Average"] if across else [] if targets else ["HM"]
    headers = ["", *(targets or ("Base", "New")), *mean, "ms/picture"]
    body = []
    for row in record["rows"]:
        scores = row["targets"] if targets else {half: row[half] for half in ("base", "new")}
        numbers = [score["accuracy"] for score in scores.values()]
        numbers += [row["average" if targets else "hm"]] if mean else []
        body.append(
            [row["label"], *(f"{number:.2f}" for number in (*numbers, row["milliseconds"]))]
        )
    aligned = ("left", *("right",) * (len(headers) - 1))
    return f"{title}\n\n{tabulate(body, headers=headers, tablefmt='simple', disable_numparse=True, colalign=aligned)}"


def _cells(row: dict[str, Any]) -> list[str]:
    """Return a row's cells."""
    numbers = [f"{row[s]['accuracy']:.2f}" for s in ("base", "new")] + [f"{row['hm']:.2f}"]
    return [row["label"], *numbers, *_cost_cells(row)]


def _cost_cells(row: dict[str, Any]) -> list[str]:
    """Return parameters and seconds; LOREAL's come on top of both host stages, which the plus sign
    says.
    """
    plus = "+" if row["name"] == "loreal" else ""
    return [f"{plus}{row['parameters']:,}", f"{plus}{row['seconds']:.1f}"]


def sentences(
    record: dict[str, Any], scores: dict[str, float] | None = None, what: str = "HM"
) -> list[str]:
    """Return what low resolution costs and what LOREAL gives back, in points, signed.

    Args:
        scores: by row name; None: the rows' HM.
        what: name of the score.
    """
    hm = {row["name"]: row["hm"] for row in record["rows"]} if scores is None else scores
    phi, native, found = record["phi"], record["native_size"], []
    if {"native", "native_at_phi"} <= hm.keys():
        found.append(
            f"Testing at {phi} instead of {native} changes {what} by"
            f" {hm['native_at_phi'] - hm['native']:+.2f} points"
            + (
                f", training at {phi} too by {hm['phi'] - hm['native']:+.2f}."
                if "phi" in hm
                else "."
            )
        )
    if {"phi", "loreal"} <= hm.keys():
        gain = hm["loreal"] - hm["phi"]
        lost = hm["native"] - hm["phi"] if "native" in hm else 0.0
        share = f", {100 * gain / lost:+.0f} % of what was lost" if lost > 0.005 else ""
        host = f"the host trained and tested at {phi}"
        found.append(f"LOREAL changes {what} by {gain:+.2f} points against {host}{share}.")
    return found


def save_plot(record: dict[str, Any], path: Path) -> None:
    """Draw base, new and HM of every row, or the accuracy on every target, as bars into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    rows = record["rows"]
    bars = _bars(record)
    width = 0.8 / len(bars)
    for index, (name, get) in enumerate(bars):
        places = [i + width * (index - (len(bars) - 1) / 2) for i in range(len(rows))]
        axes.bar(places, [get(r) for r in rows], 0.93 * width, label=name)
    axes.set_xticks(range(len(rows)), [r["label"].replace(", ", ",\n") for r in rows], fontsize=7)
    axes.set_ylabel("accuracy (%)")
    axes.set_title(
        f"{record['method']}, phi {record['phi']}, {record['dataset']}, seed {record['seed']}",
        fontsize=9,
    )
    axes.legend(fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    plt.close(figure)
    write_bytes(path, picture.getvalue())


def _bars(record: dict[str, Any]) -> list[tuple[str, Callable[[dict[str, Any]], float]]]:
    """Return name and value of each bar of a row."""
    if "targets" in record:
        return [
            (name, lambda row, n=name: row["targets"][n]["accuracy"]) for name in record["targets"]
        ]
    halves = [(half.title(), lambda row, h=half: row[h]["accuracy"]) for half in ("base", "new")]
    return [*halves, ("HM", lambda row: row["hm"])]

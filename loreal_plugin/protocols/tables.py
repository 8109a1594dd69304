"""The table of one run, in plain text, and what it says in words."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tabulate import tabulate

from loreal_plugin.protocols.published import published_note
from loreal_plugin.protocols.text_files import write_bytes

HEADERS = ("", "Base", "New", "HM", "tunable parameters", "seconds")


def format_run(record: dict[str, Any]) -> str:
    """Return the table of a run's record with the sentences below it."""
    title = (
        f"{record['method']}, phi {record['phi']}, dataset {record['dataset']}, {record['shots']} shots, "
        f"seed {record['seed']}, weights {record['weights']['name']} (accuracy in %)"
    )
    body = [_cells(row) for row in record["rows"]]
    aligned = ("left", *("right",) * 5)
    table = tabulate(body, headers=HEADERS, tablefmt="simple", disable_numparse=True, colalign=aligned)
    parts = [title, "", table, "", *sentences(record)]
    note = published_note(record["method"], record["phi"], record["dataset"], record["recipe"])
    return "\n".join([*parts, *([note] if note else [])])


def format_rivals(record: dict[str, Any]) -> str:
    """Return the table of a rivals record: accuracies and what a picture costs beyond reading it."""
    title = (
        f"Rivals of {record['method']}, tested at phi {record['phi']}, dataset {record['dataset']}, "
        f"{record['shots']} shots, seed {record['seed']}, weights {record['weights']['name']} (accuracy in %)"
    )
    rows = record["rows"]
    body = [[r["name"], *(f"{r[k]:.2f}" for k in ("base", "new", "hm", "milliseconds"))] for r in rows]
    aligned = ("left", *("right",) * 4)
    headers = ("", "Base", "New", "HM", "ms/picture")
    return f"{title}\n\n{tabulate(body, headers=headers, tablefmt='simple', disable_numparse=True, colalign=aligned)}"


def _cells(row: dict[str, Any]) -> list[str]:
    """Return a row's cells; LOREAL's costs come on top of both host stages, which the plus sign says."""
    plus = "+" if row["name"] == "loreal" else ""
    numbers = [f"{row[s]['accuracy']:.2f}" for s in ("base", "new")] + [f"{row['hm']:.2f}"]
    return [row["label"], *numbers, f"{plus}{row['parameters']:,}", f"{plus}{row['seconds']:.1f}"]


def sentences(record: dict[str, Any]) -> list[str]:
    """Return what low resolution costs and what LOREAL gives back, in points of HM, signed."""
    hm = {row["name"]: row["hm"] for row in record["rows"]}
    phi, native, found = record["phi"], record["native_size"], []
    if {"native", "native_at_phi"} <= hm.keys():
        found.append(
            f"Testing at {phi} instead of {native} changes HM by {hm['native_at_phi'] - hm['native']:+.2f} points"
            + (f", training at {phi} too by {hm['phi'] - hm['native']:+.2f}." if "phi" in hm else ".")
        )
    if {"phi", "loreal"} <= hm.keys():
        gain = hm["loreal"] - hm["phi"]
        lost = hm["native"] - hm["phi"] if "native" in hm else 0.0
        share = f", {100 * gain / lost:+.0f} % of what was lost" if lost > 0.005 else ""
        found.append(f"LOREAL changes HM by {gain:+.2f} points against the host trained and tested at {phi}{share}.")
    return found


def save_plot(record: dict[str, Any], path: Path) -> None:
    """Draw base, new and HM of every row as bars into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    rows = record["rows"]
    for index, (name, get) in enumerate(_BARS):
        axes.bar([i + 0.27 * (index - 1) for i in range(len(rows))], [get(r) for r in rows], 0.25, label=name)
    axes.set_xticks(range(len(rows)), [r["label"].replace(", ", ",\n") for r in rows], fontsize=7)
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"{record['method']}, phi {record['phi']}, {record['dataset']}, seed {record['seed']}", fontsize=9)
    axes.legend(fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    plt.close(figure)
    write_bytes(path, picture.getvalue())


_BARS = (
    ("Base", lambda row: row["base"]["accuracy"]),
    ("New", lambda row: row["new"]["accuracy"]),
    ("HM", lambda row: row["hm"]),
)


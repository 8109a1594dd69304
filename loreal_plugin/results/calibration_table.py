"""A calibration as text: one line a mode, then what the measurement says."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from loreal_plugin.plain_output import counted

# head, key in a row, digits
COLUMNS = (
    ("agrees %", "agreement", 2),
    ("accuracy %", "accuracy", 2),
    ("error med", "median_error", 3),
    ("p99", "p99_error", 3),
    ("max", "largest_error", 3),
    ("checked %", "checked", 1),
    ("ms/img B={batch}", "milliseconds", 3),
    ("B=1", "milliseconds_alone", 3),
    ("tables MiB", "table_mib", 2),
    ("peak MiB", "peak_mib", 2),
)


def format_calibration(record: dict[str, Any]) -> str:
    """Return the table of a calibration as text."""
    pictures = record["pictures"]
    head = (
        f"{counted(pictures['embeddings'], 'embedding')}: {pictures['where']};"
        f" {counted(record['classes'], 'class')}\n"
        f"errors in logits; image encoder {record['image_encoder_ms']:.2f} ms/img;"
        f" {record['device']}, {counted(record['threads'], 'thread')}, {record['clock']} time"
    )
    return "\n".join([head, _table(record), _series(record), *_choice(record)])


def _table(record: dict[str, Any]) -> str:
    """Return one line a mode, under one line of heads."""
    heads = ["mode", *(text.format(batch=record["batch"]) for text, _, _ in COLUMNS)]
    body = [
        [row["mode"], *(f"{row[key]:.{digits}f}" for _, key, digits in COLUMNS)]
        for row in record["rows"]
    ]
    aligned = ("left", *("right",) * len(COLUMNS))
    return tabulate([heads, *body], tablefmt="plain", disable_numparse=True, colalign=aligned)


def _series(record: dict[str, Any]) -> str:
    """Return how far the series of the text features goes, and how wrong it is."""
    facts = record["expansion"]
    if facts is None:
        return (
            "series: none, for the slots have no contents: all pictures have the same text"
            " features, and tangent and auto are static"
        )
    return (
        f"series: {facts['directions']} directions ({100 * facts['share_of_variance']:.2f}"
        f" % of the variance), {facts['products']} of them in products; error of a feature"
        f" {facts['mean_error']:.4f} on average, {facts['largest_error']:.4f} at most"
    )


def _choice(record: dict[str, Any]) -> tuple[str, str]:
    """Return the threshold of `auto` and the cheapest mode that is good enough."""
    chosen, share = record["chosen"], f"{100 * record['target']:g} %"
    keys = " ".join(f"TRAINER.LOREAL.{key} {v}" for key, v in chosen.items() if key != "mode")
    promise = ""
    if not record["promised"]:
        promise = " (more held-out pictures, or a larger SHORTLIST_K, could promise it)"
    return (
        f"threshold of auto for {share}: {record['margin']:.3f} logits{promise}",
        f"cheapest mode that agrees in {share}: {chosen['mode']} ({keys})",
    )

"""The table of the control world's runs: accuracies, and what each row adds, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.control import PLAIN, line
from loreal_plugin.errors import LorealError
from loreal_plugin.results.record import RESULTS, read_record
from loreal_plugin.runs.spec import parse_overrides
from loreal_plugin.sweep.plan_file import read_plan

PLAN = Path(__file__).with_name("plan.yaml")
HEAD = ["| what | base | new | base, difference | new, difference |", "|---|---|---|---|---|"]
HOST = {
    "native": "the host, trained and tested at 224",
    "native_at_phi": "the host trained at 224, tested at 96",
    "phi": "the host, trained and tested at 96",
}
ORDER = (PLAIN, "constant conditioning", "random start")  # the others as in the plan

Seeds = dict[int, list[float]]  # accuracies on base and new classes by seed


def run_records(folder: Path, method: str) -> list[Mapping[str, Any]]:
    """Returns the records of a method's finished runs below a folder."""
    found = []
    for path in sorted(folder.rglob(RESULTS)):
        record, fault = read_record(path)
        # a stage's own record has no rows
        if not fault and record.get("rows") and record.get("method") == method:
            found.append(record)
    return found


def by_variant(records: list[Mapping[str, Any]], plan: Path = PLAN) -> dict[str, Seeds]:
    """Returns the accuracies of LOREAL's row in each variant of the plan, of those that are there.

    The host's rows stand under their own titles.
    """
    variants = {}
    for variant in read_plan(plan).blocks[0].variants:
        words = parse_overrides(variant.words)
        variants[variant.name] = {(o.scope, o.key, o.value) for o in words}
    found: dict[str, Seeds] = {title: {} for title in (*HOST.values(), *variants)}
    for record in records:
        asked = {(scope, key, value) for scope, key, value in record["overrides"]}
        title = next((name for name, words in variants.items() if words == asked), None)
        for row in record["rows"]:
            pair = [row[half]["accuracy"] for half in ("base", "new")]
            if row["name"] in HOST:
                found[HOST[row["name"]]][record["seed"]] = pair
            elif title and row["name"].startswith("loreal"):
                found[title][record["seed"]] = pair
    return {title: seeds for title, seeds in found.items() if seeds}


def row(title: str, scores: Seeds, plain: Seeds) -> str:
    """Returns a row: means, and differences from instance conditioning over the seeds of both."""
    if title == PLAIN:
        values = list(scores.values())
        return line(title, values, values)
    seeds = [seed for seed in scores if seed in plain]
    note = "" if len(seeds) == len(plain) else f" (seeds {', '.join(map(str, sorted(seeds)))})"
    return line(title + note, [scores[s] for s in seeds], [plain[s] for s in seeds])


def run_table(folder: Path, method: str) -> list[str]:
    """Returns the lines of a method's table.

    Raises:
        LorealError: no run with instance conditioning has ended.
    """
    found = by_variant(run_records(folder, method))
    plain = found.get(PLAIN)
    if not plain:
        raise LorealError(f"{folder}: no finished run '{PLAIN}' of {method}; run the plan first")
    first = [title for title in (*HOST.values(), *ORDER) if title in found]
    titles = [*first, *(title for title in found if title not in first)]
    return [*HEAD, *(row(title, found[title], plain) for title in titles)]

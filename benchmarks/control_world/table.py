"""The table of the control world's runs: accuracies, and what each row adds, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.control import PLAIN, line
from benchmarks.control_world.by_hand import HAND, SWAPPED, by_hand
from loreal_plugin.errors import LorealError
from loreal_plugin.files import read_json, write_json
from loreal_plugin.options import INFERENCE_ONLY
from loreal_plugin.results.record import RESULTS, read_record
from loreal_plugin.runs.spec import parse_overrides
from loreal_plugin.sweep.plan_file import read_plan

PLAN = Path(__file__).with_name("plan.yaml")
PLANS = (PLAN, PLAN.with_name("further.yaml"))
HEAD = ["| what | base | new | base, difference | new, difference |", "|---|---|---|---|---|"]
HOST = {
    "native": "the host, trained and tested at 224",
    "native_at_phi": "the host trained at 224, tested at 96",
    "phi": "the host, trained and tested at 96",
}
FIRST = ("constant conditioning", "random start")  # after instance conditioning; then as planned
ADAPTED = "the adapted image side (not the paper's)"

Seeds = dict[int, list[float]]  # accuracies on base and new classes by seed


def run_records(folder: Path, method: str, shots: int) -> dict[Path, Mapping[str, Any]]:
    """Returns the records of a method's finished runs below a folder, by their own folders."""
    found = {}
    for path in sorted(folder.rglob(RESULTS)):
        record, fault = read_record(path)
        # a stage's own record has no rows
        if not fault and record.get("rows"):
            if (record["method"], record["shots"]) == (method, shots):
                found[path.parent] = record
    return found


def asked_of(overrides: Iterable[Sequence[str]]) -> set[tuple[str, ...]]:
    """Returns overrides as a set, without the keys of inference: a record has these elsewhere."""
    dropped = {f"TRAINER.LOREAL.{name}" for name in INFERENCE_ONLY}
    return {tuple(one) for one in overrides if one[1] not in dropped}


@cache
def variants() -> dict[str, set[tuple[str, ...]]]:
    """Returns the overrides of every variant of the plans, by title."""
    found = {}
    for variant in (
        v for plan in PLANS for block in read_plan(plan).blocks for v in block.variants
    ):
        words = parse_overrides(variant.words)
        found[variant.name] = asked_of((o.scope, o.key, o.value) for o in words)
    return found


def variant_of(record: Mapping[str, Any]) -> str | None:
    """Returns the title of the variant that a record is of, if any."""
    asked = asked_of(record["overrides"])
    return next((title for title, words in variants().items() if words == asked), None)


def by_variant(records: Iterable[Mapping[str, Any]]) -> dict[str, Seeds]:
    """Returns the accuracies of LOREAL's row in each variant of the plans, of those that are there.

    The host's rows and that of the adapted image side stand under their own titles.
    """
    found: dict[str, Seeds] = {title: {} for title in (*HOST.values(), *variants())}
    for record in records:
        title = variant_of(record)
        for one in record["rows"]:
            pair = [one[half]["accuracy"] for half in ("base", "new")]
            if one["name"] in HOST:
                found[HOST[one["name"]]][record["seed"]] = pair
            elif title and one["name"].startswith("loreal"):
                found[title][record["seed"]] = pair
            elif title == PLAIN and one["name"] == "adapted":
                found.setdefault(ADAPTED, {})[record["seed"]] = pair
    return {title: seeds for title, seeds in found.items() if seeds}


def words_file(folder: Path, method: str, shots: int) -> Path:
    """Returns where the accuracies of words written by hand lie, beside a folder of runs."""
    return folder.parent / f"words_{method}_{shots}.json"


def write_words(folder: Path, data: Path, method: str, shots: int) -> Path:
    """Writes the accuracies of words written by hand into the runs with instance conditioning.

    Seeds that are there are not made again.
    """
    file = words_file(folder, method, shots)
    found = read_json(file) or {}
    for place, record in run_records(folder, method, shots).items():
        seed = str(record["seed"])
        done = any(one["name"].startswith("loreal") for one in record["rows"])
        if done and seed not in found and variant_of(record) == PLAIN:
            found[seed] = by_hand(place, data)
            write_json(file, found)
    return file


def with_words(folder: Path, method: str, shots: int) -> dict[str, Seeds]:
    """Returns the rows of the runs and of words written by hand, in the order of the table."""
    found = by_variant(run_records(folder, method, shots).values())
    stored = read_json(words_file(folder, method, shots)) or {}
    hand = {t: {int(s): rows[t] for s, rows in stored.items()} for t in (*HAND, SWAPPED)}
    parts: dict[str, Seeds] = {title: found.pop(title, {}) for title in HOST.values()}
    parts |= {title: hand[title] for title in HAND}
    parts |= {PLAIN: found.pop(PLAIN, {}), SWAPPED: hand[SWAPPED]}
    parts |= {title: found.pop(title, {}) for title in FIRST} | found
    return {title: seeds for title, seeds in parts.items() if seeds}


def row(title: str, scores: Seeds, plain: Seeds) -> str:
    """Returns a row: means, and differences from instance conditioning over the seeds of both."""
    if title == PLAIN:
        values = list(scores.values())
        return line(title, values, values)
    seeds = [seed for seed in scores if seed in plain]
    which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"
    note = "" if len(seeds) == len(plain) else f" ({which})"
    return line(title + note, [scores[s] for s in seeds], [plain[s] for s in seeds])


def run_table(folder: Path, method: str, shots: int) -> list[str]:
    """Returns the lines of a method's table.

    Raises:
        LorealError: no run with instance conditioning has ended.
    """
    found = with_words(folder, method, shots)
    plain = found.get(PLAIN)
    if not plain:
        raise LorealError(f"{folder}: no finished run '{PLAIN}' of {method}; run the plan first")
    return [*HEAD, *(row(title, seeds, plain) for title, seeds in found.items())]

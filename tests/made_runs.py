"""Output folders made of written records: what runs would leave, without a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.files import write_checked, write_json
from loreal_plugin.results.record import RESULTS, SCHEMA_VERSION, harmonic_mean

SCORE = {"accuracy": 50.0, "correct": 1, "total": 2, "hits": "80"}
# what the engine gets from a training that a test replaces
OUTCOME = {
    "parameters": 1,
    "seconds": 0.1,
    "peak_memory_mb": 1.0,
    "epochs": 1,
    "steps_per_epoch": 1,
    "base": SCORE,
}
TOTAL = 400
RATES = {"native": 0.85, "native_at_phi": 0.55, "phi": 0.6, "loreal": 0.63}
STAGES = {"native": "alpha", "native_at_phi": "alpha", "phi": "beta", "loreal": "loreal"}
PICTURE_MS = {"native": 8.0, "native_at_phi": 2.0, "phi": 2.0, "loreal": 3.0}
LABELS = {
    "native": "MaPLe, trained and tested at 224",
    "native_at_phi": "MaPLe, trained at 224, tested at 96",
    "phi": "MaPLe, trained and tested at 96",
    "loreal": "+ LOREAL, tested at 96",
}


def score(rate: float, seed: int, with_hits: bool = True) -> dict[str, Any]:
    """Return a score of `TOTAL` pictures; what is easy for one row is easy for the others."""
    # one number a picture for every row: answers are then paired, as those of models are
    hard = np.random.default_rng(seed).random(TOTAL)
    hits = hard < rate
    found = {"accuracy": 100 * float(hits.mean()), "correct": int(hits.sum()), "total": TOTAL}
    return found | ({"hits": np.packbits(hits).tobytes().hex()} if with_hits else {})


def facts(method: str, phi: int | None, seed: int, **more: Any) -> dict[str, Any]:
    """Return what every record has."""
    found = {
        "schema_version": SCHEMA_VERSION,
        "protocol": "base2new",
        "kind": "stage",
        "key": f"{method}{phi}{seed}",
        "method": method,
        "trainer": "MaPLe",
        "host": {"name": "embedded", "code": "embedded"},
        "dataset": "demo",
        "phi": phi,
        "seed": seed,
        "shots": 16,
        "native_size": 224,
        "weights": {"name": "demo", "sha256": "w"},
        "recipe": "demo",
        "overrides": [],
        "attributes": ["color"],
        "images": "i",
        "device": "cpu",
        "threads": 1,
        "config": {"SEED": seed, "OPTIM.LR": 0.02, "DATALOADER.TRAIN_X.BATCH_SIZE": 8},
        "versions": {"torch": "2"},
        "git_revision": "abc",
    }
    return found | more


def write_run(
    out: Path,
    *,
    method: str = "maple",
    phi: int = 96,
    seed: int = 1,
    gain: float = 0.0,
    label: str = "demo",
    drop: float = 0.05,
    with_hits: bool = True,
    config: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a finished base-to-new run with its stages; return its folder.

    `gain` is added to LOREAL's rate, `drop` is what new classes lose.
    """
    dataset = more.get("dataset", "demo")
    root = out / "base2new" / "train_base" / dataset / "shots_16"
    places = {
        "alpha": root / method / label / f"seed{seed}",
        "beta": root / method / f"phi{phi}" / label / f"seed{seed}",
        "loreal": root / f"{method}_LOREAL" / f"phi{phi}" / label / f"seed{seed}",
    }
    stages = {
        name: {
            "key": f"{name}{method}{phi}{seed}",
            "folder": str(place.relative_to(out)),
            "parameters": 100,
            "seconds": 40.0,
            "peak_memory_mb": 900.0,
            "epochs": 5,
            "steps_per_epoch": 40,
        }
        for name, place in places.items()
    }
    rows = [
        _row(name, rate + (gain if name == "loreal" else 0.0), seed, phi, drop, with_hits)
        for name, rate in RATES.items()
    ]
    for name, place in places.items():
        record = facts(method, None if name == "alpha" else phi, seed) | {"stage": name} | more
        record["config"] = record["config"] | (config or {})
        record |= {"key": stages[name]["key"]}
        if name == "loreal":
            record |= {"stages": stages, "rows": rows}
        if not (place / RESULTS).exists() or name == "loreal":
            write_json(place / RESULTS, record)
    return places["loreal"]


def timed(folder: Path, factor: float = 1.0) -> Path:
    """Give each row of a written run a time of one picture."""
    content = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    for row in content["rows"]:
        row["picture_ms"] = factor * PICTURE_MS[row["name"]]
    write_checked(folder / RESULTS, content)
    return folder


def _row(
    name: str, rate: float, seed: int, phi: int, drop: float, with_hits: bool
) -> dict[str, Any]:
    base, new = score(rate, 10 * seed, with_hits), score(rate - drop, 10 * seed + 1, with_hits)
    return {
        "name": name,
        "label": LABELS[name],
        "train_size": 224,
        "test_size": 224 if name == "native" else phi,
        "base": base,
        "new": new,
        "hm": harmonic_mean(base["accuracy"], new["accuracy"]),
        "parameters": 100,
        "seconds": 40.0,
    }


def write_targets(
    out: Path,
    protocol: str,
    *,
    method: str = "maple",
    phi: int = 96,
    seed: int = 1,
    names: tuple[str, ...] = ("far", "near"),
    shots: int = 16,
    **more: Any,
) -> Path:
    """Write a finished run of `xd`, `dg` or `few_shot`."""
    source = {"demo": {"dataset": "demo", "role": "source", "classes": 4, "images": "i"}}
    targets = source | {
        n: {"dataset": n, "role": "target", "classes": 4, "images": "i"} for n in names
    }
    rows = []
    for row, rate in RATES.items():
        of = {
            n: score(rate - 0.1 * i, seed + 100 * i) | {"seconds": 2.0, "peak_memory_mb": 800.0}
            for i, n in enumerate(targets)
        }
        judged = [of[n]["accuracy"] for n in targets if targets[n]["role"] == "target"] or [
            of["demo"]["accuracy"]
        ]
        rows.append(
            {
                "name": row,
                "label": LABELS[row],
                "train_size": 224,
                "test_size": 224 if row == "native" else phi,
                "targets": of,
                "average": sum(judged) / len(judged),
                "parameters": 100,
                "seconds": 40.0,
            }
        )
    folder = (
        out
        / protocol
        / "run"
        / "demo"
        / f"shots_{shots}"
        / f"{method}_LOREAL"
        / f"phi{phi}"
        / "demo"
    )
    folder = folder / f"seed{seed}"
    record = facts(method, phi, seed, protocol=protocol, kind="run", shots=shots) | more
    found = {"stages": {}} | record | {"targets": targets, "rows": rows}
    write_json(folder / RESULTS, found)
    return folder


def write_rivals(out: Path, *, method: str = "maple", phi: int = 96, seed: int = 1) -> Path:
    """Write what `loreal rivals` leaves: zero-shot CLIP, and the host on up-sampled pictures."""
    rows = [
        {
            "name": name,
            "label": name,
            "base": {"accuracy": base, "total": TOTAL},
            "new": {"accuracy": base - 2, "total": TOTAL},
            "hm": harmonic_mean(base, base - 2),
            "milliseconds": cost,
        }
        for name, base, cost in (
            ("zero-shot", 58.0, 1.0),
            ("MaPLe trained at 224, up-sampled", 80.0, 7.0),
        )
    ]
    folder = (
        out
        / "base2new"
        / "rivals"
        / "demo"
        / "shots_16"
        / method
        / f"phi{phi}"
        / "demo"
        / f"seed{seed}"
    )
    write_json(folder / RESULTS, facts(method, phi, seed, kind="rivals") | {"rows": rows})
    return folder


def write_zero_shot(
    out: Path,
    dataset: str = "demo",
    phi: int = 96,
    *,
    label: str = "demo",
    rate: float = 0.57,
    **more: Any,
) -> Path:
    """Write what `loreal zero_shot` leaves; `rate` is that at phi."""
    rows = []
    for name, size, right in (("native", 224, 0.8), ("phi", phi, rate)):
        scores = {part: score(right, i) for i, part in enumerate(("all", "base", "new"))}
        base, new = scores["base"], scores["new"]
        rows.append(
            {
                "name": name,
                "label": f"zero-shot CLIP at {size}",
                "train_size": None,
                "test_size": size,
                "parameters": 0,
                "seconds": 0.0,
                "targets": scores,
                "base": base,
                "new": new,
                "hm": harmonic_mean(base["accuracy"], new["accuracy"]),
                "average": scores["all"]["accuracy"],
            }
        )
    targets = {part: {"dataset": dataset, "role": "source"} for part in ("all", "base", "new")}
    folder = out / "zero_shot" / "run" / dataset / "CLIP" / f"phi{phi}" / label
    own = {
        "protocol": "zero_shot",
        "kind": "run",
        "shots": 0,
        "dataset": dataset,
        "config": {},
        "targets": targets,
    }
    write_json(folder / RESULTS, facts("clip", phi, 0) | own | {"stages": {}, "rows": rows} | more)
    return folder

"""Tries settings of the demo recipes on held-out base pictures (`demo-heldout`).

    python benchmarks/select_demo_recipes.py host maple      # settings of stages 1 and 2
    python benchmarks/select_demo_recipes.py loreal maple    # of stage 3; host recipe as it is

No test picture and no new class of `demo` is read. Each run appends a JSON line to
`<out>/selection.jsonl`, so a broken run loses nothing; a candidate that is there already is
skipped. Print the table of a file with `--show`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from loreal_plugin.results.record import harmonic_mean
from loreal_plugin.runs.prepare import prepare
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import RunSpec, build_spec

# Grids of KEY -> values; every combination is a candidate.
HOST_GRIDS: dict[str, dict[str, tuple[str, ...]]] = {
    "coop": {"OPTIM.LR": ("0.002", "0.01", "0.05"), "OPTIM.MAX_EPOCH": ("20",)},
    "maple": {"OPTIM.LR": ("0.0005", "0.0015", "0.0035"), "OPTIM.MAX_EPOCH": ("5",)},
    "mma": {"OPTIM.LR": ("0.0005", "0.0015", "0.005", "0.02"), "OPTIM.MAX_EPOCH": ("5",)},
    "mmrl": {"OPTIM.LR": ("0.0001", "0.0003", "0.001", "0.003"), "OPTIM.MAX_EPOCH": ("5", "10")},
}
_L = "TRAINER.LOREAL."
# What the first rounds left at the values that preset and recipes had then; pinned, so that a run
# today gives the same table.
_THEN = {f"{_L}DRIFT": ("none",), "OPTIM.LR": ("0.02",)}
_FIRST = {**_THEN, f"{_L}HLD_DIRECTION": ("mutual",), f"{_L}META_INIT": ("default",)}
_TAUGHT = {
    **_FIRST,
    f"{_L}BRIDGE": ("self",),
    f"{_L}HLD_DIRECTION": ("alpha_to_beta",),
    f"{_L}HLD_TEMPERATURE": ("4",),
}
LOREAL_GRIDS: dict[str, dict[str, tuple[str, ...]]] = {
    "bridge": {**_FIRST, f"{_L}BRIDGE": ("self", "mix", "cross")},
    "rate": {**_FIRST, f"{_L}BRIDGE": ("self",), "OPTIM.LR": ("0.002", "0.1")},
    "init": {**_FIRST, f"{_L}BRIDGE": ("self",), f"{_L}META_INIT": ("neutral", "words")},
    "hld": {**_TAUGHT, f"{_L}HLD_TEMPERATURE": ("1", "4")},
    "ce": {
        **_FIRST,
        f"{_L}BRIDGE": ("self",),
        f"{_L}HLD_WEIGHT": ("0",),
        f"{_L}LLD_WEIGHT": ("0", "2"),
    },
    "epochs": {**_FIRST, f"{_L}BRIDGE": ("self",), "OPTIM.MAX_EPOCH": ("5", "30")},
    "paper": {**_THEN, f"{_L}PRESET": ("paper",)},
    # the last round: how far to train, and on which embeddings; the smallest rate leaves the
    # neutral start as it is
    "drift": {
        f"{_L}BRIDGE": ("self",),
        f"{_L}HLD_DIRECTION": ("alpha_to_beta",),
        f"{_L}HLD_TEMPERATURE": ("4",),
        f"{_L}META_INIT": ("neutral",),
        f"{_L}DRIFT": ("none", "mean"),
        "OPTIM.LR": ("0.000001", "0.002", "0.02"),
    },
    # which correction, with everything else at today's preset and recipe
    "correction": {f"{_L}DRIFT": ("none", "mean", "ridge")},
    # around the best of the above: alpha teaches, itself unchanged
    "best": {**_TAUGHT},
    "teach": {**_TAUGHT, "OPTIM.LR": ("0.1",), f"{_L}HLD_WEIGHT": ("1", "8")},
    "teach-long": {
        **_TAUGHT,
        "OPTIM.LR": ("0.1",),
        f"{_L}HLD_WEIGHT": ("8",),
        "OPTIM.MAX_EPOCH": ("30",),
    },
    "teach-init": {
        **_TAUGHT,
        "OPTIM.LR": ("0.1",),
        f"{_L}HLD_WEIGHT": ("8",),
        f"{_L}META_INIT": ("neutral",),
    },
    "teach-views": {
        **_TAUGHT,
        "OPTIM.LR": ("0.1",),
        f"{_L}HLD_WEIGHT": ("8",),
        f"{_L}META_INIT": ("neutral",),
        f"{_L}CACHE_VIEWS": ("16",),
        "OPTIM.MAX_EPOCH": ("32",),
    },
    "teach-lld": {
        **_TAUGHT,
        "OPTIM.LR": ("0.1",),
        f"{_L}HLD_WEIGHT": ("8",),
        f"{_L}LLD_TEMPERATURE": ("0.1",),
    },
    "teach-mix": {
        **_TAUGHT,
        "OPTIM.LR": ("0.1",),
        f"{_L}HLD_WEIGHT": ("8",),
        f"{_L}BRIDGE": ("mix",),
    },
}


def candidates(grid: dict[str, tuple[str, ...]]) -> Iterator[dict[str, str]]:
    """Yield every combination of a grid."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def spec_of(args: argparse.Namespace, settings: dict[str, str], scope: str) -> RunSpec:
    """Return the held-out run of one candidate."""
    opts = [word for key, value in settings.items() for word in (f"{scope}:{key}", value)]
    return build_spec(
        args.method, str(args.phi), "demo-heldout", str(args.seed), out=args.out, opts=opts
    )


def host_scores(spec: RunSpec) -> dict[str, float]:
    """Return base, new and HM of stage 2, the host trained and tested at phi: it is cheaper."""
    engine = prepare(spec, say=lambda _text: None)
    found = {"beta_seconds": engine.train(engine.plan.stages["beta"])["seconds"]}
    for row in (row for row in engine.plan.rows if row.stage == "beta"):
        base, new = (
            engine.evaluate(row, subset)["score"]["accuracy"] for subset in ("base", "new")
        )
        found |= {
            f"{row.name}_base": base,
            f"{row.name}_new": new,
            row.name: harmonic_mean(base, new),
        }
    return found


def loreal_scores(spec: RunSpec) -> dict[str, float]:
    """Return base, new and HM of every row of the whole run."""
    record = run_protocol(spec, say=lambda _text: None).record
    found = {"loreal_seconds": record["stages"]["loreal"]["seconds"]}
    for row in record["rows"]:
        found |= {
            f"{row['name']}_base": row["base"]["accuracy"],
            f"{row['name']}_new": row["new"]["accuracy"],
        }
        found[row["name"]] = row["hm"]
    return found


def show(lines: list[dict]) -> None:
    """Print the runs with the best HM first."""
    for line in sorted(
        lines,
        key=lambda x: (x["method"], x["what"], -x["scores"].get("loreal", x["scores"]["phi"])),
    ):
        hm = {
            k: round(v, 1)
            for k, v in line["scores"].items()
            if k in ("native", "native_at_phi", "phi", "loreal")
        }
        print(line["what"], line["method"], line["phi"], line["seed"], hm, line["settings"])


def main() -> None:
    """Run the candidates that the file does not have yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("host", "loreal"))
    parser.add_argument("method")
    parser.add_argument("--phi", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--grid", action="append", choices=list(LOREAL_GRIDS), help="stage-3 grids; default all"
    )
    parser.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="in every run"
    )
    parser.add_argument("--out", default="output/selection")
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    file = Path(args.out) / "selection.jsonl"
    done = [json.loads(text) for text in file.read_text().splitlines()] if file.is_file() else []
    if args.show:
        show(done)
        return
    host = args.what == "host"
    grids = (
        [HOST_GRIDS[args.method]] if host else [LOREAL_GRIDS[g] for g in args.grid or LOREAL_GRIDS]
    )
    fixed = {} if host else {f"{_L}ATTRIBUTES": "demo"}
    for settings in (s for grid in grids for s in candidates(grid)):
        settings = fixed | settings | dict(args.set)
        head = {
            "what": args.what,
            "method": args.method,
            "phi": args.phi,
            "seed": args.seed,
            "settings": settings,
        }
        if any({k: line[k] for k in head} == head for line in done):
            continue
        start = time.perf_counter()
        scores = (host_scores if host else loreal_scores)(spec_of(args, settings, args.what))
        line = head | {"scores": scores, "seconds": time.perf_counter() - start}
        done.append(line)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        show([line])


if __name__ == "__main__":
    main()

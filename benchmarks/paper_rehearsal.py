"""Rehearses the plan `paper` on miniatures: is everything there that the published tables need?

    python benchmarks/paper_rehearsal.py FOLDER [--methods coop] [--protocols base2new xd dg]

Nothing real is measured. FOLDER gets a miniature of each of the fifteen datasets, laid out as its
publisher does (three to six classes, tiny pictures), and random weights of the shapes of ViT-B/16
with two layers. Then the plan runs there in a tiny form: its protocols, datasets and preset, with
one epoch, few shots and one seed; and the report is written. Exit code 0: every run has ended.
What is there is left alone, so a rehearsal that was broken off goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers import random_clip_file  # noqa: E402  (needs the paths above)
from miniatures import MINIATURES  # noqa: E402

PLAN = ROOT / "configs" / "plans" / "paper.yaml"
# ViT-B/16's shapes, two blocks in each tower
SHAPES = {"width": 768, "text_width": 512, "embed_dim": 512, "resolution": 224}
LAYERS = {"layers": 2, "text_layers": 2}
# what the published recipes put into deeper blocks
DEPTHS: dict[str, dict[str, Any]] = {
    "maple": {"TRAINER.MAPLE.PROMPT_DEPTH": 2},
    "mma": {"TRAINER.MMADAPTER.ADAPTER_START": 1, "TRAINER.MMADAPTER.ADAPTER_END": 2},
    "mmrl": {"TRAINER.MMRL.REP_LAYERS": "[1, 2]"},
}
SHORT = {"OPTIM.MAX_EPOCH": 1, "OPTIM.WARMUP_EPOCH": 0, "DATALOADER.NUM_WORKERS": 0}


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make what is missing of the miniatures and the weights; return DATA and the weights' file."""
    data = folder / "data"
    for write in MINIATURES.values():
        done = data / f".{write.__name__}"
        if not done.exists():
            write(data)
            done.touch()
    weights = folder / "random_two_layers.pt"
    return data, weights if weights.exists() else random_clip_file(
        folder, weights.name, **SHAPES, **LAYERS
    )


def tiny_plan(plan: dict[str, Any], weights: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return a plan in its tiny form: a block a method, because depths are those of a method.

    Args:
        plan: the content of `paper.yaml`.
        weights: a file.
        args: which methods, protocols, datasets, resolutions and shots.
    """
    blocks = []
    for block in plan["runs"]:
        methods = [m for m in block.get("methods", plan["methods"]) if m in args.methods]
        protocols = [p for p in block["protocols"] if p in args.protocols]
        phis = [phi for phi in block["phis"] if phi in args.phis]
        known = block.get("datasets", plan["datasets"])
        datasets = [d for d in known if d in (args.datasets or known)]
        if not (protocols and phis and datasets):
            continue
        shots = block.get("shots", [args.shots])[:2]
        for method in methods:
            changed = {k: v | SHORT | DEPTHS.get(method, {}) for k, v in plan["variants"].items()}
            blocks.append(
                {"protocols": protocols, "methods": [method], "phis": phis, "datasets": datasets}
                | {"shots": shots, "variants": changed}
            )
    head = {"name": "paper_rehearsal", "weights": str(weights), "recipes": plan["recipes"]}
    return head | {"seeds": plan["seeds"][:1], "runs": blocks}


def command(folder: Path, data: Path, plan: Path, *words: str) -> int:
    """Run `loreal sweep` on a plan with caches of its own; return its exit code."""
    line = [sys.executable, "-m", "loreal_plugin", "sweep", str(plan), "--data", str(data)]
    env = os.environ | {"LOREAL_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    line += ["--out", str(folder / "out"), *words]
    return subprocess.run(line, env=env, cwd=folder, check=False).returncode


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments."""
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where everything is made")
    protocols = [name for block in plan["runs"] for name in block["protocols"]]
    parser.add_argument("--methods", nargs="+", choices=plan["methods"], default=plan["methods"])
    parser.add_argument("--protocols", nargs="+", choices=protocols, default=protocols)
    parser.add_argument("--datasets", nargs="+", choices=plan["datasets"], help="(all of a block)")
    parser.add_argument("--phis", nargs="+", type=int, default=[96], help="(96)")
    parser.add_argument("--shots", type=int, default=2, help="(2)")
    parser.add_argument("--jobs", default="1", help="runs at a time (1)")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Make the world, run the plan in it; return the sweep's exit code."""
    args = parse(words)
    folder = args.folder.expanduser().resolve()
    data, weights = prepare(folder)
    plan = folder / "paper_rehearsal.yaml"
    content = tiny_plan(yaml.safe_load(PLAN.read_text(encoding="utf-8")), weights, args)
    plan.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return command(
        folder, data, plan, "--jobs", args.jobs, *(["--dry-run"] if args.dry_run else [])
    )


if __name__ == "__main__":
    raise SystemExit(main())

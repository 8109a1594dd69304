"""`python -m benchmarks.demo_world build | check | draw`: pre-train, check, draw more classes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from benchmarks.demo_world.build import build
from benchmarks.demo_world.checker import CheckConfig
from benchmarks.demo_world.checks import Result, as_json, iter_checks
from benchmarks.demo_world.scale import draw_dataset
from benchmarks.demo_world.towers import PATCH_SIZE
from loreal_plugin.demo.weights import read_metadata, weights_file
from loreal_plugin.demo.world import NUM_BASE
from loreal_plugin.files import write_text

BUILD, CHECK, DRAW = "demo_world build", "demo_world check", "demo_world draw"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code of the action that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_world", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    _add_build(actions)
    _add_check(actions)
    _add_draw(actions)
    parsed = parser.parse_args(arguments)
    return parsed.run(parsed)


def _add_build(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("build", help="pre-train the demonstration CLIP again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=None, help="default: those of the shipped weights"
    )
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--work",
        type=Path,
        default=None,
        help="folder of the pool and the checkpoint (default: beside --out)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint of an interrupted run"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads; the weights depend on their number"
    )
    parser.add_argument(
        "--patch", type=int, default=PATCH_SIZE, help="pixels of a patch (%(default)s; 32)"
    )
    parser.add_argument(
        "--classes",
        type=int,
        default=NUM_BASE,
        metavar="N",
        help="base classes, and as many new ones: 20 (the world's own), 40, 60 ... 120",
    )
    parser.set_defaults(run=run_build)


def _add_check(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("check", help="print the tests T1 to T6")
    parser.add_argument(
        "--weights", default="demo", help="demo, demo-2 or a file (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, default=None, help="also write the results here")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="try the code on a few pictures; the values mean nothing",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.set_defaults(run=run_check)


def _add_draw(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("draw", help="draw a larger set of classes as a dataset")
    parser.add_argument(
        "--classes",
        type=int,
        default=3 * NUM_BASE,
        metavar="N",
        help="base classes, and as many new ones: 20, 60 or 120 (%(default)s)",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of all datasets; gets scale-N/"
    )
    parser.set_defaults(run=run_draw)


def run_build(arguments: argparse.Namespace) -> int:
    """Pre-trains a CLIP and packs it."""
    work = arguments.work or arguments.out.parent
    try:
        path = build(
            arguments.out,
            work,
            seed=arguments.seed,
            steps=arguments.steps,
            threads=arguments.threads,
            resume=arguments.resume,
            patch_size=arguments.patch,
            per_half=arguments.classes,
        )
    except (OSError, ValueError) as error:
        print(f"{BUILD}: {error}", file=sys.stderr)
        return 2
    measure = f"python -m benchmarks.demo_world check --weights {path}"
    print(f"weights: {path} ({path.stat().st_size} bytes); measure them with: {measure}")
    return 0


def run_draw(arguments: argparse.Namespace) -> int:
    """Draws the dataset of a set of classes."""
    try:
        print(f"dataset: {draw_dataset(arguments.classes, arguments.data)}")
    except (OSError, ValueError) as error:
        print(f"{DRAW}: {error}", file=sys.stderr)
        return 2
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Prints T1 to T6; returns 0 only if the required ones hold."""
    torch.set_num_threads(arguments.threads)
    results = []
    try:
        path = weights_file(arguments.weights)
        for result in iter_checks(path, CheckConfig.quick() if arguments.quick else CheckConfig()):
            results.append(result)
            print(_check_line(result), flush=True)
    except (OSError, ValueError) as error:
        print(f"{CHECK}: {error}", file=sys.stderr)
        return 2
    if arguments.quick:
        print("quick run: a few pictures only, the values mean nothing")
    if arguments.json is not None:
        content = {
            "weights": arguments.weights,
            "quick": arguments.quick,
            "metadata": read_metadata(path),
        }
        text = json.dumps({**content, "results": as_json(results)}, indent=2) + "\n"
        write_text(arguments.json, text)
    return 0 if all(result.met for result in results if result.required) else 1


def _check_line(result: Result) -> str:
    """Returns the two lines of one test: verdict and values, then what was asked."""
    kind = "required" if result.required else "aim"
    verdict = "met" if result.met else "NOT MET"
    return f"{result.test:4} {kind:9} {verdict:8} {result.measured}\n     asked: {result.asked}"


if __name__ == "__main__":
    sys.exit(main())

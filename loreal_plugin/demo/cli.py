"""`loreal demo draw | build | check`: the demonstration world from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loreal_plugin.demo import world
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.files import write_text
from loreal_plugin.paths import cache_root

if TYPE_CHECKING:
    from loreal_plugin.demo.checks import Result


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Adds the command `demo` with its three actions; each sets `run`, which gives an exit code."""
    parser = subparsers.add_parser(
        "demo", help="the demonstration world: draw it, pre-train its CLIP, check it"
    )
    actions = parser.add_subparsers(dest="action", required=True)
    _add_draw(actions)
    _add_build(actions)
    _add_check(actions)
    return parser


def _add_draw(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "draw", help="draw the pictures that are missing, and a sheet to look at"
    )
    parser.add_argument(
        "--root", type=Path, default=cache_root(), help="data folder (default: %(default)s)"
    )
    parser.add_argument("--splits", nargs="+", choices=list(world.POOLS), default=list(world.POOLS))
    parser.add_argument(
        "--world",
        metavar="NAME",
        default="demo",
        help="a target world, e.g. demo-sketch (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=None, help="processes (default: one per core)"
    )
    parser.add_argument(
        "--sheet", type=Path, default=None, help="write a PNG with some pictures of every class"
    )
    parser.add_argument(
        "--sheet-only", action="store_true", help="write the sheet and draw nothing else"
    )
    parser.set_defaults(run=run_draw)


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


def run_draw(arguments: argparse.Namespace) -> int:
    """Draws pictures and the sheet.

    Raises:
        ConfigError: there is no such world.
    """
    from loreal_plugin.demo.pictures import ensure_pictures
    from loreal_plugin.demo.sheet import write_sheet, write_target_sheet
    from loreal_plugin.demo.target_pictures import ensure_target_pictures
    from loreal_plugin.demo.targets import target_worlds

    target = target_worlds().get(arguments.world)
    if target is None and arguments.world != "demo":
        raise ConfigError(
            unknown_name("demonstration world", arguments.world, ("demo", *target_worlds()))
        )

    if arguments.sheet_only and arguments.sheet is None:
        print("--sheet-only draws the sheet alone, so it needs --sheet FILE", file=sys.stderr)
        return 2
    if not arguments.sheet_only:
        if target is None:
            folder = ensure_pictures(arguments.root, tuple(arguments.splits), arguments.workers)
        else:
            folder = ensure_target_pictures(arguments.root, target)
        print(f"pictures: {folder}")
    if arguments.sheet is not None:
        sheet = (
            write_sheet(arguments.sheet)
            if target is None
            else write_target_sheet(arguments.sheet, target)
        )
        print(f"sheet: {sheet}")
    return 0


def run_build(arguments: argparse.Namespace) -> int:
    """Pre-trains a CLIP and packs it."""
    from loreal_plugin.demo.build import build

    work = arguments.work or arguments.out.parent
    try:
        path = build(
            arguments.out,
            work,
            seed=arguments.seed,
            steps=arguments.steps,
            threads=arguments.threads,
            resume=arguments.resume,
        )
    except (OSError, ValueError) as error:
        print(f"loreal demo build: {error}", file=sys.stderr)
        return 2
    print(
        f"weights: {path} ({path.stat().st_size} bytes); measure them with: loreal demo check"
        f" --weights {path}"
    )
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Prints T1 to T6; returns 0 only if the required ones hold."""
    import torch

    from loreal_plugin.demo.checks import CheckConfig, as_json, iter_checks
    from loreal_plugin.demo.weights import read_metadata, weights_file

    torch.set_num_threads(arguments.threads)
    results = []
    try:
        path = weights_file(arguments.weights)
        for result in iter_checks(path, CheckConfig.quick() if arguments.quick else CheckConfig()):
            results.append(result)
            print(_check_line(result), flush=True)
    except (OSError, ValueError) as error:
        print(f"loreal demo check: {error}", file=sys.stderr)
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

"""`loreal demo draw`: the pictures of the demonstration world, and a sheet to look at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from loreal_plugin.demo import world
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.paths import cache_root


def add_parser(subparsers: Any) -> None:
    """Add the sub-command with its one action."""
    parser = subparsers.add_parser("demo", help="the demonstration world: draw its pictures")
    actions = parser.add_subparsers(dest="action", required=True)
    _add_draw(actions)


def _add_draw(actions: Any) -> None:
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


def run_draw(args: argparse.Namespace) -> int:
    """Draw pictures and the sheet.

    Raises:
        ConfigError: there is no such world.
    """
    from loreal_plugin.demo.pictures import ensure_pictures
    from loreal_plugin.demo.sheet import write_sheet, write_target_sheet
    from loreal_plugin.demo.target_pictures import ensure_target_pictures
    from loreal_plugin.demo.targets import target_worlds

    target = target_worlds().get(args.world)
    if target is None and args.world != "demo":
        raise ConfigError(
            unknown_name("demonstration world", args.world, ("demo", *target_worlds()))
        )

    if args.sheet_only and args.sheet is None:
        print("--sheet-only draws the sheet alone, so it needs --sheet FILE", file=sys.stderr)
        return 2
    if not args.sheet_only:
        if target is None:
            folder = ensure_pictures(args.root, tuple(args.splits), args.workers)
        else:
            folder = ensure_target_pictures(args.root, target)
        print(f"pictures: {folder}")
    if args.sheet is not None:
        sheet = (
            write_sheet(args.sheet) if target is None else write_target_sheet(args.sheet, target)
        )
        print(f"sheet: {sheet}")
    return 0

"""`loreal unpatch`: take back what `loreal patch` did, byte for byte, even if it was cut off."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "unpatch",
        usage="loreal unpatch HOST [--dry-run]",
        help="take a patch back, whole or half",
        description=__doc__,
    )
    parser.add_argument("host", metavar="HOST", help="root of a patched checkout")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take the patch back and show what changed."""
    from loreal_plugin.cli.patch import show, signals_interrupt
    from loreal_plugin.patch import unpatch_host

    with signals_interrupt():
        outcome = unpatch_host(Path(args.host), dry_run=args.dry_run)
    show(outcome)
    print("dry run: nothing was changed" if args.dry_run else f"restored: {args.host}")
    return 0

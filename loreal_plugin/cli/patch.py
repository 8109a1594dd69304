"""`loreal patch` and `loreal unpatch`: our trainers, configs and scripts in a host, and out."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loreal_plugin.patch import Outcome

EPILOG = """\
afterwards, inside the host:
  python train.py --trainer MaPLe_LOREAL ... KEY VALUE ...   (all of the family's command line)
  bash scripts/loreal/base2new_train.sh maple 96

train.py gets a few lines between marks; nothing else that the host has is changed.
`loreal unpatch HOST` restores the folder byte for byte.
"""


PATCH = "our trainers, configs and scripts inside a host, for its `python train.py`"
UNPATCH = "take back what `loreal patch` did, byte for byte, even if it was cut off"


def add_parser(subparsers: Any) -> None:
    """Add both sub-commands."""
    _add_patch(subparsers)
    _add_unpatch(subparsers)


def _add_patch(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "patch",
        usage="loreal patch HOST [--method METHOD] [--dry-run] [--link | --copy]",
        help=(
            "put our trainers, configs and scripts into a host, for `python train.py --trainer"
            " <X>_LOREAL` there"
        ),
        description=PATCH,
        epilog=EPILOG,
    )
    parser.add_argument("host", metavar="HOST", help="root of a CoOp-family checkout")
    parser.add_argument(
        "--method",
        default="",
        help="bring this method's trainer and recipes; all: those of every method that the host has"
        " (needed where it has several)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--link",
        action="store_true",
        help="link to our files (default): they change with this project",
    )
    how.add_argument(
        "--copy", action="store_true", help="copy our files: for a host that goes elsewhere"
    )
    parser.set_defaults(run=run_patch)


def _add_unpatch(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "unpatch",
        usage="loreal unpatch HOST [--dry-run]",
        help="take a patch back, whole or half",
        description=UNPATCH,
    )
    parser.add_argument("host", metavar="HOST", help="root of a patched checkout")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.set_defaults(run=run_unpatch)


def run_patch(args: argparse.Namespace) -> int:
    """Show what changes, then change it."""
    from loreal_plugin.patch import patch_host

    host = Path(args.host)
    if not args.dry_run:
        show(patch_host(host, copy=args.copy, dry_run=True, method=args.method))
    with signals_interrupt():
        outcome = patch_host(host, copy=args.copy, dry_run=args.dry_run, method=args.method)
    if args.dry_run:
        show(outcome)
        print("dry run: nothing was changed")
    elif outcome.files:
        print(f"patched: {host}")
    return 0


def run_unpatch(args: argparse.Namespace) -> int:
    """Take the patch back and show what changed."""
    from loreal_plugin.patch import unpatch_host

    with signals_interrupt():
        outcome = unpatch_host(Path(args.host), dry_run=args.dry_run)
    show(outcome)
    print("dry run: nothing was changed" if args.dry_run else f"restored: {args.host}")
    return 0


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let the signals that would end the process act like Ctrl-C, so that changes are undone."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(outcome: Outcome) -> None:
    """Print the difference of train.py, then files and remarks, a line each."""
    if outcome.diff:
        print(outcome.diff, end="")
    for line in (*outcome.files, *outcome.remarks):
        print(line)

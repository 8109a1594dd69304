"""`loreal verify`: whether the files of runs and caches are as they were written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from loreal_plugin.plain_output import counted

SHOWN = 20


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "verify",
        help="check every file of a run, an output folder or a cache against its hash",
        description=__doc__,
    )
    parser.add_argument(
        "folder",
        type=Path,
        help="a run's folder, an output folder (OUT), LOREAL_CACHE, or an archive of loreal pack",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is damaged and how many files were verified; 1 where something is damaged."""
    from loreal_plugin.errors import LorealError
    from loreal_plugin.files.checked_json import OLD
    from loreal_plugin.files.packed import unpacked
    from loreal_plugin.runs.verify import HEAL, verify

    folder = unpacked(args.folder.expanduser())
    if not folder.is_dir():
        raise LorealError(f"no folder {folder}; give a run's folder, OUT or LOREAL_CACHE")
    found = verify(folder)
    if not (found.verified or found.old or found.damaged):
        raise LorealError(f"{folder} has no results and no cache; give a run's folder or OUT")
    for path, fault in sorted(found.damaged.items())[:SHOWN]:
        print(f"damaged: {path} {fault}")
    if len(found.damaged) > SHOWN:
        print(f"and {len(found.damaged) - SHOWN} more")
    if found.old:
        print(f"{counted(len(found.old), 'file')} {OLD}, the first: {min(found.old)}")
    print(f"{counted(len(found.verified), 'file')} verified, {len(found.damaged)} damaged")
    if found.damaged:
        print(HEAL)
    return 1 if found.damaged else 0

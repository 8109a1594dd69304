"""`loreal results`: tables over methods, resolutions and seeds, from an output folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "results",
        help="make the tables of results/RESULTS.md from results.json files",
        description=__doc__,
    )
    parser.add_argument(
        "out", metavar="OUT", nargs="?", default="output", help="output folder of the runs (output)"
    )
    parser.add_argument(
        "--write", metavar="FILE", help="write the markdown there instead of printing it"
    )
    parser.add_argument(
        "--part",
        metavar="NAME",
        help="replace only <!-- begin NAME --> ... <!-- end NAME --> of FILE",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="only runs without overrides, their controls and rivals",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the tables; no finished run at all is an error."""
    from loreal_plugin.errors import LorealError
    from loreal_plugin.results.protocols import BASE2NEW
    from loreal_plugin.results.seed_tables import format_seed_tables, read_runs
    from loreal_plugin.results.verdict import opening

    out = Path(args.out).expanduser()
    runs = read_runs(out)
    if args.plain:
        runs = [run for run in runs if not run.ablation]
        if not runs:
            raise LorealError(
                f"every run below {args.out} has overrides of its own; leave out --plain"
            )
    verdict = opening(out, BASE2NEW.name)
    text = "\n".join([*verdict, "", ""]) if verdict else ""
    deliver(text + format_seed_tables(runs), args.write, args.part)
    return 0


def deliver(text: str, file: str | None, part: str | None) -> None:
    """Print a text, or write it to a file or a marked part of one.

    Raises:
        LorealError: the file cannot be read or written, or has no such part.
    """
    from loreal_plugin.errors import LorealError
    from loreal_plugin.files import replace_between, write_text

    if file is None:
        print(text)
        return
    try:
        whole = (
            replace_between(Path(file).read_text(encoding="utf-8"), part, text) if part else text
        )
    except OSError as error:
        raise LorealError(f"cannot read {file}: {error.strerror}") from error
    write_text(Path(file), whole)
    print(f"written: {file}")

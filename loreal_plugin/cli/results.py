"""`loreal results`: tables over methods, resolutions and seeds, from every results.json of an output folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "results", help="make the tables of docs/RESULTS.md from results.json files", description=__doc__
    )
    parser.add_argument("out", metavar="OUT", nargs="?", default="output", help="output folder of the runs (output)")
    parser.add_argument("--write", metavar="FILE", help="write the markdown there instead of printing it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the tables; no finished run at all is an error."""
    from loreal_plugin.protocols.report import format_report, read_runs
    from loreal_plugin.protocols.text_files import write_text

    text = format_report(read_runs(Path(args.out).expanduser()))
    if args.write:
        write_text(Path(args.write), text)
        print(f"written: {args.write}")
    else:
        print(text)
    return 0

"""`loreal table`: the table of a finished run, from its results.json."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "table", help="print the table of a finished run again", description=__doc__
    )
    parser.add_argument(
        "run_folder", metavar="RUN", help="a run's results.json or the folder it lies in"
    )
    parser.add_argument(
        "--per-class",
        action="store_true",
        help="also the recall of every class in each row, and which classes are taken for which",
    )
    parser.add_argument("--save-plot", metavar="PNG", help="also draw it as bars")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; an unfinished or foreign file is an error."""
    from loreal_plugin.cli.next_steps import after_run
    from loreal_plugin.errors import LorealError
    from loreal_plugin.results.class_tables import class_text
    from loreal_plugin.results.record import RESULTS, read_record
    from loreal_plugin.results.run import run_of
    from loreal_plugin.results.run_plot import save_plot
    from loreal_plugin.results.run_table import format_record

    path = Path(args.run_folder).expanduser()
    folder = path.parent if path.name == RESULTS else path
    record, fault = read_record(folder / RESULTS)
    if not record.get("rows"):
        raise LorealError(
            f"no finished run in {folder}: {RESULTS} {fault or 'has no rows'}; name the folder of"
            " a run's table, or run base2new_train.sh first"
        )
    print(format_record(record))
    if args.per_class:
        print(f"\n{class_text(run_of(record))}")
    if "loreal" in (record.get("stages") or {}):
        print(f"\n{after_run(folder)}")
    if args.save_plot:
        save_plot(record, Path(args.save_plot).expanduser())
    return 0

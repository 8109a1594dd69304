"""`loreal options`: the generated table of every key of cfg.TRAINER.LOREAL."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "options", help="print the table of every LOREAL key", description=__doc__
    )
    parser.add_argument(
        "--write", metavar="FILE", help="replace the part 'options' of a document, e.g. README.md"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the table."""
    from loreal_plugin.cli.results import deliver
    from loreal_plugin.options import options_table

    deliver(options_table(), args.write, "options")
    return 0

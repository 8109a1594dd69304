"""`loreal report`: one page of tables, plots and tests from the results of an output folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EPILOG = """\
Writes report.md (with pictures/) and report.html, one file that can be mailed, into FOLDER. Runs
whose settings differ in more than the seed are not averaged; the page and the last lines say what
differs, and the exit code is 1.

--ablations FILE writes the ablation page instead: one table a factor of the plans in configs/plans/
(or of --plans).

examples:
  loreal report output
  loreal report output --out report
  loreal report output --ablations results/ABLATIONS.md
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "report",
        help="make a page with tables, plots and statistical tests from finished runs",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument(
        "output_dir",
        metavar="OUTPUT_DIR",
        nargs="?",
        default="output",
        help="output folder of the runs (output)",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the page goes (OUTPUT_DIR/report)")
    parser.add_argument("--title", default="LOREAL: results", help="title of the page")
    parser.add_argument("--ablations", metavar="FILE", help="write the ablation page there instead")
    parser.add_argument(
        "--plans", metavar="PLAN", nargs="+", help="ablation plans (those of configs/plans/)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page; 0, or 1 where runs could not be averaged."""
    from loreal_plugin.errors import ConfigError

    out = Path(args.output_dir).expanduser()
    if args.ablations:
        from loreal_plugin.sweep.ablations import write_ablations

        print(f"written: {write_ablations(out, Path(args.ablations).expanduser(), args.plans)}")
        return 0
    if args.plans:
        raise ConfigError("--plans belongs to --ablations FILE")
    from loreal_plugin.cli.next_steps import next_line
    from loreal_plugin.paths import typed
    from loreal_plugin.results.write_report import write_report

    written = write_report(out, Path(args.out).expanduser() if args.out else None, args.title)
    for path in written.files:
        print(f"written: {path}")
    page = next((path for path in written.files if path.suffix == ".html"), written.files[0])
    advice = f"loreal advise {typed(out)} --dataset NAME"
    print(next_line(f"open {typed(page)} in a browser", advice))
    for refusal in written.refusals:
        print(f"not averaged: {refusal}")
    return 1 if written.refusals else 0

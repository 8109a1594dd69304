"""`loreal dg` (LR-DG): train on one dataset, test on other renderings of its classes."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.cli.across import ENVIRONMENT, add_run_parser, run_cross

EPILOG = f"""\
trained on ImageNet, tested on V2, Sketch, A and R; demo: on fresh pictures, drawings, clutter,
other colours. DATASET is the source, all of its classes are trained on. The three stages are shared
by xd and dg. On a target, the words of the slots are those of the source; the target's own with
-- TRAINER.LOREAL.TEST_ATTRIBUTES target.

Other sources, or other targets: --targets (TARGETS) names datasets, separated by spaces or commas.

{ENVIRONMENT}

examples:
  loreal dg maple 96
  loreal dg maple 96 --dry-run
  loreal dg coop 96 imagenet 1 --data ~/data
  loreal dg maple 96 birds 1 --targets "my_drawings demo-sketch" --data ~/data
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    text = "LR-DG: train on one dataset, test on other renderings of its classes"
    parser = add_run_parser(subparsers, "dg", text, __doc__, EPILOG)
    parser.add_argument(
        "--targets", metavar="NAMES", help="datasets to test on (TARGETS; those of the source)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the protocol."""
    return run_cross(args, "dg")

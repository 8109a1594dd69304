"""`loreal calibrate`: what each inference mode costs, and how often it agrees with `exact`."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.cli.run_options import add_choices, add_row, add_run_parser, same_run, spec_of

EPILOG = """\
Measures a student of a finished run: agreement with INFERENCE exact, accuracy, time and memory of
every mode, on the processor, with pictures of the training classes that stage 3 never saw. Makes
the tables that the modes need, finds the threshold of `auto`, names the cheapest mode that agrees
often enough, and keeps all of it beside the checkpoint, in loreal/inference/. The student is the
one that loreal predict uses: with the adapted image side where the run has one; --row loreal
measures the one without, which `base2new ... -- TRAINER.LOREAL.INFERENCE auto` tests. Pairs after
-- are those of the base2new run; TANGENT_* and SHORTLIST_K may be given, too.

examples:
  loreal calibrate maple 96
  loreal calibrate maple 96 --row loreal
  loreal calibrate coop 96 demo 1 --target 99.9 -- TRAINER.LOREAL.TANGENT_RANK 16
  loreal base2new maple 96 demo 1 -- TRAINER.LOREAL.INFERENCE auto
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    text = "measure the inference modes of a run and set the threshold of auto"
    parser = add_run_parser(subparsers, "calibrate", text, __doc__, EPILOG)
    parser.add_argument(
        "--target", metavar="PERCENT", default="99.5", help="agreement that is wanted (99.5)"
    )
    parser.add_argument(
        "--pictures", metavar="N", default="1000", help="held-out embeddings, at least (1000)"
    )
    add_row(parser)
    add_choices(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print the table."""
    import os

    # PyTorch's profiler, which measures memory, would report every start.
    # torch reads this when it is imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from loreal_plugin.cli.next_steps import next_line
    from loreal_plugin.cli.numbers import number
    from loreal_plugin.results.calibration_table import format_calibration
    from loreal_plugin.runs.calibrate import run_calibrate
    from loreal_plugin.runs.spec import whole_number

    rule = "--target must be a percentage above 0 and at most 100"
    target = number(args.target, lambda n: 0 < n <= 100, rule) / 100
    pictures = whole_number("--pictures", args.pictures, minimum=2)
    spec = spec_of(args)
    record = run_calibrate(spec, row=args.row, target=target, pictures=pictures)
    print(format_calibration(record))
    if record["expansion"] is not None:  # without contents all modes give the same
        scope = "adapted:" if record["row"] == "adapted" else ""
        auto = same_run(args, "base2new", f"{scope}TRAINER.LOREAL.INFERENCE", "auto")
        print(f"\n{next_line(auto)}")
    return 0

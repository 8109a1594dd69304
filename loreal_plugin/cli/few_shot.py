"""`loreal few_shot`: all classes, 1, 2, 4, 8 and 16 training pictures of each."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

from loreal_plugin.cli.across import ENVIRONMENT, add_run_parser
from loreal_plugin.cli.base2new import print_commands, spec_of
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.runs.spec import RunSpec, whole_number

EPILOG = f"""\
SHOTS (--shots) is one number or several, separated by spaces or commas; without it 1 2 4 8 16. Each
number is a run of its own with its own results.json.

{ENVIRONMENT}

examples:
  loreal few_shot maple 96
  loreal few_shot coop 96 demo 1 --shots "1 4"
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    text = "train on few pictures of all classes, for several numbers of pictures"
    add_run_parser(subparsers, "few_shot", text, __doc__, EPILOG).set_defaults(run=run)


def shots_of(text: str | None) -> list[int]:
    """Return the numbers of shots in `--shots` or SHOTS, the usual five where there are none.

    Raises:
        ConfigError: one is no whole number of at least 1, or comes twice.
    """
    from loreal_plugin.runs.protocol import ALL_SHOTS

    words = (text or os.environ.get("SHOTS") or "").replace(",", " ").split()
    found = [whole_number("SHOTS", word, minimum=1) for word in words] or list(ALL_SHOTS)
    if len(set(found)) < len(found):
        raise ConfigError(f"SHOTS names a number twice: {' '.join(words)}")
    return found


def run(args: argparse.Namespace) -> int:
    """Run the protocol for every number of shots, then print one table."""
    shots = shots_of(args.shots)
    args.shots = str(shots[0])
    first = spec_of(args, "few_shot")
    return _run_all(args, [replace(first, shots=number) for number in shots])


def _run_all(args: argparse.Namespace, specs: list[RunSpec]) -> int:
    """Run every spec; what is missing (`--test-only`) is named at the end."""
    from loreal_plugin.runs.protocol import FEW_SHOT

    if args.dry_run:
        return max([print_commands(args, spec, FEW_SHOT) for spec in specs])

    from loreal_plugin.results.run_table import format_shots, save_plot
    from loreal_plugin.runs.across import run_across

    outcomes = []
    for spec in specs:
        print(f"== {spec.shots} shots", flush=True)
        outcomes.append(
            run_across(
                spec, FEW_SHOT, test_only=args.test_only, until=args.until, verbose=args.verbose
            )
        )
        if args.save_plot:
            save_plot(outcomes[-1].record, outcomes[-1].folder / "table.png")
    if len(outcomes) > 1:
        print(f"\n{format_shots([outcome.record for outcome in outcomes])}")
    missing = [text for outcome in outcomes for text in outcome.missing]
    if missing:
        raise CheckpointError(f"not tested, because never trained: {'; '.join(missing)}")
    return 0

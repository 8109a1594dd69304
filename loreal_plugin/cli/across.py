"""What `loreal xd`, `dg` and `few_shot` share: arguments, dry run, and how a run ends."""

from __future__ import annotations

import argparse
import os
from typing import Any

from loreal_plugin.cli.base2new import add_run_options, print_commands, spec_of
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import CheckpointError
from loreal_plugin.runs.spec import RunSpec

ENVIRONMENT = "environment (an option wins): DATA, HOST, OUT, SHOTS, CLIP_WEIGHTS, RECIPE"


def add_run_parser(
    subparsers: Any, name: str, text: str, description: str | None, epilog: str
) -> Any:
    """Add a sub-command with the arguments METHOD PHI [DATASET] [SEED]; return its parser."""
    parser = subparsers.add_parser(
        name,
        usage=f"loreal {name} METHOD PHI [DATASET=demo] [SEED=1] [options] [-- KEY VALUE ...]",
        help=text,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", metavar="METHOD", help=f"one of {', '.join(CONTRACTS)}")
    parser.add_argument("phi", metavar="PHI", help="side of the low-resolution input in pixels")
    add_run_options(parser)
    parser.set_defaults(takes_extra=True)
    return parser


def target_names(text: str | None) -> list[str]:
    """Return the names in `--targets` or, without it, TARGETS; separated by spaces or commas."""
    return (text or os.environ.get("TARGETS") or "").replace(",", " ").split()


def run_cross(args: argparse.Namespace, name: str) -> int:
    """Run protocol `xd` or `dg`; exit code 0 with a whole table."""
    spec = spec_of(args, name)

    from loreal_plugin.runs.protocol import across

    return run_one(args, spec, across(name, spec.dataset, target_names(args.targets)))


def run_one(args: argparse.Namespace, spec: RunSpec, protocol: Any) -> int:
    """Run a protocol, or print what it would run."""
    if args.dry_run:
        return print_commands(args, spec, protocol)

    from loreal_plugin.results.run_table import save_plot
    from loreal_plugin.runs.across import run_across

    outcome = run_across(
        spec, protocol, test_only=args.test_only, until=args.until, verbose=args.verbose
    )
    if args.save_plot:
        save_plot(outcome.record, outcome.folder / "table.png")
    if outcome.missing:
        raise CheckpointError(f"not tested, because never trained: {'; '.join(outcome.missing)}")
    return 0

"""`loreal zero_shot`: CLIP with hand-made prompts, at its native size and at PHI, untrained."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from loreal_plugin.cli.run_options import (
    add_environment_options,
    dataset_and_seed,
    given_choices,
)
from loreal_plugin.contract import CONTRACTS, PLAIN_METHOD
from loreal_plugin.errors import ConfigError, unknown_name

EPILOG = """\
METHOD and SEED are taken so that every protocol is called alike, and make no difference; METHOD may
be left out. Tests all classes of DATASET and, of datasets that have them, the base and the new
half. The prompt is the hand-made one of the dataset, "a photo of a {}." where it has none. Datasets
are read through the embedded host.

environment (an option wins): DATA, OUT, CLIP_WEIGHTS

examples:
  loreal zero_shot 96
  loreal zero_shot maple 96 demo-sketch
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "zero_shot",
        usage="loreal zero_shot [METHOD] PHI [DATASET=demo] [SEED] [options]",
        help="test CLIP with hand-made prompts, at the native size and at PHI",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("words", metavar="[METHOD] PHI", nargs="+", help=argparse.SUPPRESS)
    add_environment_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be tested, and do nothing"
    )
    parser.set_defaults(run=run, takes_extra=True)


def run(args: argparse.Namespace) -> int:
    """Measure what is not there yet and print the table."""
    words = [*args.words, *args.extra]
    if words[0].lower() in CONTRACTS:
        words = words[1:]
    elif not words[0].isdigit():
        raise ConfigError(unknown_name("method", words[0], CONTRACTS))
    if not words:
        raise ConfigError("PHI is missing; see loreal zero_shot --help")

    from loreal_plugin.runs.spec import build_spec

    dataset, seed = dataset_and_seed(words[1:], args.command)
    spec = build_spec(
        PLAIN_METHOD,
        words[0],
        dataset,
        seed,
        host="",
        data=args.data,
        out=args.out,
        shots="1",
        weights=args.weights,
        opts=args.after,
    )
    from loreal_plugin.runs.zero_shot import prepare_zero_shot, run_zero_shot

    engine = prepare_zero_shot(spec)
    if args.dry_run:
        return _dry(engine)

    from loreal_plugin.cli.next_steps import next_line
    from loreal_plugin.paths import typed
    from loreal_plugin.results.run_table import format_run

    record, _ = run_zero_shot(engine)
    print(f"\n{format_run(record)}")
    training = [*_training(engine, words[0]), *given_choices(args)]
    print(f"\n{next_line(shlex.join(training), f'loreal report {typed(spec.out)}')}")
    return 0


def _training(engine: Any, phi: str) -> list[str]:
    """Return a command that trains on the dataset, or on the source of a test-only one."""
    from loreal_plugin.contract import DEFAULT_METHOD
    from loreal_plugin.errors import DataError
    from loreal_plugin.results.protocols import source_of
    from loreal_plugin.runs.checks import check_source

    dataset = engine.plan.spec.dataset
    try:
        check_source(engine)
    except DataError:
        protocol, source = source_of(dataset)
        if source:
            return ["loreal", protocol, DEFAULT_METHOD, phi, source]
        return ["loreal", "xd", DEFAULT_METHOD, phi, "SOURCE", "--targets", dataset]
    return ["loreal", "base2new", DEFAULT_METHOD, phi, dataset]


def _dry(engine: Any) -> int:
    """Print what would be tested."""
    from loreal_plugin.runs.zero_shot import zero_shot_folder

    spec = engine.plan.spec
    for size in (engine.plan.native_size, spec.phi):
        print(f"# CLIP at {size} on {spec.dataset}: {zero_shot_folder(engine)}")
    return 0

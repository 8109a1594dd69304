"""`loreal base2new`, `xd`, `dg`, `few_shot`: the protocols that train, one sub-command a row of
`loreal_plugin.results.protocols`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loreal_plugin.cli.next_steps import after_run
from loreal_plugin.cli.run_options import add_run_options, add_run_parser, spec_of, target_names
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.results.protocols import PROTOCOLS, TRAINED, Protocol
from loreal_plugin.runs.spec import RunSpec, whole_number

ENVIRONMENT = """\
environment (an option wins): DATA, HOST, OUT, SHOTS, CLIP_WEIGHTS, RECIPE; for a real host also
DASSL, LOREAL_COMPAT. LOREAL_DEVICE: number of a CUDA device (the first), cpu, or all"""
TARGETS = """\
Other sources, or other targets: --targets (TARGETS) names datasets, separated by spaces or commas.

"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-commands."""
    for name, protocol in TRAINED.items():
        more = TARGETS if protocol.across else ""
        examples = "\n".join(f"  loreal {name} {words}" for words in protocol.examples)
        epilog = f"{protocol.notes}\n\n{more}{ENVIRONMENT}\n\nexamples:\n{examples}\n"
        description = f"{protocol.title}: {protocol.help}."
        parser = add_run_parser(subparsers, name, protocol.help, description, epilog)
        add_run_options(parser)
        if protocol.across:
            parser.add_argument(
                "--targets",
                metavar="NAMES",
                help="datasets to test on (TARGETS; those of the source)",
            )
        parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the protocol, or print what it would run; exit code 0 with a whole table."""
    protocol = PROTOCOLS[args.command]
    # before torch is imported, so that wrong input is refused at once
    specs = _specs(args, protocol)

    from loreal_plugin.runs.protocol import protocol_of

    if protocol.across:
        protocol = protocol_of(protocol.name, specs[0].dataset, target_names(args.targets))
    if args.dry_run:
        for spec in specs:
            _print_commands(args, spec, protocol)
        return 0
    return _run_all(args, specs, protocol)


def shots_of(text: str | None, usual: Sequence[int]) -> list[int]:
    """Return the numbers of shots in `--shots` or SHOTS, the usual ones where there are none.

    Raises:
        ConfigError: one is no whole number of at least 1, or comes twice.
    """
    words = (text or os.environ.get("SHOTS") or "").replace(",", " ").split()
    found = [whole_number("SHOTS", word, minimum=1) for word in words] or list(usual)
    if len(set(found)) < len(found):
        raise ConfigError(f"SHOTS names a number twice: {' '.join(words)}")
    return found


def _specs(args: argparse.Namespace, protocol: Protocol) -> list[RunSpec]:
    """Return the run that is asked for, or one for each number of shots."""
    if not protocol.shots:
        return [spec_of(args)]
    shots = shots_of(args.shots, protocol.shots)
    args.shots = str(shots[0])
    first = spec_of(args)
    return [replace(first, shots=number) for number in shots]


def _run_all(args: argparse.Namespace, specs: list[RunSpec], protocol: Protocol) -> int:
    """Run every spec; what is missing (`--test-only`) is named at the end."""
    from loreal_plugin.results.run_plot import save_plot
    from loreal_plugin.results.run_table import format_shots
    from loreal_plugin.runs.run import run_protocol

    outcomes = []
    for spec in specs:
        if protocol.shots:
            print(f"== {spec.shots} shots", flush=True)
        outcome = run_protocol(
            spec, protocol, test_only=args.test_only, until=args.until, verbose=args.verbose
        )
        if args.save_plot:
            save_plot(outcome.record, outcome.folder / "table.png")
        outcomes.append(outcome)
    if len(outcomes) > 1:
        print(f"\n{format_shots([outcome.record for outcome in outcomes])}")
    last = outcomes[-1]
    if "loreal" in last.record["stages"] and not last.missing:
        print(f"\n{after_run(last.folder, specs[-1].out)}", flush=True)
    missing = [text for outcome in outcomes for text in outcome.missing]
    if missing:
        raise CheckpointError(f"not tested, because never trained: {'; '.join(missing)}")
    return 0


def _print_commands(args: argparse.Namespace, spec: RunSpec, protocol: Protocol) -> None:
    """Print what a run would do, as commands of the family's kind; nothing is run or written."""
    from loreal_plugin.runs.commands import run_commands
    from loreal_plugin.runs.prepare import prepare

    engine = prepare(spec, protocol=protocol, dry=True, say=lambda text: print(f"# {text}"))
    print("\n".join(run_commands(engine, until=args.until, test_only=args.test_only)))

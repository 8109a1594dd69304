"""`loreal base2new`: the three stages and the table; what scripts/loreal/base2new_*.sh call."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.runs.spec import STAGES, RunSpec

EPILOG = """\
DATASET is a name of configs/datasets/ or a folder of DATA with one sub-folder a class; SEED is a
whole number.

KEY VALUE pairs after -- override the recipes: TRAINER.LOREAL.* reaches stage 3 only, any other key
all stages; host:KEY reaches stages 1 and 2 (keys of INPUT, MODEL and the method's own node stage 3
too, whose students they describe), beta:KEY stage 2 only (the row of the host at PHI is then of
that training), loreal:KEY stage 3 only.

--until beta stops after stage 2 and prints the rows that exist: for choosing a host's recipe, and
for "the host at PHI trained on for longer".

environment (an option wins): DATA, HOST, OUT, SHOTS, CLIP_WEIGHTS, RECIPE; for a real host also
DASSL, LOREAL_COMPAT

examples:
  loreal base2new maple 96
  loreal base2new coop 144 caltech101 2 --data ~/data
  loreal base2new mmrl 96 demo 1 -- TRAINER.LOREAL.BRIDGE self
  loreal base2new maple 96 demo 1 --until beta -- beta:OPTIM.MAX_EPOCH 10
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "base2new",
        usage="loreal base2new METHOD PHI [DATASET=demo] [SEED=1] [options] [-- KEY VALUE ...]",
        help=(
            "train alpha, beta and LOREAL on base classes, test base and new classes, print the"
            " table"
        ),
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", metavar="METHOD", help=f"one of {', '.join(CONTRACTS)}")
    parser.add_argument("phi", metavar="PHI", help="side of the low-resolution input in pixels")
    add_run_options(parser)
    # argparse cannot place optional words around options,
    # so DATASET and SEED are taken from what it leaves
    parser.set_defaults(run=run, takes_extra=True)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every protocol that trains."""
    parser.add_argument(
        "--until",
        choices=STAGES,
        default=STAGES[-1],
        metavar="STAGE",
        help=f"stop after this stage: {', '.join(STAGES)}",
    )
    parser.add_argument(
        "--test-only", action="store_true", help="train nothing; test every stage that is there"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the commands of all stages and tests; do nothing",
    )
    add_environment_options(parser)
    parser.add_argument("--shots", help="pictures per class (SHOTS; 16)")
    parser.add_argument(
        "--recipe", help="name of the YAML in configs/trainers/<X>_LOREAL/ (RECIPE; by weights)"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the host's whole output, not only in log.txt"
    )
    parser.add_argument(
        "--save-plot",
        action="store_true",
        help="also draw the table as table.png beside results.json",
    )


def add_environment_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand for environment variables."""
    parser.add_argument("--host", help="root of a CoOp-family checkout (HOST; the embedded host)")
    parser.add_argument(
        "--data", help="folder that holds the datasets (DATA; for demo the local cache)"
    )
    parser.add_argument("--out", help="folder for results (OUT; ./output)")
    parser.add_argument(
        "--weights", help="demo, demo-2, an OpenAI name or a file (CLIP_WEIGHTS; by dataset)"
    )


def dataset_and_seed(extra: list[str], command: str = "base2new") -> tuple[str, str]:
    """Return DATASET and SEED from the words after METHOD and PHI.

    Raises:
        ConfigError: an unknown option, or more than two words.
    """
    unknown = [word for word in extra if word.startswith("-")] or extra[2:]
    if unknown:
        help_of = f"see loreal {command} --help"
        raise ConfigError(
            f"unknown argument '{unknown[0]}'; KEY VALUE pairs come after --, {help_of}"
        )
    return (*extra, *("demo", "1")[len(extra) :])  # type: ignore[return-value]


def spec_of(args: argparse.Namespace, command: str = "base2new") -> RunSpec:
    """Return the run that arguments and environment ask for; ConfigError, DataError, HostError."""
    from loreal_plugin.runs.spec import build_spec

    return build_spec(
        args.method,
        args.phi,
        *dataset_and_seed(args.extra, command),
        host=args.host,
        data=args.data,
        out=args.out,
        shots=args.shots,
        weights=args.weights,
        recipe=args.recipe,
        opts=args.after,
    )


def run(args: argparse.Namespace) -> int:
    """Run the protocol; exit code 0 with a whole table."""
    spec = spec_of(args)  # before torch is imported, so that wrong input is refused at once
    if args.dry_run:
        from loreal_plugin.runs.protocol import BASE2NEW

        return print_commands(args, spec, BASE2NEW)

    from loreal_plugin.results.run_table import save_plot
    from loreal_plugin.runs.base2new import run_base2new

    outcome = run_base2new(spec, test_only=args.test_only, until=args.until, verbose=args.verbose)
    if args.save_plot:
        save_plot(outcome.record, outcome.folder / "table.png")
    if outcome.missing:
        raise CheckpointError(f"not tested, because never trained: {'; '.join(outcome.missing)}")
    return 0


def print_commands(args: argparse.Namespace, spec: RunSpec, protocol: Any) -> int:
    """Print what a run would do, as commands of the family's kind; nothing is run or written."""
    from loreal_plugin.runs.base2new import prepare
    from loreal_plugin.runs.commands import run_commands

    engine = prepare(spec, protocol=protocol, look=False)
    print("\n".join(run_commands(engine, until=args.until, test_only=args.test_only)))
    return 0

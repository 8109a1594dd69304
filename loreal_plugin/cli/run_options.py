"""Arguments that commands share which name a run: METHOD PHI [DATASET] [SEED] and options."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Any

from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import ConfigError
from loreal_plugin.runs.spec import STAGES, RunSpec


def add_run_parser(
    subparsers: Any, name: str, text: str, description: str | None, epilog: str
) -> argparse.ArgumentParser:
    """Add a sub-command with the arguments METHOD PHI [DATASET] [SEED]; return its parser."""
    parser = subparsers.add_parser(
        name,
        usage=f"loreal {name} METHOD PHI [DATASET=demo] [SEED=1] [options] [-- KEY VALUE ...]",
        help=text,
        description=description,
        epilog=epilog,
    )
    parser.add_argument("method", metavar="METHOD", help=f"one of {', '.join(CONTRACTS)}")
    parser.add_argument("phi", metavar="PHI", help="side of the low-resolution input in pixels")
    # argparse cannot place optional words around options,
    # so DATASET and SEED are taken from what it leaves
    parser.set_defaults(takes_extra=True)
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every protocol that trains."""
    parser.add_argument(
        "--until",
        choices=STAGES,
        metavar="STAGE",
        help=f"stop after this stage: {', '.join(STAGES)} (default: UNTIL, else the last)",
    )
    parser.add_argument(
        "--test-only", action="store_true", help="train nothing; test every stage that is there"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the commands of all stages and tests; do nothing",
    )
    add_choices(parser)
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


def add_row(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which student of a finished run is meant."""
    parser.add_argument(
        "--row",
        choices=("loreal", "adapted"),
        default="",
        help="which student of the run: LOREAL's (loreal), or that with the adapted image side (the"
        " one that predict uses: adapted where there is one)",
    )


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add what chooses a run beside its words: where things lie, shots and recipe."""
    add_environment_options(parser)
    parser.add_argument("--shots", help="pictures per class (SHOTS; 16)")
    parser.add_argument(
        "--recipe", help="name of the YAML in configs/trainers/<X>_LOREAL/ (RECIPE; by weights)"
    )


def dataset_and_seed(extra: list[str], command: str) -> tuple[str, str]:
    """Return DATASET and SEED from the words after METHOD and PHI.

    Raises:
        ConfigError: an unknown option, or more than two words.
    """
    # -1 is a number, and what is wrong with it is said where numbers are read
    options = [word for word in extra if word.startswith("-") and not word[1:].isdigit()]
    unknown = options or extra[2:]
    if unknown:
        raise ConfigError(
            f"unknown argument '{unknown[0]}'; KEY VALUE pairs come after --, see loreal {command}"
            " --help"
        )
    return (*extra, *("demo", "1")[len(extra) :])  # type: ignore[return-value]


def same_run(args: argparse.Namespace, command: str, *pairs: str) -> str:
    """Return a command on the run that arguments name: their words, options and pairs, and more
    pairs after them, which take the place of those with their keys.
    """
    named = [args.method, args.phi, *dataset_and_seed(args.extra, args.command)]
    given = zip(args.after[::2], args.after[1::2], strict=True)
    kept = [word for pair in given if pair[0] not in pairs[::2] for word in pair]
    words = [*named, *given_choices(args), "--", *kept, *pairs]
    return shlex.join(["loreal", command, *words])


def given_choices(args: argparse.Namespace) -> list[str]:
    """Return the options of `add_choices` that were given, as words of a command."""
    options = ("host", "data", "out", "weights", "shots", "recipe")
    given = [(f"--{name}", getattr(args, name, None)) for name in options]
    return [word for option, value in given if value for word in (option, value)]


def spec_of(args: argparse.Namespace) -> RunSpec:
    """Return the run that arguments and environment ask for; ConfigError, DataError, HostError."""
    from loreal_plugin.runs.spec import build_spec

    return build_spec(
        args.method,
        args.phi,
        *dataset_and_seed(args.extra, args.command),
        host=args.host,
        data=args.data,
        out=args.out,
        shots=args.shots,
        weights=args.weights,
        recipe=args.recipe,
        opts=args.after,
    )


def target_names(text: str | None) -> list[str]:
    """Return the names in `--targets` or, without it, TARGETS; separated by spaces or commas."""
    return (text or os.environ.get("TARGETS") or "").replace(",", " ").split()

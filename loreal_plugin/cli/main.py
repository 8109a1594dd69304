"""Builds the parser, runs a sub-command, and turns errors that a user can act on into one line."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from loreal_plugin.cli.signals import (
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    Terminated,
    ended_by_sigterm,
)
from loreal_plugin.devices import use_one_device
from loreal_plugin.errors import ConfigError, LorealError, one_line, unknown_name
from loreal_plugin.plain_output import plain_output, reader_gone
from loreal_plugin.results.protocols import TRAINED
from loreal_plugin.version import __version__

# Each module adds the parsers of its commands with `add_parser(subparsers)`. It is imported when
# one of them runs, or for --help.
COMMANDS = {
    "fit": "loreal_plugin.cli.fit",
    "predict": "loreal_plugin.cli.predict",
    **dict.fromkeys(TRAINED, "loreal_plugin.cli.protocols"),
    "zero_shot": "loreal_plugin.cli.zero_shot",
    "adapt": "loreal_plugin.cli.adapt",
    "rivals": "loreal_plugin.cli.rivals",
    "calibrate": "loreal_plugin.cli.calibrate",
    "export": "loreal_plugin.cli.export",
    "pack": "loreal_plugin.cli.pack",
    "head": "loreal_plugin.cli.head",
    "train": "loreal_plugin.cli.train",
    "data": "loreal_plugin.cli.data",
    "doctor": "loreal_plugin.cli.doctor",
    "verify": "loreal_plugin.cli.verify",
    "patch": "loreal_plugin.cli.patch",
    "unpatch": "loreal_plugin.cli.patch",
    "demo": "loreal_plugin.cli.demo",
    "table": "loreal_plugin.cli.table",
    "results": "loreal_plugin.cli.results",
    "sweep": "loreal_plugin.cli.sweep",
    "report": "loreal_plugin.cli.report",
    "advise": "loreal_plugin.cli.advise",
    "explain": "loreal_plugin.cli.explain",
    "embed": "loreal_plugin.cli.explain",
    "options": "loreal_plugin.cli.options",
    "attributes": "loreal_plugin.cli.attributes",
    "bench": "loreal_plugin.cli.bench",
}
EXIT_WRONG_INPUT = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print the usage and end the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("epilog"):  # examples keep their lines
            kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self.color = False  # Python 3.14 would colour the help, and colours are shown as text here

    def error(self, message: str) -> NoReturn:
        """Raise a ConfigError that points at --help."""
        raise ConfigError(f"{message}; see {self.prog} --help")


def build_parser(command: str | None = None) -> Parser:
    """Return the parser with every sub-command, or with those of the module of `command`."""
    parser = Parser(
        prog="loreal", description="LOREAL: low-resolution prompt learning on CoOp-family hosts."
    )
    parser.add_argument("--version", action="version", version=f"loreal-plugin {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = [COMMANDS[command]] if command in COMMANDS else COMMANDS.values()
    for module in dict.fromkeys(wanted):
        importlib.import_module(module).add_parser(subparsers)
    return parser


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the parsed words; `after` is what follows `--`, `extra` what the sub-command takes as
    it is.

    Raises:
        ConfigError: an unknown command or argument.
    """
    cut = list(words).index("--") if "--" in words else len(words)
    head, after = list(words[:cut]), list(words[cut + 1 :])
    if head and not head[0].startswith("-") and head[0] not in COMMANDS:
        raise ConfigError(unknown_name("command", head[0], COMMANDS))
    parser = build_parser(head[0] if head else None)
    args, extra = parser.parse_known_args(head)
    if (extra or after) and not getattr(args, "takes_extra", False):
        raise ConfigError(
            f"{args.command}: unknown argument '{[*extra, *after][0]}'; see loreal {args.command}"
            " --help"
        )
    args.extra, args.after = extra, after
    return args


def entry() -> int:
    """Run the command line of a process of its own, which then sees one CUDA device.

    A sweep hands its devices out to the processes that it starts, so it keeps them all in sight; a
    device that is not there is refused all the same.
    """
    try:
        use_one_device(dict(os.environ) if sys.argv[1:2] == ["sweep"] else os.environ)
    except LorealError as error:
        return _fail(one_line(error))
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 done, 1 answered no, 2 wrong input, 130 or 143 ended."""
    with plain_output(), warnings.catch_warnings():
        # a class name in a script that the font of pictures lacks: boxes there, no lines here
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    try:
        with ended_by_sigterm():
            args = parse(sys.argv[1:] if argv is None else argv)
            return int(args.run(args) or 0)
    except FloatingPointError as error:
        return _fail(f"{one_line(error)}; the training diverges: choose a smaller OPTIM.LR")
    except LorealError as error:
        return _fail(one_line(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "loreal_plugin"):
            raise
        return _fail(
            f"the Python package '{package}' is not installed for {sys.executable}; activate the"
            " environment of the project (source .venv/bin/activate; the scripts of"
            " scripts/loreal/ make it), or pip install -e ."
        )
    except BrokenPipeError:
        return reader_gone()
    except (OSError, RuntimeError) as error:
        if disk_full(error):
            return _fail(
                f"disk full: {one_line(error)}; free some space, or set OUT and LOREAL_CACHE"
                " elsewhere"
            )
        # files that are missing or may not be written are the user's to mend;
        # anything else is a bug and shows its traceback
        if not isinstance(error, (FileNotFoundError, PermissionError)):
            raise
        return _fail(one_line(error))
    except Terminated:
        return _fail("ended by SIGTERM; run the same command again to go on", EXIT_TERMINATED)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again to go on", EXIT_INTERRUPTED)


def _fail(text: str, code: int = EXIT_WRONG_INPUT) -> int:
    """Print one line on stderr and return the exit code."""
    sys.stdout.flush()
    print(f"error: {text}", file=sys.stderr)
    return code


def disk_full(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, says that nothing more can be written.

    torch reports a full disk as a RuntimeError of its zip writer.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if isinstance(seen, RuntimeError) and re.search(
            r"PytorchStreamWriter|No space left", str(seen)
        ):
            return True
        seen = seen.__cause__ or seen.__context__
    return False

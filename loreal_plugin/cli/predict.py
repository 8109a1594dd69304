"""`loreal predict`: which class pictures show, by a finished run or an exported package."""

from __future__ import annotations

import argparse
import io
import sys
from contextlib import suppress
from itertools import chain
from typing import Any

from loreal_plugin.cli.run_options import add_row
from loreal_plugin.cli.signals import EXIT_INTERRUPTED

TEXT = "name pictures with a finished run or an exported package"
EPILOG = """\
RUN is the folder of a finished run with stage 3 (or its results.json); PACKAGE is a folder that
loreal export wrote. A PICTURE is a file, a folder (with all below it), a pattern, - for a list on
stdin (one a line), a video file, or the number of a camera; the last two need OpenCV
(pip install opencv-python-headless).

A picture that cannot be read is named on stderr and left out; the exit code is then 1.

In CSV a name of a picture or class that begins with = + - @ or a tab has an apostrophe in front:
spreadsheets would compute it. JSON has every name as it is.

examples:
  loreal predict RUN cat.jpg holiday/ "more/*.png"
  find . -name "*.jpg" | loreal predict RUN - --format csv > classes.csv
  loreal predict PACKAGE 0 --every 0.5 --top 1
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "predict",
        usage="loreal predict RUN|PACKAGE PICTURE ... [options]",
        help=TEXT,
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("model", metavar="RUN | PACKAGE", help="folder of a run or a package")
    parser.add_argument("pictures", metavar="PICTURE", nargs="*", help="see below")
    parser.add_argument("--top", default="3", help="classes a picture (3)")
    parser.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="json: a line a picture"
    )
    parser.add_argument("--batch", default="32", help="pictures that run at once (32)")
    parser.add_argument("--threads", help="processor threads that read and predict (all)")
    parser.add_argument(
        "--every", default="1", metavar="S", help="seconds between pictures of a video (1)"
    )
    parser.add_argument(
        "--classes",
        default="",
        help="a test set of the run (base, new, ...), a file with a class a line, or a head (as"
        " trained)",
    )
    parser.add_argument("--inference", help="inference mode of a run (the one it was tested in)")
    add_row(parser)
    parser.add_argument("--host", help="root of the checkout that the run used (HOST)")
    parser.add_argument("--weights", help="the run's CLIP weights, where they lie elsewhere now")
    parser.set_defaults(run=run, takes_extra=True)


def run(args: argparse.Namespace) -> int:
    """Print the classes of every picture; 1 where one could not be read."""
    from loreal_plugin.cli.numbers import number
    from loreal_plugin.errors import ConfigError
    from loreal_plugin.runs.spec import whole_number

    # argparse takes pictures before the options or after them, not both
    pictures = [*args.pictures, *args.extra, *args.after]
    unknown = [word for word in pictures if word.startswith("-") and word != "-"]
    if unknown:
        raise ConfigError(f"unknown argument '{unknown[0]}'; see loreal predict --help")
    if not pictures:
        raise ConfigError(f"no picture was named; loreal predict {args.model} FILE or FOLDER ...")
    top = whole_number("--top", args.top, minimum=1)
    batch = whole_number("--batch", args.batch, minimum=1)
    threads = None if args.threads is None else whole_number("--threads", args.threads, minimum=1)
    rule = "--every must be seconds, 0 or more"
    every = number(args.every, lambda n: 0 <= n < float("inf"), rule)
    from loreal_plugin.use.models import open_model

    model = open_model(
        args.model,
        classes=args.classes,
        inference=args.inference,
        row=args.row,
        threads=threads,
        host=args.host,
        weights=args.weights,
    )
    from loreal_plugin.use.sources import pictures_of

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # names of files may be no UTF-8
    sources = pictures_of(pictures, sys.stdin, every=every)
    return _print(model, sources, args.format, top=top, batch=batch, threads=threads)


def _print(
    model: Any, sources: Any, form: str, *, top: int, batch: int, threads: int | None
) -> int:
    """Print the classes of each picture as soon as they are known; return the exit code."""
    import torch

    from loreal_plugin.use.forms import head_of, line_of
    from loreal_plugin.use.predict import Tally, answers
    from loreal_plugin.use.sources import first_of

    for line in filter(None, (model.title, model.note)):
        print(line, file=sys.stderr, flush=True)
    if head_of(form):
        print(head_of(form))
    tally, code = Tally(), EXIT_INTERRUPTED  # which is how a camera ends
    readers = threads or torch.get_num_threads()
    with suppress(KeyboardInterrupt):
        first = first_of(sources, batch)
        width = max((len(one.name) for one in first), default=0)
        rest = chain(first, sources)
        for one in answers(model, rest, tally, top=top, batch=batch, readers=readers):
            width = max(width, len(one.name))
            if one.fault:
                print(f"skipped: {one.fault}", file=sys.stderr, flush=True)
            line = line_of(one, form, model.classnames, width)
            if line:
                print(line, flush=True)
        code = int(tally.broken > 0)
    print(tally.text(), file=sys.stderr)
    return code

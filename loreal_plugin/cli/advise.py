"""`loreal advise`: which phi, method and mode to take, from the results of a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from loreal_plugin.results.protocols import FIT, TRAINED

EPILOG = """\
Prints the choices that no other beats in accuracy and time, of runs and rivals together, says what
to take, and draws them. Times are those of one picture alone on the machine that made the runs; of
records without them, those of tests, with memory. --ms and --mb leave out what costs more.

examples:
  loreal advise output --dataset demo
  loreal advise output --dataset demo --ms 5
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "advise",
        help="print the Pareto choices of a dataset: accuracy against time and memory",
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="output folder of the runs")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="dataset of the runs")
    parser.add_argument(
        "--protocol",
        choices=(*TRAINED, FIT.name),
        default="",
        help="whose runs (the first protocol that has runs of the dataset)",
    )
    parser.add_argument("--ms", metavar="N", help="at most N milliseconds for a test picture")
    parser.add_argument("--mb", metavar="N", help="at most N MB of memory")
    parser.add_argument(
        "--to", metavar="FOLDER", help="where the picture goes (OUTPUT_DIR/advice/NAME)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the choices."""
    from loreal_plugin.cli.next_steps import next_line
    from loreal_plugin.cli.numbers import number
    from loreal_plugin.files import write_bytes
    from loreal_plugin.paths import typed
    from loreal_plugin.results.advise import advise
    from loreal_plugin.runs.folders import folder_name

    limits = {
        name: number(text, lambda n: 0 < n < float("inf"), f"--{name} must be a number above 0")
        for name in ("ms", "mb")
        if (text := getattr(args, name)) is not None
    }
    out = Path(args.output_dir).expanduser()
    found = advise(out, args.dataset, protocol=args.protocol, **limits)
    print(found.text)
    folder = Path(args.to).expanduser() if args.to else out / "advice" / folder_name(args.dataset)
    for picture in found.pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)
        print(f"\ndrawn: {folder / picture.name}.png")
    print(f"\n{next_line(f'loreal report {typed(Path(args.output_dir))}')}")
    return 0

"""`loreal embed`: a map of image embeddings at the native size and at phi, and their drift."""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = """\
Draws the embeddings of the same pictures at the native size and at phi on one map, coloured by
class, with lines between the two places of a picture (up to 150 pictures), for the host trained at
the native size and for the host trained at phi. The numbers are printed, drawn, and written as JSON
beside the PNG: cosine between the two embeddings of a picture, length of the mean drift, how much
of the change all pictures share, and how often the nearest native embedding is the picture's own or
of its class.

example:
  loreal embed demo --to drift.png \\
    --run output/base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo/seed1
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    from loreal_plugin.cli.explain import add_run_options

    parser = subparsers.add_parser(
        "embed",
        usage="loreal embed [DATASET] --run RUN [options]",
        help=(
            "draw a map of a dataset's embeddings at the native size and at phi, with their drift"
            " in numbers"
        ),
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset", metavar="DATASET", nargs="?", default="", help="the run's own if left out"
    )
    parser.add_argument(
        "--to", metavar="PNG", default="embeddings.png", help="where the map goes (embeddings.png)"
    )
    parser.add_argument(
        "--part",
        choices=("test", "train"),
        default="test",
        help="train: the few-shot pictures (test)",
    )
    parser.add_argument("--count", default="120", help="pictures, spread over the list (120)")
    parser.add_argument(
        "--map", choices=("pca", "tsne"), default="pca", help="how the plane is found (pca)"
    )
    add_run_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw the map and print the numbers."""
    from pathlib import Path

    from loreal_plugin.cli.explain import where
    from loreal_plugin.errors import ConfigError
    from loreal_plugin.runs.spec import whole_number

    count = whole_number("--count", args.count, minimum=3)
    path = Path(args.to).expanduser()
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--to '{args.to}' must end in .png")
    from tabulate import tabulate

    from loreal_plugin.explain.commands import embed_dataset

    numbers = embed_dataset(
        args.dataset,
        Path(args.run_path),
        path,
        part=args.part,
        count=count,
        kind=args.map,
        **where(args),
    )
    names = list(next(iter(numbers.values())))
    rows = [[name, *(values[key] for key in names)] for name, values in numbers.items()]
    print(tabulate(rows, headers=["at phi", *names], floatfmt=".3f"))
    print(f"written: {path}, {path.with_suffix('.json')}")
    return 0

"""`loreal head`: a head of other classes for a package that is out already."""

from __future__ import annotations

import argparse
from typing import Any

TEXT = "make a head of other class names for an exported package"
EPILOG = """\
A head is one small file that a device swaps in: python -m loreal_plugin.edge PACKAGE --head FILE.
RUN needs torch; a PACKAGE that was exported with --text makes static heads by itself. Several class
sets are joined into one head: test sets of the run, files with a class a line, heads of the package
by name, or heads' files.

examples:
  loreal head RUN --classes birds.txt --out birds.onnx
  loreal head RUN --classes base birds.txt --out all.onnx --mode tangent
  loreal head PACKAGE --classes base more.onnx --out both.onnx
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    from loreal_plugin.cli.export import add_places
    from loreal_plugin.cli.run_options import add_row

    parser = subparsers.add_parser(
        "head",
        usage="loreal head RUN|PACKAGE --classes CLASSES ... --out HEAD.onnx [options]",
        help=TEXT,
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("source", metavar="RUN|PACKAGE", help="a finished run, or a package")
    parser.add_argument(
        "--classes", nargs="+", required=True, metavar="CLASSES", help="class sets, joined"
    )
    parser.add_argument(
        "--out", required=True, metavar="HEAD", help="file of the head; .onnx and .safetensors"
    )
    parser.add_argument("--mode", default="", help="static or tangent (the run's own, else static)")
    parser.add_argument(
        "--half", action="store_true", help="half precision: half the size, logits off by about .01"
    )
    add_row(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the head, and say what was written."""
    from loreal_plugin.export.make_head import make_head

    files = make_head(
        args.source,
        args.classes,
        args.out,
        mode=args.mode,
        half=args.half,
        host=args.host,
        data=args.data,
        weights=args.weights,
        row=args.row,
    )
    print("written: " + ", ".join(f"{p} ({p.stat().st_size / 1e3:,.0f} kB)" for p in files))
    return 0

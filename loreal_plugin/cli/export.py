"""`loreal export`: a finished run as a package for a device."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from loreal_plugin.cli.run_options import add_row

TEXT = "write a finished run as a package of ONNX or LiteRT files for a device"
EPILOG = """\
A package is a folder: encoder.onnx (uint8 picture in, features out), a head for each class set
(ONNX, and the same as safetensors), loreal.json (how to read pictures, classes, hashes, where it
comes from), golden pictures for a self-test, and a model card. It runs with numpy, pillow and
onnxruntime alone: python -m loreal_plugin.edge PACKAGE PICTURES...

With --format litert the encoder is encoder.tflite, which takes one picture, and heads are
safetensors alone; the package runs with numpy, pillow and ai-edge-litert. The export then needs
pip install 'loreal-plugin[litert]'. It has fp32, fp16 and int8, and neither --text nor --web.

RUN is the results.json of a finished run with stage 3, or the folder it lies in. The student is the
one that loreal predict uses: with the adapted image side where the run has one; --row loreal takes
the one without. Before a package is written it is compared with the run on pictures that no
training saw; one that gives another class too often is refused. docs/DEVICE.md says what each
precision costs.

examples:
  loreal export RUN --out flowers
  loreal export RUN --out flowers --precision int8 --classes base new
  loreal export RUN --out flowers --format litert --precision int8
  loreal export RUN --out flowers --precision int8-static --pictures folder/of/pictures
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "export",
        usage="loreal export RUN --out PACKAGE [options]",
        help=TEXT,
        description=__doc__,
        epilog=EPILOG,
    )
    _add_content(parser)
    _add_comparison(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def _add_content(parser: argparse.ArgumentParser) -> None:
    """Add what a package holds."""
    parser.add_argument("run_path", metavar="RUN", help="results.json, or its folder")
    parser.add_argument("--out", metavar="PACKAGE", required=True, help="folder of the package")
    parser.add_argument(
        "--format", default="onnx", help="of the encoder: onnx or litert (TensorFlow Lite) (onnx)"
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        help="fp32, fp16, int8, int8-static or int4 (fp32)",
    )
    add_row(parser)
    parser.add_argument("--mode", default="", help="static or tangent (the run's own, else static)")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=(),
        metavar="CLASSES",
        help="test sets of the run (base, new, ...) or files with a class a line (as trained)",
    )
    parser.add_argument(
        "--text", action="store_true", help="also the text encoder: the device takes new names"
    )
    parser.add_argument(
        "--web",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="also a page for browsers; FOLDER has the npm package onnxruntime-web (.)",
    )


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    """Add how a package is compared with its run."""
    parser.add_argument(
        "--check", default="200", metavar="N", help="held-out pictures to compare on; 0: none (200)"
    )
    parser.add_argument(
        "--min-agreement",
        default="98",
        metavar="PERCENT",
        help="of them that must get the run's class (98)",
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        default=(),
        metavar="PICTURE",
        help="files and folders to compare and calibrate on, instead of the dataset's",
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options for what a run's record does not hold."""
    parser.add_argument("--host", help="root of the checkout that the run used (HOST)")
    parser.add_argument(
        "--data", help="folder that holds the datasets (DATA; for demo the local cache)"
    )
    parser.add_argument("--weights", help="the run's CLIP weights, where they lie elsewhere now")


def run(args: argparse.Namespace) -> int:
    """Export, and say what was written."""
    from loreal_plugin.cli.numbers import number
    from loreal_plugin.runs.spec import whole_number

    check = whole_number("--check", args.check, minimum=0)
    rule = "--min-agreement must be a percentage"
    least = number(args.min_agreement, lambda n: 0 <= n <= 100, rule)
    from loreal_plugin.export.export_run import ExportPlan, export_run

    words = args.precision, args.mode, tuple(args.classes)
    plan = ExportPlan(*words, check, least, args.text, args.web, args.format)
    out = export_run(
        args.run_path,
        args.out,
        plan,
        pictures=args.pictures,
        host=args.host,
        data=args.data,
        weights=args.weights,
        row=args.row,
    )
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"written: {out} ({size / 1e6:.1f} MB)")
    print(f"try it: python -m loreal_plugin.edge {shlex.quote(str(out))} --selftest")
    if (page := out / "web" / "single.html").is_file():
        print(f"the page: open {page} in a browser")
    return 0

"""The command line of a device: `python -m loreal_plugin.edge PACKAGE PICTURES...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loreal_plugin.errors import ConfigError, DataError, LorealError, one_line
from loreal_plugin.plain_output import plain_output, reader_gone

if TYPE_CHECKING:
    from loreal_plugin.edge.head import Head
    from loreal_plugin.edge.package import Package

EPILOG = """\
examples:
  python -m loreal_plugin.edge package cat.jpg holiday/
  python -m loreal_plugin.edge package holiday/ --head birds.onnx --json
  python -m loreal_plugin.edge package --selftest

exit code: 0 done; 1 a picture could not be read, or the self-test failed; 2 wrong input
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m loreal_plugin.edge",
        description="Names pictures with an exported package; needs numpy, pillow and onnxruntime"
        " (or ai-edge-litert).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("package", metavar="PACKAGE", help="folder that loreal export wrote")
    parser.add_argument("pictures", metavar="PICTURE", nargs="*", help="files and folders")
    parser.add_argument(
        "--head", default="", help="a head of the package, or a head's file (the package's first)"
    )
    parser.add_argument("--classes", help="text file with a class a line; needs text.onnx")
    parser.add_argument("--top", type=int, default=5, help="classes a picture (5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the encoder (1)")
    parser.add_argument(
        "--readers", type=int, default=os.cpu_count() or 1, help="threads that read pictures (all)"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    parser.add_argument(
        "--selftest", action="store_true", help="run the golden pictures; print ms and memory"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 done, 1 answered no, 2 wrong input."""
    args = build_parser().parse_intermixed_args(argv)
    with plain_output():
        try:
            code = _run(args)
            sys.stdout.flush()  # here, and not at the interpreter's end, a gone reader is no error
            return code
        except LorealError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            print(
                f"error: {error} in {sys.executable}; pip install numpy pillow onnxruntime",
                file=sys.stderr,
            )
            return 2
        except BrokenPipeError:
            return reader_gone()
        except KeyboardInterrupt:
            return 130


def _run(args: argparse.Namespace) -> int:
    from loreal_plugin.edge.package import Package

    if not args.selftest and not args.pictures:
        raise ConfigError("no picture was named; name files or folders, or ask for --selftest")
    for name in ("top", "threads", "readers"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} must be at least 1, got {getattr(args, name)}")
    package = Package.open(args.package, head=_head(args), threads=args.threads)
    if args.selftest:
        from loreal_plugin.edge.selftest import self_test

        found = self_test(package)
        print(found.text())
        if not args.pictures or not found.passed:
            return int(not found.passed)
    return _name_pictures(args, package)


def _head(args: argparse.Namespace) -> str | Head:
    """Return the head that is asked for: its name, its file, or one of new class names."""
    if not args.classes:
        return args.head
    from pathlib import Path

    from loreal_plugin.edge.text import head_of_names

    if args.head:
        raise ConfigError("--head and --classes both choose the classes; give one of them")
    try:
        lines = Path(args.classes).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--classes {args.classes} cannot be read: {error}") from None
    names = [line.strip() for line in lines if line.strip()]
    return head_of_names(args.package, names, args.threads)


def _name_pictures(args: argparse.Namespace, package: Package) -> int:
    from loreal_plugin.edge.stream import Timings, files_in, stream

    timings, broken = Timings(), 0
    for path, logits in stream(package, files_in(args.pictures), timings, readers=args.readers):
        if isinstance(logits, DataError):
            broken += 1
            print(f"skipped: {one_line(logits)}", file=sys.stderr)
            continue
        best = package.answers(logits, args.top)
        if args.json:
            found = [{"classname": one.classname, "probability": one.probability} for one in best]
            print(json.dumps({"picture": str(path), "classes": found}, ensure_ascii=False))
        else:
            print(f"{path}: " + ", ".join(f"{one.classname} {one.probability:.3f}" for one in best))
    print(timings.text(), file=sys.stderr)
    if broken:
        print(f"{broken:,} could not be read", file=sys.stderr)
    return int(broken > 0)

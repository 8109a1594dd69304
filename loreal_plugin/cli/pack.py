"""`loreal pack`: a finished run as one folder or archive, to be shared."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from loreal_plugin.cli.run_options import add_row

TEXT = "make one folder or archive of a finished run, to be shared"
EPILOG = """\
What is made opens elsewhere as the run does: loreal predict, loreal export, loreal verify and
loreal_plugin.load_run take the folder or the archive. It holds what was learned (safetensors), the
run's record, its configuration, a model card and SHA256SUMS; the dataset and the other stages are
not needed. CLIP weights are not in it, unless --with-weights packs their file.

examples:
  loreal pack RUN --out flowers
  loreal pack RUN --out flowers.zip --with-weights
  loreal pack RUN --out flowers --push my-name/flowers-96

--push needs pip install 'loreal-plugin[hub]' and hf auth login.
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "pack",
        usage="loreal pack RUN --out FOLDER|FILE.zip|FILE.tar [options]",
        help=TEXT,
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("run_path", metavar="RUN", help="results.json, or its folder")
    parser.add_argument(
        "--out", metavar="PLACE", required=True, help="a new folder, or a new .zip or .tar"
    )
    add_row(parser)
    parser.add_argument(
        "--with-weights",
        action="store_true",
        help="pack the file of the CLIP weights, too (demo weights are in every installation)",
    )
    parser.add_argument("--weights", help="that file, where it lies elsewhere now")
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload the folder to the Hugging Face hub"
    )
    parser.add_argument(
        "--public", action="store_true", help="a repository that --push makes is open to everybody"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pack, and say what was written."""
    from loreal_plugin.cli.next_steps import next_line
    from loreal_plugin.errors import ConfigError
    from loreal_plugin.export.pack_run import archive_kind, pack_run
    from loreal_plugin.export.push import hub_for, push
    from loreal_plugin.paths import typed

    if args.push and archive_kind(Path(args.out)):
        raise ConfigError("--push uploads a folder; give --out without .zip or .tar")
    if args.push:
        hub_for(args.push)
    out = pack_run(
        args.run_path,
        args.out,
        row=args.row,
        with_weights=args.with_weights,
        weights=args.weights,
    )
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    print(f"written: {out} ({sum(path.stat().st_size for path in files) / 1e6:.1f} MB)")
    if args.push:
        print(f"uploaded: {push(out, args.push, public=args.public)}")
    shown = typed(out.absolute())
    print(next_line(f"loreal verify {shown}", f"loreal predict {shown} PICTURES"))
    return 0

"""`loreal fit`: train on a folder with a folder of pictures per class, and measure."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.contract import CONTRACTS, DEFAULT_METHOD

TEXT = "train on your own pictures, a folder per class, and say how good the result is"
EPILOG = """\
FOLDER has a folder of pictures for each class; its name is the class's name, and pictures may lie
deeper in it. Nothing is written into FOLDER. A quarter of the pictures of each class is held out
(--hold-out) and measures; where FOLDER has train/ and test/ (or val/) with the classes, these are
taken as they are. A picture that cannot be read is named and left out.

Trained are the method at the native size, the method at PHI, LOREAL on top of both, and the adapted
image side (docs/ADAPT.md), with which the run predicts.
The same command goes on where it was interrupted; what is complete is not trained again. At the end
stand the commands for what comes next. KEY VALUE pairs after -- override the recipes, as for
loreal few_shot.

Photographs need CLIP weights: ViT-B/16 is downloaded, --weights names another or a file. With
--weights demo everything runs, but the accuracy means nothing.

examples:
  loreal fit ~/Pictures/birds
  loreal fit birds --phi 144 --method coop --weights ViT-B-16.pt --out trained
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "fit",
        usage="loreal fit FOLDER [--phi 96] [options] [-- KEY VALUE ...]",
        help=TEXT,
        description=__doc__,
        epilog=EPILOG,
    )
    parser.add_argument("folder", metavar="FOLDER", help="a folder per class")
    parser.add_argument("--phi", default="96", help="side of the small pictures in pixels (96)")
    parser.add_argument(
        "--method", default=DEFAULT_METHOD, help=f"one of {', '.join(CONTRACTS)} ({DEFAULT_METHOD})"
    )
    parser.add_argument("--shots", default="32", help="pictures a class that train, at most (32)")
    parser.add_argument(
        "--hold-out", default="25", metavar="PERCENT", help="pictures of a class that measure (25)"
    )
    parser.add_argument("--seed", default="1", help="whole number (1)")
    parser.add_argument("--name", default="", help="what to call it (the folder's name)")
    parser.add_argument("--out", help="folder for results (OUT; ./output)")
    parser.add_argument("--weights", help="CLIP weights: a name or a file (CLIP_WEIGHTS; ViT-B/16)")
    parser.add_argument("--recipe", help="name of the YAML in configs/trainers/<X>_LOREAL/")
    parser.add_argument("--host", help="root of a CoOp-family checkout (HOST; the embedded host)")
    parser.add_argument("--verbose", action="store_true", help="show the host's whole output")
    parser.set_defaults(run=run, takes_extra=True)


def run(args: argparse.Namespace) -> int:
    """Train, measure, and print what comes next."""
    from loreal_plugin.cli.numbers import number
    from loreal_plugin.errors import ConfigError

    if args.extra:
        raise ConfigError(f"unknown argument '{args.extra[0]}'; see loreal fit --help")
    rule = "--hold-out must be a percentage between 0 and 100"
    hold_out = number(args.hold_out, lambda n: 0 < n < 100, rule) / 100
    from loreal_plugin.plain_output import say_line
    from loreal_plugin.use.fit import FitPlan, fit_folder

    plan = FitPlan(
        method=args.method,
        phi=args.phi,
        seed=args.seed,
        shots=args.shots,
        hold_out=hold_out,
        name=args.name,
        out=args.out,
        weights=args.weights,
        host=args.host,
        recipe=args.recipe,
        opts=tuple(args.after),
        verbose=args.verbose,
    )
    fit_folder(args.folder, plan, say_line)
    return 0

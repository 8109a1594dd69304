"""`loreal explain`: a page a picture with predictions, attention, and words of the slots."""

from __future__ import annotations

import argparse
from typing import Any

EPILOG = """\
A page shows, at the native size and at phi, with the host and with LOREAL: the five most probable
classes; where the visual encoder looks (attention rollout; LOREAL's encoder is the host's trained
at phi); the vocabulary words nearest to each slot's content; and by how much the logit of the
predicted class falls when one content is replaced by its training mean, or by the word "some". All
pictures together are in overview.png, all numbers in explanations.json.

RUN is the results.json of a finished run with stage 3, or the folder it lies in. A picture's
prompts name the classes the run was trained on, unless --classes says otherwise.

examples:
  loreal explain --run output/base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo/seed1
  loreal explain demo --run RUN --classes new --pick rescued --count 5
  loreal explain cat.jpg dog.jpg --run RUN --data ~/data --to pages
"""


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "explain",
        usage="loreal explain [IMAGE ... | DATASET] --run RUN [options]",
        help=(
            "draw for pictures what a finished run predicts, where it looks and what its slots say"
        ),
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", metavar="IMAGE | DATASET", nargs="*", help="files, or a dataset (the run's own)"
    )
    parser.add_argument(
        "--to", metavar="FOLDER", default="explain", help="where pages go (explain)"
    )
    parser.add_argument(
        "--count", default="10", help="pictures of a dataset, spread over its test list (10)"
    )
    parser.add_argument(
        "--pick",
        choices=("spread", "rescued", "lost"),
        default="spread",
        help=(
            "spread: of all; rescued: wrong for the host trained at phi, right with LOREAL; lost:"
            " the other way round"
        ),
    )
    add_run_options(parser)
    parser.set_defaults(run=run)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what names a finished run and what its record does not hold."""
    # `run` is the function to call, so the option goes by another name
    parser.add_argument(
        "--run", dest="run_path", metavar="RUN", required=True, help="results.json, or its folder"
    )
    parser.add_argument(
        "--classes",
        choices=("base", "new", "all"),
        default="",
        help="classes in prompts (as trained)",
    )
    parser.add_argument(
        "--host",
        help="root of the CoOp-family checkout that the run used (HOST; the embedded host)",
    )
    parser.add_argument(
        "--data", help="folder that holds the datasets (DATA; for demo the local cache)"
    )
    parser.add_argument("--weights", help="the run's CLIP weights, where they lie elsewhere now")


def where(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_run_options` as arguments of `open_run`."""
    return {"classes": args.classes, "host": args.host, "data": args.data, "weights": args.weights}


def run(args: argparse.Namespace) -> int:
    """Write the pages and say where they are."""
    from pathlib import Path

    from loreal_plugin.runs.spec import whole_number

    count = whole_number("--count", args.count, minimum=1)
    from loreal_plugin.explain.commands import explain_pictures

    folder = Path(args.to).expanduser()
    pages = explain_pictures(
        args.words, Path(args.run_path), folder, count=count, pick=args.pick, **where(args)
    )
    print(f"{len(pages)} pages in {folder}")
    return 0

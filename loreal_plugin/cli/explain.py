"""`loreal explain` and `loreal embed`: what a finished run sees in single pictures, and in all."""

from __future__ import annotations

import argparse
from typing import Any

from loreal_plugin.cli.run_options import add_row
from loreal_plugin.plain_output import counted

EXPLAIN = "a page a picture with predictions, attention, and words of the slots"
EXPLAIN_EPILOG = """\
A page shows, at the native size and at phi, of the host and of the student: the five most probable
classes, and where the visual encoder looks (attention rollout). Of a student with slots it also
shows the vocabulary words nearest to each slot's content, and by how much the logit of the
predicted class falls when one content is replaced by its training mean, or by the word "some". The
pictures of a call, the first twenty, are together in overview.png, all numbers in
explanations.json.

An IMAGE is a picture file, or a folder with a slash in its name (holiday/): a bare name is that of
a dataset.

RUN is the results.json of a finished run with stage 3, or the folder it lies in. The student is the
one that loreal predict uses: with the adapted image side where the run has one; --row loreal looks
at the one without. A picture's prompts name the classes the run was trained on, unless --classes
says otherwise.

examples:
  loreal explain --run output/base2new/train_base/demo/shots_16/MaPLe_LOREAL/phi96/demo/seed1
  loreal explain demo --run RUN --classes new --pick rescued --count 5
  loreal explain cat.jpg dog.jpg --run RUN --data ~/data --to pages
"""


EMBED = "a map of image embeddings at the native size and at phi, and their drift"
EMBED_EPILOG = """\
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
    """Add both sub-commands."""
    _add_explain(subparsers)
    _add_embed(subparsers)


def _add_explain(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "explain",
        usage="loreal explain [IMAGE ... | DATASET] --run RUN [options]",
        help=(
            "draw for pictures what a finished run predicts, where it looks and what its slots say"
        ),
        description=EXPLAIN,
        epilog=EXPLAIN_EPILOG,
    )
    parser.add_argument(
        "words",
        metavar="IMAGE | DATASET",
        nargs="*",
        help="files and folders, or a dataset (the run's own)",
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
            "spread: of all; rescued: wrong for the host at phi, right with the row that is looked"
            " at; lost: the other way round"
        ),
    )
    _add_run_options(parser)
    parser.set_defaults(run=run_explain)


def _add_embed(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "embed",
        usage="loreal embed [DATASET] --run RUN [options]",
        help=(
            "draw a map of a dataset's embeddings at the native size and at phi, with their drift"
            " in numbers"
        ),
        description=EMBED,
        epilog=EMBED_EPILOG,
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
    _add_run_options(parser)
    parser.set_defaults(run=run_embed)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
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
    add_row(parser)
    parser.add_argument(
        "--host",
        help="root of the CoOp-family checkout that the run used (HOST; the embedded host)",
    )
    parser.add_argument(
        "--data", help="folder that holds the datasets (DATA; for demo the local cache)"
    )
    parser.add_argument("--weights", help="the run's CLIP weights, where they lie elsewhere now")


def run_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a finished run as arguments of `open_run`."""
    names = ("classes", "host", "data", "weights", "row")
    return {name: getattr(args, name) for name in names}


def run_explain(args: argparse.Namespace) -> int:
    """Write the pages and say where they are."""
    from pathlib import Path

    from loreal_plugin.runs.spec import whole_number

    count = whole_number("--count", args.count, minimum=1)
    from loreal_plugin.explain.write_pages import explain_pictures

    folder = Path(args.to).expanduser()
    pages = explain_pictures(
        args.words, Path(args.run_path), folder, count=count, pick=args.pick, **run_arguments(args)
    )
    print(f"{counted(len(pages), 'page')} in {folder}")
    return 0


def run_embed(args: argparse.Namespace) -> int:
    """Draw the map and print the numbers."""
    from pathlib import Path

    from loreal_plugin.errors import ConfigError
    from loreal_plugin.runs.spec import whole_number

    count = whole_number("--count", args.count, minimum=3)
    path = Path(args.to).expanduser()
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--to '{args.to}' must end in .png")
    from tabulate import tabulate

    from loreal_plugin.explain.write_pages import embed_dataset

    numbers = embed_dataset(
        args.dataset,
        Path(args.run_path),
        path,
        part=args.part,
        count=count,
        kind=args.map,
        **run_arguments(args),
    )
    names = list(next(iter(numbers.values())))
    rows = [[name, *(values[key] for key in names)] for name, values in numbers.items()]
    print(tabulate(rows, headers=["at phi", *names], floatfmt=".3f"))
    print(f"written: {path}, {path.with_suffix('.json')}")
    return 0

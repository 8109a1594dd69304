"""`loreal data list | get | check`: the public datasets of the family's benchmarks.

`get` brings a dataset below DATA in the layout that docs/DATASETS.md describes: it shows the
licence, goes on with a cut transfer, compares published hashes, unpacks, and counts. `check` counts
what is there. docs/DATA.md has the sources.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loreal_plugin.errors import ConfigError

if TYPE_CHECKING:
    from loreal_plugin.download.inspect import Inspection
    from loreal_plugin.download.table import Dataset

PUBLISHED_ELSEWHERE = (
    "addresses, sizes and hashes are as others published them: this project has asked none of these"
    " servers"
)


def add_parser(subparsers: Any) -> None:
    """Add the sub-command with its three actions."""
    parser = subparsers.add_parser(
        "data", help="list, get and check the public datasets", description=__doc__
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="every dataset: size, classes, licence, page")
    listed.add_argument(
        "--write", metavar="FILE", help="replace the part 'sources' of a document, docs/DATA.md"
    )
    listed.set_defaults(run=run_list)
    get = actions.add_parser("get", help="bring a dataset below DATA")
    get.add_argument("name", metavar="NAME", help="as loreal data list names it")
    get.add_argument("--yes", action="store_true", help="the licence was read and is accepted")
    get.add_argument(
        "--from",
        dest="given",
        action="append",
        default=[],
        metavar="FILE|FOLDER|MIRROR",
        help="take it from here and ask no public server: an archive or split file, a folder with"
        " archives or with unpacked pictures (which are linked), or an http(s) address below which"
        " the files lie; may be given again",
    )
    get.set_defaults(run=run_get)
    check = actions.add_parser("check", help="count what is there, name what is missing")
    check.add_argument("name", metavar="NAME", help="as loreal data list names it")
    check.set_defaults(run=run_check)
    for action in (get, check):
        action.add_argument("--data", help="folder that holds the datasets (DATA)")


def run_list(args: argparse.Namespace) -> int:
    """Print the datasets, or write the table of their sources."""
    from loreal_plugin.download.table import datasets

    if args.write:
        from loreal_plugin.cli.results import deliver
        from loreal_plugin.download.page import sources_table

        deliver(sources_table(), args.write, "sources")
        return 0
    for row in datasets().values():
        size = f"{row.size / 1e9:.2f} GB" if row.size else "size not published"
        print(f"{row.name:<16} {row.title}: {row.classes} classes, {size}")
        print(f"{'':<16} {row.licence}; {row.page}")
    print(PUBLISHED_ELSEWHERE)
    print("Next: loreal data get NAME --data DATA; docs/DATA.md has sources and hashes")
    return 0


def run_get(args: argparse.Namespace) -> int:
    """Get a dataset; 0 where all its classes are there then."""
    from loreal_plugin.download.origins import is_address
    from loreal_plugin.download.table import dataset_row

    row, data = dataset_row(args.name), _data(args)
    print(f"{row.title}, {row.page}\nlicence: {row.licence}")
    if row.note:
        print(f"note: {row.note}")
    if not args.given or any(map(is_address, args.given)):
        print(PUBLISHED_ELSEWHERE)
        _accept(args.yes)
    from loreal_plugin.download.get import get_dataset

    found = get_dataset(row.name, data, given=args.given)
    if found.fault:
        _by_hand(row, data)
    return _report(row, found)


def run_check(args: argparse.Namespace) -> int:
    """Print what of a dataset is there; 0 where it has all its classes."""
    from loreal_plugin.download.inspect import inspecting
    from loreal_plugin.download.table import dataset_row

    row, data = dataset_row(args.name), _data(args)
    with inspecting(data) as inspector:
        found = inspector.inspect(row.name)
    code = _report(row, found)
    if found.fault:
        print(f"Next: loreal data get {row.name} --data {data}")
    return code


def _split_words(row: Dataset, path: Path) -> str:
    """Return whether a dataset's split is the published one, in words."""
    from loreal_plugin.download.transfer import published

    if not path.is_file():
        return f"no {path.name}; one is drawn with the first run, and is not the published one"
    if published(row, path):
        return f"{path.name} is the published one"
    return f"{path.name} is not the published one; delete it and get the dataset again to have that"


def _data(args: argparse.Namespace) -> Path:
    """Return DATA; ConfigError where it was not named."""
    named = args.data or os.environ.get("DATA")
    if not named:
        raise ConfigError("name the folder that holds the datasets with --data or DATA")
    return Path(named).expanduser().absolute()


def _accept(yes: bool) -> None:
    """Ask whether the licence is accepted; ConfigError where it is not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("read the licence on that page, then accept it with --yes")
    if input("read the licence on that page; do you accept it? [yes/no] ").strip() != "yes":
        raise ConfigError("the licence was not accepted; nothing was transferred")


def _by_hand(row: Dataset, data: Path) -> None:
    """Print what a person can do where servers did not give all."""
    for number, step in enumerate(row.steps, start=1):
        print(f"{number}. {step.format(folder=data / row.name)}")
    command = f"loreal data get {row.name} --data {data} --from FILE|FOLDER|MIRROR"
    print(f"with a copy from elsewhere: {command}")


def _report(row: Dataset, found: Inspection) -> int:
    """Print what is there, beside what was published; 0 where it is that dataset, and usable."""
    print(f"{row.name}: {found}")
    if found.fault:
        return 1
    wanted = row.pictures if row.pictures[0] else (*found.parts[:2], row.pictures[2])
    if (found.classes, found.parts) == (row.classes, wanted):
        print("as many classes and pictures in each part as published")
    else:
        parts = "/".join(str(count) if count else "-" for count in row.pictures)
        print(f"published: {row.classes} classes, train/val/test {parts}")
    whole = found.classes == row.classes
    if not whole:
        print(f"these are not the classes of {row.title}: a part of them, or another dataset")
    if found.split:
        print(f"split: {_split_words(row, found.split)}")
    return 0 if whole else 1

"""Train / val / test: drawing a split, saving it, reading it back.

The file is the family's `split_zhou_<Dataset>.json`:
`{"train": [[path, label, classname], ...], "val": ..., "test": ...}` with paths relative to the
image folder, so a split drawn here is read by the public hosts, and theirs by us.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from loreal_plugin.data.items import ClassPictures, Item
from loreal_plugin.data.storage import read_json_file, save_json_file
from loreal_plugin.errors import DataError

SPLIT_SEED = 1  # a split is a property of the data, so it does not follow the run's seed
TRAIN_SHARE, VAL_SHARE = 0.5, 0.2
TRAINVAL_VAL_SHARE = 0.2


class Split(NamedTuple):
    """The three parts of a dataset, as items."""

    train: list[Item]
    val: list[Item]
    test: list[Item]


def draw_split(classes: Sequence[ClassPictures], seed: int = SPLIT_SEED) -> Split:
    """Return 50 % train, 20 % val and 30 % test of every class, shuffled.

    Raises:
        DataError: a class has too few pictures to be in all three parts.

    Source: procedure of CoOp `datasets/dtd.py` (`read_and_split_data`), with a seed of its own.
    """
    rng = random.Random(seed)
    split = Split([], [], [])
    for one in classes:
        n_train, n_val = round(len(one.paths) * TRAIN_SHARE), round(len(one.paths) * VAL_SHARE)
        if min(n_train, n_val, len(one.paths) - n_train - n_val) < 1:
            raise DataError(
                f"class '{one.classname}' has {len(one.paths)} picture(s), too few for train, val"
                " and test; give it at least 4, or make the parts yourself (train/, val/, test/"
                " folders)"
            )
        paths = list(one.paths)
        rng.shuffle(paths)
        split.train.extend(one.items(paths[:n_train]))
        split.val.extend(one.items(paths[n_train : n_train + n_val]))
        split.test.extend(one.items(paths[n_train + n_val :]))
    return split


def hold_out(trainval: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Return (train, val) of pictures that are all for training: 20 % of every class become val.

    Source: procedure of CoOp `datasets/oxford_pets.py` (`split_trainval`), with a seed of its own;
    classes of one or two pictures keep them for training instead of failing.
    """
    rng = random.Random(SPLIT_SEED)
    train, val = [], []
    for items in by_label(trainval).values():
        n_val = round(len(items) * TRAINVAL_VAL_SHARE)
        rng.shuffle(items)
        val.extend(items[:n_val])
        train.extend(items[n_val:])
    return train, val


def by_label(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Return items grouped by label, labels in the order in which they first appear."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


def to_rows(items: Iterable[Item], image_dir: Path) -> list[list]:
    """Return items as JSON rows `[path relative to image_dir, label, classname]`."""
    start = str(image_dir) + os.sep
    return [[i.path.removeprefix(start).replace(os.sep, "/"), i.label, i.classname] for i in items]


def from_rows(rows: object, image_dir: Path, path: Path) -> list[Item]:
    """Return the items of JSON rows read from `path`.

    Raises:
        DataError: a row is not `[path, label, classname]`.
    """
    items = []
    for row in rows if isinstance(rows, list) else [rows]:
        try:
            name, label, classname = row
            items.append(Item(os.path.join(image_dir, str(name)), int(label), str(classname)))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{path}: expected rows [path, label, class name], found {row!r}"
            ) from error
    return items


def save_split(split: Split, path: Path, image_dir: Path) -> None:
    """Write a split atomically and say so; in a read-only folder it stays in memory."""
    rows = {
        part: to_rows(items, image_dir) for part, items in zip(Split._fields, split, strict=True)
    }
    if save_json_file(rows, path):
        print(f"Split drawn (seed {SPLIT_SEED}) and saved to {path}")
    else:
        print(
            f"Split drawn (seed {SPLIT_SEED}); {path.parent} is read-only, so it is drawn again"
            " each time"
        )


def read_split(path: Path, image_dir: Path) -> Split:
    """Return the split of a file.

    Raises:
        DataError: the file is no split.
    """
    content = read_json_file(path, "split file")
    if not isinstance(content, dict) or any(part not in content for part in Split._fields):
        kind = type(content).__name__
        found = ", ".join(map(str, content)) if isinstance(content, dict) else kind
        raise DataError(
            f"{path}: expected the keys {', '.join(Split._fields)}, found {found or 'none'};"
            " restore or delete it"
        )
    print(f"Split read from {path}")
    return Split(*(from_rows(content[part], image_dir, path) for part in Split._fields))

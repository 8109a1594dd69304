"""The pictures of a folder as a dataset: links in a folder of our own, and who trains and measures.

Nothing is written into the folder of the pictures. Broken pictures and their classes' small numbers
are found here, before anything is trained.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loreal_plugin.data.items import Item
from loreal_plugin.data.splits import SPLIT_SEED, Split, read_split, save_split
from loreal_plugin.errors import DataError
from loreal_plugin.files import read_json, write_json
from loreal_plugin.files.folders import preparing, put_in_place
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.picture_index import PictureIndex
from loreal_plugin.use.folder import TEST, TRAIN, FolderContent, scan_folder

SPLIT, NOTE = "split_loreal.json", ".source.json"  # the first is what `Folder` reads
MIN_PICTURES = 4  # pictures of a class
_SHOWN = 5


@dataclass(frozen=True)
class Staged:
    """A dataset of links.

    Attributes:
        root: folder that holds the dataset's (DATA).
        name: of the dataset.
        split: what trains and what measures.
        broken: pictures that were left out, with what is wrong with each.
        left_out: folders without a picture.
    """

    root: Path
    name: str
    split: Split
    broken: dict[str, str]
    left_out: tuple[str, ...]

    @property
    def classnames(self) -> list[str]:
        """Class names in the order of labels."""
        return [name for _, name in sorted({(i.label, i.classname) for i in self.split.train})]


def stage(
    folder: Path, root: Path, name: str, hold_out: float, say: Callable[[str], None] = print
) -> Staged:
    """Return the pictures of `folder` as the dataset `name` below `root`.

    Args:
        hold_out: share of each class that measures, where the folder is not divided already.
        say: prints one line of progress.

    Raises:
        DataError: a folder that cannot be used (see `folder.scan_folder`), a class with too few
            pictures, a name that no folder can have, or that belongs to something else.
        LorealError: nothing can be written below `root`.
    """
    _check_name(name)
    folder, place = folder.resolve(), root / name
    found = scan_folder(folder)
    with stage_lock(place, say):
        return _stage(folder, place, found, hold_out, say)


def _check_name(name: str) -> None:
    """Raise DataError unless a name is that of one folder: `..` and `a/b` would mean others."""
    if name in ("", ".", "..") or "/" in name:
        raise DataError(
            f"the name '{name}' cannot be that of a folder; give a plain one with --name, without"
            " '/'"
        )


def _stage(
    folder: Path, place: Path, found: FolderContent, hold_out: float, say: Callable[[str], None]
) -> Staged:
    """Return the dataset at `place`, made anew where it is not what the folder has now."""
    root, name = place.parent, place.name
    note = read_json(place / NOTE) or {}
    if note.get("source", str(folder)) != str(folder):
        raise DataError(
            f"the name '{name}' belongs to the pictures in {note['source']}; give these another"
            " with --name"
        )
    links = _links(found)
    index = PictureIndex(say)
    if note.get("links") != links or note.get("hold_out") != hold_out:
        _make_links(place, links, {"source": str(folder), "links": links, "hold_out": hold_out})
    broken = index.unreadable(str(place / link) for link in links)
    named = {links[os.path.relpath(path, place)]: fault for path, fault in broken.items()}
    good = {link: target for link, target in links.items() if str(place / link) not in broken}
    written = {"source": str(folder), "links": links, "hold_out": hold_out, "broken": named}
    if note != written:
        split = _draw_split(place, found, good, hold_out)
        quietly(partial(save_split, split, place / SPLIT, place))
        shutil.rmtree(place / "split_fewshot", ignore_errors=True)
        write_json(place / NOTE, written)
    split = quietly(partial(read_split, place / SPLIT, place))
    return Staged(root, name, split, named, found.left_out)


def _links(found: FolderContent) -> dict[str, str]:
    """Return the file of each link, which is `<class>/<part or nothing><number>-<name>`."""
    links: dict[str, str] = {}
    for part, classes in found.pictures.items():
        for name, paths in classes.items():
            for number, path in enumerate(paths):
                links[f"{name}/{part}{number:05d}-{os.path.basename(path)}"] = path
    return links


def _make_links(place: Path, links: dict[str, str], note: dict[str, Any]) -> None:
    """Make a folder of links anew; it takes the place of an older one as a whole.

    Raises:
        DataError: it cannot be made, or what lies there is not ours.
    """
    if place.is_dir() and any(place.iterdir()) and not (place / NOTE).is_file():
        raise DataError(
            f"{place} is in the way: loreal fit did not make it (it has no {NOTE}); move it away,"
            " or choose another --name"
        )
    try:
        with preparing(place) as prepared:
            new = prepared / "links"
            for link, target in links.items():
                (new / link).parent.mkdir(parents=True, exist_ok=True)
                (new / link).symlink_to(target)
            write_json(new / NOTE, note)
            put_in_place(new, place, prepared)
    except OSError as error:
        raise DataError(
            f"links to the pictures cannot be made in {place} ({error}); choose another --out"
        ) from error


def _draw_split(place: Path, found: FolderContent, good: dict[str, str], hold_out: float) -> Split:
    """Return who trains and who measures; the same pictures are always divided alike.

    Raises:
        DataError: a class has too few whole pictures, or none in a part.
    """
    split, few = Split([], [], []), []
    rng = random.Random(SPLIT_SEED)
    for label, name in enumerate(found.classnames):
        paths = [link for link in good if link.split("/")[0] == name]
        if "" in found.pictures:
            rng.shuffle(paths)
            held = max(1, round(hold_out * len(paths)))
            parts = {TEST: paths[:held], TRAIN: paths[held:]}
        else:
            starts = {part: f"{name}/{part}" for part in (TRAIN, TEST)}
            parts = {p: [x for x in paths if x.startswith(start)] for p, start in starts.items()}
        if len(paths) < MIN_PICTURES or not all(parts.values()):
            few.append(f"'{name}' {len(parts[TRAIN])} + {len(parts[TEST])}")
        split.train.extend(Item(str(place / p), label, name) for p in parts[TRAIN])
        split.test.extend(Item(str(place / p), label, name) for p in parts[TEST])
    if few:
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        raise DataError(
            f"too few pictures to train + measure: {', '.join(few[:_SHOWN])}{more}; a class needs"
            f" at least {MIN_PICTURES}, one in each part: add some, or take its folder away"
        )
    return split

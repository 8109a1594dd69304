"""Which pictures to look at: files that were named, or some of a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.errors import ConfigError, DataError, one_line
from loreal_plugin.explain.runs import OpenRun
from loreal_plugin.files.listing import PICTURE_ENDINGS, pictures_below
from loreal_plugin.pictures import read_picture
from loreal_plugin.plain_output import counted

BATCH = 50


def split_words(words: Sequence[str], say: Callable[[str], None] = print) -> tuple[list[str], str]:
    """Return the picture files among words, and the name of the one dataset ("": the run's own).

    Of a folder all pictures are taken. A picture that cannot be read is left out, with a message.

    Raises:
        ConfigError: files and a dataset, or two datasets.
        DataError: no picture can be read, or a folder has none.
    """
    files: list[str] = []
    names: list[str] = []
    for word in words:
        inside = _pictures_below(word)
        files += inside or ([word] if _is_file(word) else [])
        names += [] if inside or _is_file(word) else [word]
    if len(names) > 1 or (files and names):
        raise ConfigError(
            f"give picture files or one dataset, not both or several: {', '.join(words)}"
        )
    faults = {file: fault for file in files if (fault := _fault_of(file))}
    if faults and len(faults) == len(files):
        raise DataError(next(iter(faults.values())))
    for fault in faults.values():
        say(f"left out: {fault}")
    return [file for file in files if file not in faults], names[0] if names else ""


def _fault_of(file: str) -> str:
    """Return why a picture cannot be read, empty where it can."""
    try:
        read_picture(file)
    except DataError as error:
        return one_line(error)
    return ""


def _pictures_below(word: str) -> list[str]:
    """Return the picture files in a folder that is named as a path (`holiday/`, `./holiday`).

    A bare name is a dataset's.
    """
    if "/" not in word or not Path(word).is_dir():
        return []
    found = list(pictures_below(word))
    if not found:
        raise DataError(f"no picture below '{word}'; give picture files, a folder or a dataset")
    return found


def _is_file(word: str) -> bool:
    """Return whether a word names a picture file, there or not."""
    return Path(word).is_file() or word.lower().endswith(PICTURE_ENDINGS)


def spread(count: int, total: int) -> list[int]:
    """Return up to `count` places, evenly spaced over 0 .. total - 1."""
    count = min(count, total)
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def choose(
    run: OpenRun,
    items: Sequence[Any],
    count: int,
    pick: str = "spread",
    say: Callable[[str], None] = print,
) -> list[Any]:
    """Return up to `count` items, evenly spread over the list.

    Args:
        pick: `spread`: of all; `rescued`: of those that the host gets wrong at phi and the run's
            row right; `lost`: the other way round.

    Raises:
        DataError: there is none.
    """
    places = list(range(len(items)))
    if pick != "spread":
        host, ours = hits_at_phi(run, items, say)
        wanted = ours & ~host if pick == "rescued" else host & ~ours
        places = wanted.nonzero().flatten().tolist()
        say(f"{pick}: {len(places)} of {counted(len(items), 'picture')}")
    if not places:
        raise DataError(f"no picture to show: none of {len(items)} is '{pick}'")
    return [items[places[i]] for i in spread(count, len(places))]


@torch.no_grad()
def hits_at_phi(
    run: OpenRun, items: Sequence[Any], say: Callable[[str], None]
) -> tuple[Tensor, Tensor]:
    """Return which items the host and the run's row classify right at phi, (N,) each.

    The host is the one trained at phi. With an adapted image side it is the one trained at the
    native size: that is what was adapted.
    """
    model, student = run.model, run.alpha_at_phi if run.beta.adaptation else run.beta
    host: list[Tensor] = []
    ours: list[Tensor] = []
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        pixels = pixels_of(run, part, run.phi)
        labels = torch.tensor([item.label for item in part], device=pixels.device)
        host.append(student.host_logits(student.encode_image(pixels)).argmax(1) == labels)
        ours.append(model.predict(model.embed(pixels)).argmax(1) == labels)
        if start and start % (20 * BATCH) == 0:
            say(f"  {start} of {len(items)} pictures classified")
    return torch.cat(host).cpu(), torch.cat(ours).cpu()


def pixels_of(run: OpenRun, items: Sequence[Any], size: int) -> Tensor:
    """Return items as the host's test transform gives them, (B, 3, size, size)."""
    return torch.cat([run.pixels(item.impath, size) for item in items])


def labels_of(run: OpenRun, files: Sequence[str], say: Callable[[str], None] = print) -> list[str]:
    """Return the class of each picture file that is of the run's dataset and classes, else an empty
    text. Where the dataset is not at hand all are empty, and a line says so.
    """
    try:
        items = [*run.items("train"), *run.items("test")]
    except DataError as error:
        say(f"what the pictures really are is not shown: {one_line(error)}")
        return [""] * len(files)
    known = {os.path.realpath(item.impath): item.label for item in items}
    labels = (known.get(os.path.realpath(file)) for file in files)
    return ["" if label is None else run.deployed.classnames[label] for label in labels]

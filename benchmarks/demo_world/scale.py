"""Draws a larger set of classes as a dataset: a folder per class, in the layout of own pictures.

    python -m benchmarks.demo_world draw --classes 60 --data scale     # -> scale/scale-60/

The sets of 20, 60 and 120 base classes get the same number of pictures in all, for training and
for tests, so that what is compared is the number of classes. Folders have the label as name, so
that the first half of the sorted folders are the base classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.demo_world.class_sets import ClassSet, class_set
from loreal_plugin.demo import render, world
from loreal_plugin.demo.pictures import as_jpeg, fill_folder
from loreal_plugin.files import write_text

TRAINING = 480  # pictures of all base classes together
TESTS = 3000
VALIDATION = 4  # a class; no setting is chosen on them
STREAMS = {"train": 50, "val": 51, "test": 52}  # no other pictures are drawn from these


def pictures_of_a_class(per_half: int) -> dict[str, int]:
    """Returns how many pictures a class has in train, val and test.

    Raises:
        ValueError: the pictures cannot be shared evenly among so many classes.
    """
    if TRAINING % per_half or TESTS % per_half:
        raise ValueError(
            f"{TRAINING} training and {TESTS} test pictures cannot be shared evenly among"
            f" {per_half} base classes; 20, 60 and 120 can"
        )
    return {"train": TRAINING // per_half, "val": VALIDATION, "test": TESTS // per_half}


def draw_dataset(per_half: int, data: Path) -> Path:
    """Returns the folder of the dataset, after drawing what is missing or broken.

    Raises:
        ValueError: there is no such set of classes.
    """
    classes, counts = class_set(per_half), pictures_of_a_class(per_half)
    folder = data / f"scale-{per_half}"
    lines = [f"{label:03d} {name}" for label, name in enumerate(classes.names)]
    jobs = [(part, label) for part in counts for label in range(len(classes))]
    for part, label in tqdm(jobs, desc="class folders", mininterval=2):
        fill_folder(
            folder / part / f"{label:03d}",
            counts[part],
            lambda index, part=part, label=label: _encode(classes, part, label, index),
            part,
        )
    write_text(folder / "classnames.txt", "\n".join(lines) + "\n")
    return folder


def _encode(classes: ClassSet, part: str, label: int, index: int) -> bytes:
    """Returns the JPEG file of one picture."""
    rng = np.random.default_rng([world.WORLD_VERSION, STREAMS[part], len(classes), label, index])
    attributes = classes.sample(label, rng)
    return as_jpeg(render.draw(attributes, rng, world.get_pool("test").zoom)[0])

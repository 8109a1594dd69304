"""The demonstration world as datasets: `Demo`, `DemoHeldout` to choose settings on, targets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from loreal_plugin.data.base import FewShotMixin
from loreal_plugin.data.items import Item
from loreal_plugin.data.splits import Split
from loreal_plugin.paths import cache_root

# registered name -> name of a target world (loreal_plugin.demo.targets), which is also its folder
DEMO_TARGETS = {
    "DemoFresh": "demo-fresh",
    "DemoSketch": "demo-sketch",
    "DemoClutter": "demo-clutter",
    "DemoPalette": "demo-palette",
    "DemoTextures": "demo-textures",
    "DemoMarks": "demo-marks",
    "DemoShapes": "demo-shapes",
    "DemoFrames": "demo-frames",
}


# names of these datasets on a command line, and of the weights that were trained on nothing else
DEMO_DATASETS = ("demo", "demo-heldout", *DEMO_TARGETS.values())
DEMO_WEIGHTS = ("demo", "demo-2")
_draws = True  # False inside `without_drawing`


@contextmanager
def without_drawing() -> Iterator[None]:
    """Let the demonstration's datasets list their pictures inside, and draw none."""
    global _draws
    before, _draws = _draws, False
    try:
        yield
    finally:
        _draws = before


def demo_root(root: str, name: str = "demo") -> Path:
    """Return the folder of `<name>/images/`: `root` where they are there already, else the cache.

    So nothing is written to a data folder unasked, and all runs use the same pictures.
    """
    own = Path(os.path.abspath(os.path.expanduser(root))) if root else None
    return own if own is not None and (own / name / "images").is_dir() else cache_root()


class DrawnMixin(FewShotMixin):
    """Pictures that are drawn on first use; within `without_drawing` they need not be there."""

    image_folder = "images"

    def find_image_dir(self) -> Path:
        """Return the folder of the pictures; DataError if it should be there and is not."""
        return super().find_image_dir() if _draws else self.dataset_dir / self.image_folder

    def datums(self, items: Iterable[Item]) -> list[Any]:
        """Return the host's own records; of pictures that are not drawn, records with their fields.

        A host's `Datum` may refuse a file that is not there.
        """
        if _draws:
            return super().datums(items)
        return [
            SimpleNamespace(impath=one.path, label=one.label, domain=0, classname=one.classname)
            for one in items
        ]


class DemoMixin(DrawnMixin):
    """The demonstration world, drawn on first use; train, val and test are pools of their own."""

    dataset_dir = "demo"

    def find_dataset_dir(self, cfg: Any) -> Path:
        """Return the folder of the world, after drawing the pictures that are missing."""
        from loreal_plugin.demo.pictures import ensure_pictures

        root = demo_root(cfg.DATASET.ROOT)
        if _draws:
            ensure_pictures(root)
        return root / self.dataset_dir

    def draw(self) -> Split:
        """Return the three pools of the world."""
        from loreal_plugin.demo.pictures import list_items

        pools = list_items(self.dataset_dir.parent)
        return Split(*([Item(*row) for row in pools[part]] for part in Split._fields))


class DemoHeldoutMixin(DemoMixin):
    """The base classes of the world alone, tested on their val pictures: for choosing settings.

    Its own base and new classes are halves of the world's base classes. So a setting that is chosen
    here has seen neither a new class nor a test picture of `Demo`.
    """

    few_shot_folder: ClassVar[str] = "split_fewshot_heldout"

    def draw(self) -> Split:
        """Return train and val pictures of the base classes; val pictures stand in for test."""
        from loreal_plugin.demo.world import BASE_CLASSES

        drawn = super().draw()
        train, val = (
            [item for item in part if item.label in BASE_CLASSES]
            for part in (drawn.train, drawn.val)
        )
        return Split(train=train, val=val, test=val)


class DemoTargetMixin(DrawnMixin):
    """A target world, drawn on first use: all pictures are both the test and the training part.

    Shots and class halves do not apply, as for the ImageNet variants.
    """

    def find_dataset_dir(self, cfg: Any) -> Path:
        """Return the folder of the world, after drawing the pictures that are missing."""
        from loreal_plugin.demo.target_pictures import ensure_target_pictures
        from loreal_plugin.demo.targets import target_worlds

        root = demo_root(cfg.DATASET.ROOT, self.dataset_dir)
        if _draws:
            ensure_target_pictures(root, target_worlds()[self.dataset_dir])
        return root / self.dataset_dir

    def draw(self) -> Split:
        """Return all pictures, as train and as test."""
        from loreal_plugin.demo.target_pictures import list_target_items
        from loreal_plugin.demo.targets import target_worlds

        rows = list_target_items(self.dataset_dir.parent, target_worlds()[self.dataset_dir.name])
        items = [Item(*row) for row in rows]
        return Split(items, [], items)

    def few_shot(self, split: Split, shots: int, seed: int) -> Split:
        """Return the split unchanged."""
        return split

    def subsample(self, split: Split, which: str) -> Split:
        """Return the split unchanged."""
        return split


DEMO_TARGET_MIXINS: dict[str, type[FewShotMixin]] = {
    name: type(
        f"{name}Mixin",
        (DemoTargetMixin,),
        {"dataset_dir": folder, "__doc__": f"The target world {folder}."},
    )
    for name, folder in DEMO_TARGETS.items()
}

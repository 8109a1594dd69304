"""Sets of classes of the demonstration world: its own 40, and larger ones by the same rules.

A set has as many base as new classes. Its classes are families as the world's own are: members of
a family differ in nothing but which pattern a colour and which mark a ground imply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loreal_plugin.demo import world

MORE_NAMES = """
acorn album amber apron attic badge bagel ballet banana banner basin beacon beads bench bicycle
binder blazer bobcat books bowl branch brick brooch broom bubble bunker burger cabin cable cake
camera canoe carriage carton case cello chain chalk cheese chest chicken church clamp cliff
clock cloud coat coffee coin comet cookie copper cord costume couch crayon cream cube cushion
dairy deck diamond dish doll donkey dragon duck eagle ember envelope falcon fence fiddle field
flag fleet folder fork fossil fountain freezer frog funnel galaxy gate ginger glass glove goat
grape gravel guitar hall handle harp hawk heron honey hook horse hotel house ivory jelly kayak
kite knight knob lagoon lamp lawn leather lemon lever lion lock lodge lotus lumber mansion
marker mast medal melon mint moose moss motor mouse museum nest oasis olive orchid organ oven
paint palm panel parcel parrot patio peanut pebble penguin petal phone pier pine pirate plank
plant plaza pond porch pottery prism pumpkin purse pyramid rabbit radio raft raven reef road
robin rock roof rose salad salt satin sauna scarf screen sedan shed shelf shell ship shoe silk
sink skirt sled smoke soap sofa spade spear spider spoon squid stairs star statue steel stool
straw string sugar swan sword tablet tape temple tennis thread thumb tile tire toilet tomato
tooth towel tractor train tray trolley truck trunk tunnel turtle tuxedo valley vault velvet
villa vine wagon walnut well wheat whistle willow wing wood yacht yoga
""".split()


@dataclass(frozen=True)
class ClassSet:
    """Classes that belong together: names and rules by label, base classes first."""

    names: tuple[str, ...]
    specs: tuple[world.ClassSpec, ...]

    def __len__(self) -> int:
        return len(self.names)

    def families(self) -> list[list[int]]:
        """Returns the labels of each family, single classes included."""
        return world.families(specs=self.specs)

    def sample(self, label: int | None, rng: np.random.Generator) -> np.ndarray:
        """Returns the eight value indices of a picture of class `label` (None: of a thing)."""
        return world.sample_picture(None if label is None else self.specs[label], rng)


DEMO = ClassSet(world.NAMES, world.class_specs())


def class_set(per_half: int) -> ClassSet:
    """Returns the set of `per_half` base and `per_half` new classes; the world's own for 20.

    Raises:
        ValueError: `per_half` is no multiple of 20, or there are not so many names.
    """
    if per_half == world.NUM_BASE:
        return DEMO
    copies, rest = divmod(per_half, world.NUM_BASE)
    if rest or copies < 1 or 2 * per_half > len(MORE_NAMES):
        raise ValueError(
            f"{per_half} base classes: there can be {world.NUM_BASE}, "
            f"{2 * world.NUM_BASE}, ... to {len(MORE_NAMES) // 2}"
        )
    return ClassSet(tuple(MORE_NAMES[: 2 * per_half]), world.make_classes(copies))

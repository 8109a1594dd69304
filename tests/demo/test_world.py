"""The rules of the demonstration world, and pictures that depend on their place alone."""

from __future__ import annotations

import numpy as np
import pytest

from loreal_plugin.demo import render, world

COLOR, GROUND = world.ATTRIBUTES.index("color"), world.ATTRIBUTES.index("ground")


def test_classes_and_names_are_distinct():
    specs = world.class_specs()
    assert len(specs) == len(set(world.NAMES)) == world.NUM_CLASSES == 40
    rules = [(spec.shape, spec.patterns, spec.marks, spec.palette) for spec in specs]
    assert len(set(rules)) == len(rules)


def test_classes_are_the_same_in_every_process():
    first = world.class_specs()[0]
    assert world.class_specs() is world.class_specs()
    world.make_classes.cache_clear()
    assert world.class_specs()[0] == first


@pytest.mark.parametrize("half", [world.BASE_CLASSES, world.NEW_CLASSES], ids=["base", "new"])
def test_each_half_has_one_quad_six_pairs_and_four_singles(half):
    sizes = sorted(len(family) for family in world.families(half))
    assert sizes == [1] * 4 + [2] * 6 + [4]


def test_members_of_a_family_differ_in_their_rules_only():
    for family in world.families():
        specs = [world.class_specs()[label] for label in family]
        assert len({(spec.shape, spec.palette) for spec in specs}) == 1
        assert len({(spec.patterns, spec.marks) for spec in specs}) == len(family)
        assert len({(frozenset(spec.patterns), frozenset(spec.marks)) for spec in specs}) == 1


def test_members_of_a_family_show_the_same_details_on_average():
    quad = next(family for family in world.families(world.BASE_CLASSES) if len(family) == 4)
    looks = []
    for label in quad:
        spec = world.class_specs()[label]
        shown = [spec.identity(color, ground) for color in range(8) for ground in range(4)]
        looks.append(sorted({(pattern, mark) for _, pattern, mark in shown}))
    assert all(look == looks[0] for look in looks) and len(looks[0]) == 4


@pytest.mark.parametrize("label", [0, 13, 39])
def test_pictures_of_a_class_follow_its_rule(label):
    spec = world.class_specs()[label]
    for index in range(40):
        attributes = render.picture_attributes("test", label, index)
        assert tuple(attributes[5:]) == spec.identity(attributes[COLOR], attributes[GROUND])


def test_a_picture_does_not_depend_on_the_order_of_drawing():
    keys = [("train", 3, 5), ("test", 3, 5), ("test", 21, 149), ("val", 0, 0)]
    forwards = [render.draw_picture(*key)[0] for key in keys]
    backwards = [render.draw_picture(*key)[0] for key in reversed(keys)]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert np.array_equal(one, other)


def test_pictures_of_other_splits_classes_and_indices_differ():
    pictures = [
        render.draw_picture(*key)[0]
        for key in (("train", 0, 0), ("test", 0, 0), ("test", 1, 0), ("test", 0, 1))
    ]
    for i, one in enumerate(pictures):
        assert one.shape == (224, 224, 3) and one.dtype == np.uint8
        assert all(np.abs(one.astype(int) - other).mean() > 1 for other in pictures[:i])


def test_attributes_can_be_had_without_drawing():
    for index in range(5):
        picture, attributes = render.draw_picture("val", 7, index)
        assert np.array_equal(attributes, render.picture_attributes("val", 7, index))


def test_every_value_can_be_drawn_and_shows():
    plain = np.zeros(len(world.ATTRIBUTES), np.int8)
    seen = []
    for k, values in enumerate(world.VALUES.values()):
        for value in range(len(values)):
            attributes = plain.copy()
            attributes[k] = value
            seen.append(
                render.draw(attributes, np.random.default_rng(5), (1.0, 1.0))[0].astype(int)
            )
    base = seen[0]
    same = sum(np.array_equal(base, other) for other in seen)
    assert same == len(world.ATTRIBUTES)  # the first value of each attribute is `plain` itself


def test_masks_cover_the_object_and_its_mark():
    attributes = np.array([0, 0, 0, 0, 0, 0, 0, 1], np.int8)
    _, coverage = render.draw(attributes, np.random.default_rng(0), (1.0, 1.0))
    assert coverage.shape == (2, 224, 224) and coverage.min() >= 0 and coverage.max() <= 1
    assert 0.1 < coverage[0].mean() < 0.4 and 0.002 < coverage[1].mean() < coverage[0].mean()


@pytest.mark.parametrize(
    ("split", "label", "index"), [("test", 40, 0), ("test", 0, 150), ("train", -1, 0)]
)
def test_pictures_that_do_not_exist_are_refused(split, label, index):
    with pytest.raises(IndexError, match="40 classes"):
        render.draw_picture(split, label, index)


def test_unknown_split_is_named():
    with pytest.raises(KeyError, match="'dev'.*train, val, test"):
        render.draw_picture("dev", 0, 0)

"""Attribute words of a student's slots: one list for all classes, or one for each."""

from __future__ import annotations

import pytest

from loreal_plugin.contract.text import attributes_per_class
from loreal_plugin.errors import ConfigError

NAMES = ("cat", "polar bear", "red fox")
SHARED = [[20], [21, 22], [23, 24, 25]]
OWN = [[[20], [21, 22]], [[23, 24, 25], [26]], [[27], [28]]]


def test_attributes_of_all_classes_are_those_of_each():
    assert attributes_per_class(SHARED, NAMES) == [SHARED] * 3
    assert attributes_per_class(OWN, NAMES) == OWN


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ([], "no attribute"),
        ([[20], []], "class 'cat': attribute 2 of 2 has no token"),
        (OWN[:2], "given for 2 classes, the host has 3"),
        ([OWN[0], OWN[1], [[20]]], "class 'red fox' has 1 attribute,"),
    ],
)
def test_wrong_attributes_are_refused(attributes: list, message: str):
    with pytest.raises(ConfigError, match=message):
        attributes_per_class(attributes, NAMES)

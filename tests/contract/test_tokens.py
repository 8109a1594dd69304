"""Class names are found by their tokens, also where the template has the same words."""

from __future__ import annotations

import pytest
import torch

from loreal_plugin.contract.text import class_starts, name_ids, tokenise_attributes
from loreal_plugin.errors import AttributeFileError, HostError

SOS, EOT, STOP = 98, 99, 50
WORDS = {
    "a": 1,
    "photo": 2,
    "of": 3,
    "black": 4,
    "cat": 5,
    "dog": 6,
    "pet": 7,
    ".": STOP,
    "a.c.": 8,
    "..": 9,
}


def tokenize(text: str, length: int = 16) -> torch.Tensor:
    row = torch.zeros(1, length, dtype=torch.long)
    ids = [SOS, *(WORDS[word] for word in text.split()), EOT]
    row[0, : len(ids)] = torch.tensor(ids)
    return row


def starts(template, names):
    tokens = torch.cat([tokenize(template.format(name.replace("_", " "))) for name in names])
    return class_starts(tokens, names, tokenize).tolist()


def test_underscores_are_spaces():
    assert name_ids("black_cat", tokenize) == [4, 5]


@pytest.mark.parametrize(
    "template, names, want",
    [
        ("a photo of a {} .", ["cat", "dog"], 5),
        ("a photo of a {} .", ["photo", "black cat"], 5),
        ("a photo of a {} .", ["black cat", "black_dog"], 5),
        ("{} .", ["cat", "black cat"], 1),
        ("a photo of a {} a pet .", ["pet", "cat"], 5),
        ("a photo of a {} .", ["photo"], 5),
        ("a photo of a {} .", ["cat"], 5),
    ],
)
def test_start_of_the_name(template, names, want):
    assert starts(template, names) == [want] * len(names)


def test_name_whose_last_token_melts_into_the_template():
    tokens = torch.cat([tokenize("a photo of a cat .."), tokenize("a photo of a dog .")])
    found = class_starts(tokens, ["cat .", "dog"], tokenize)
    assert found.tolist() == [5, 5]


def test_absent_name_is_an_error_that_says_which():
    tokens = torch.cat([tokenize("a photo of a cat ."), tokenize("a photo of a dog .")])
    with pytest.raises(HostError, match="class name 'pet'"):
        class_starts(tokens, ["cat", "pet"], tokenize)


def test_other_number_of_names_is_an_error():
    with pytest.raises(HostError, match="1 prompts for 2 class names"):
        class_starts(tokenize("a cat ."), ["cat", "dog"], tokenize)


def test_templates_that_differ_by_class_are_an_error():
    tokens = torch.cat([tokenize("a cat ."), tokenize("photo of dog .")])
    with pytest.raises(HostError, match="different positions"):
        class_starts(tokens, ["cat", "dog"], tokenize)


def test_attribute_that_tokenises_to_nothing():
    assert tokenise_attributes(["ab", "c"], lambda w: [ord(c) for c in w]) == [[97, 98], [99]]
    with pytest.raises(AttributeFileError, match="tokenises to nothing"):
        tokenise_attributes(["ab", "?"], lambda w: [] if w == "?" else [1], "file.json")

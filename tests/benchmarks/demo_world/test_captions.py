"""Captions consist of trained tokens, fit into CLIP's context and say what is there."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.demo_world import captions, tokens
from loreal_plugin.demo import world
from loreal_plugin.demo.targets import target_worlds
from loreal_plugin.weights import import_clip

clip = import_clip()


def random_captions(count=200):
    rng = np.random.default_rng(0)
    for index in range(count):
        label = index % world.NUM_CLASSES if index % 3 else -1
        attributes = world.sample_attributes(None if label < 0 else label, rng)
        yield (
            label,
            attributes,
            captions.random_caption(label, attributes, captions.Style.draw(rng), rng, 0.3),
        )


def test_every_word_is_one_token_and_every_caption_is_trained():
    table = tokens.token_table()
    known = set(table.token_ids) | {0}
    for _, _, words in random_captions():
        ids = clip.tokenize(" ".join(words))[0]
        assert set(ids.tolist()) <= known
        assert int(ids.argmax()) == len(words) + 1


def test_compact_ids_are_those_of_the_tokenizer():
    table = tokens.token_table()
    texts = [words for _, _, words in random_captions(20)]
    full = table.encode_full(texts)
    for row, words in zip(full, texts, strict=True):
        expected = clip.tokenize(" ".join(words))[0, : len(words) + 2]
        assert row[: len(words) + 2].tolist() == expected.tolist()


def test_host_prompts_consist_of_trained_tokens():
    known = set(tokens.token_table().token_ids) | {0}
    for name in world.NAMES:
        assert set(clip.tokenize(f"a photo of a {name}.")[0].tolist()) <= known


def test_compact_end_of_text_is_the_largest_id():
    table = tokens.token_table()
    ids = table.encode([["a", "photo", "."], ["a"]])
    assert ids.argmax(1).tolist() == [4, 2]


def test_too_long_captions_are_refused():
    with pytest.raises(ValueError, match="82 tokens.*77"):
        tokens.token_table().encode([["a"] * 80])


def test_captions_end_with_a_full_stop_and_name_their_class():
    for label, _, words in random_captions():
        assert words[-1] == "."
        assert (world.NAMES[label] if label >= 0 else captions.THING) in words


def test_stated_values_are_true():
    for _, attributes, words in random_captions():
        for k, (name, values) in enumerate(world.VALUES.items()):
            if name not in words:
                continue
            before = words[words.index(name) - 1]
            assert before in (captions.NEUTRAL, values[attributes[k]])


@pytest.mark.parametrize("layout", captions.LAYOUTS)
def test_layouts(layout):
    text = " ".join(captions.assemble("anchor", ["red", "red", "color"], layout))
    assert (
        text
        == {
            "class_first": "a photo of a anchor with red red color .",
            "slots_first": "red red color a photo of a anchor .",
            "ctx_first": "a photo of a red red color anchor .",
        }[layout]
    )


def test_unknown_layout_is_named():
    with pytest.raises(ValueError, match="'last'.*class_first"):
        captions.assemble("anchor", ["red", "color"], "last")


def test_all_layouts_and_positions_up_to_forty_occur():
    lengths = [len(words) + 2 for _, _, words in random_captions(600)]
    assert max(lengths) >= 38
    rng = np.random.default_rng(1)
    assert {captions.Style.draw(rng).layout for _ in range(60)} == set(captions.LAYOUTS)


@pytest.mark.parametrize("name", target_worlds())
def test_class_names_of_target_worlds_are_words_of_captions(name):
    words = {word for known in target_worlds()[name].classnames for word in known.split()}
    assert words <= set(captions.vocabulary())

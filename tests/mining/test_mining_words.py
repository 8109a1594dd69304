"""What may be an attribute, how files are checked, and where a prompt's tokens come from."""

from __future__ import annotations

import json

import pytest

from loreal_plugin.cli.main import main
from loreal_plugin.errors import MiningError
from loreal_plugin.mining.attribute_file import (
    check_attribute_file,
    read_attribute_file,
    read_class_list,
    write_attribute_file,
)
from loreal_plugin.mining.prompt_tokens import (
    budget_fault,
    clip_tokenizer,
    count_tokens,
    prompt_parts,
)
from loreal_plugin.mining.words import description_fault, stem, tidy, word_faults

WORDS = ["coat color", "body shape", "tail length"]


@pytest.mark.parametrize("word", ["color", "coat color", "ear-shape", "size of head", "Body Shape"])
def test_short_noun_phrases_pass(word):
    assert word_faults([word], classnames=["red fox"], domain="pet") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["the coat color"], "it has 'the'"),
        (["very long name of thing"], "too long"),
        (["color, shape"], "letters, single spaces"),
        (["color  shape"], "letters, single spaces"),
        (["color2"], "letters, single spaces"),
        (["couleur générale"], "letters, single spaces"),
        (["coat color", "coats colour"], "'coats colour' repeats 'coat color'"),
        (["head size", "size of head"], "repeats"),
        (["red foxes"], "contains the class name 'Red_Fox'"),
        (["Red Fox color"], "contains the class name 'Red_Fox'"),
        (["eye color"], "'eye'"),
        (["teeth"], "'tooth'"),
        (["license plates"], "'license plate'"),
        (["fur texture"], "'texture'"),
    ],
)
def test_everything_else_is_named(words, said):
    faults = word_faults(words, classnames=["Red_Fox"], domain="pet")
    assert len(faults) == 1 and said in faults[0]


def test_words_of_the_domain_are_not_too_fine():
    assert (
        word_faults(["texture scale"], domain="texture")
        == []
        != word_faults(["texture scale"], domain="pet")
    )


def test_a_part_of_a_class_name_is_no_class_name():
    assert word_faults(["bear shape", "fox"], classnames=["polar bear", "red fox"]) == []


def test_stems_and_texts():
    assert [stem(w) for w in ("Colours", "bodies", "glasses", "grass", "patches", "gas")] == [
        "color",
        "body",
        "glass",
        "grass",
        "patch",
        "gas",
    ]
    assert tidy("ab\n c\x00d\u2028e", 5) == "ab..." and tidy(" a\n b ") == "a b"
    assert description_fault("a brown animal, large; seen from afar") == ""


# ---- files ---------------------------------------------------------------------------------------

GOOD = {
    "schema_version": 1,
    "dataset": "animals",
    "domain": "animal",
    "attributes": WORDS,
    "reasons": dict.fromkeys(WORDS, "large"),
    "rejected": {"whiskers": "thin"},
    "classnames": ["red fox", "sea_otter"],
    "descriptions": {"red fox": "an orange shape", "Sea Otter": "a dark, long shape"},
    "provenance": {"how": "curated", "model": None},
}


def verdict_of(tmp_path, changes, **options):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD | changes))
    return check_attribute_file(read_attribute_file(str(path)), **options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attributes": ["coat color", "red fox tail"]}, "class name 'red fox'"),
        ({"rejected": {"coat colors": "x"}}, "both an attribute and rejected"),
        ({"descriptions": {"unicorn": "white"}}, "'unicorn', which is no class"),
        ({"descriptions": {"red fox": "<b>"}}, "has markup"),
        ({"per_class": {"red fox": WORDS, "unicorn": WORDS}}, "'unicorn', which is no class"),
        ({"per_class": {"red fox": ["the eye"]}}, "class 'red fox': 'the eye' is no noun phrase"),
        ({"classnames": ["word " * 70], "descriptions": {}}, "the text encoder reads 77"),
    ],
)
def test_a_file_with_a_fault_is_refused(tmp_path, capsys, changes, said):
    verdict = verdict_of(tmp_path, changes)
    assert any(said in fault for fault in verdict.faults)
    assert main(["attributes", "check", str(tmp_path / "a.json")]) == 1
    assert said in capsys.readouterr().out


def test_several_files_are_checked_and_one_bad_is_told(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(GOOD))
    bad.write_text("{")
    assert main(["attributes", "check", str(good), str(good)]) == 0
    assert main(["attributes", "check", str(bad), str(good)]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("0 faults") == 3 and "bad.json" in printed.err


def test_a_good_file_passes_and_notes_are_no_faults(tmp_path):
    assert verdict_of(tmp_path, {}) == type(verdict_of(tmp_path, {}))()
    notes = verdict_of(tmp_path, {"reasons": {}, "descriptions": {"red fox": "an orange shape"}})
    assert notes.faults == [] and len(notes.notes) == 4
    unknown = verdict_of(tmp_path, {"classnames": []})
    assert "a class name may have" in unknown.notes[0]
    assert "4 attributes asked for" in verdict_of(tmp_path, {}, k=4).faults[0]


def test_room_for_a_class_name_is_exact(tmp_path):
    room = int(verdict_of(tmp_path, {"classnames": []}).notes[0].split()[-2])
    assert verdict_of(tmp_path, {"classnames": ["fox " * room], "descriptions": {}}).faults == []
    assert (
        verdict_of(tmp_path, {"classnames": ["fox " * (room + 1)], "descriptions": {}}).faults != []
    )


@pytest.mark.parametrize(
    ("text", "said"), [("", "none"), ("a\nb\nA", "twice"), ("[1]", "texts"), ("[", "cannot be")]
)
def test_class_lists_that_cannot_be_used(tmp_path, text, said):
    path = tmp_path / "c.txt"
    path.write_text(text)
    with pytest.raises(MiningError, match=said):
        read_class_list(path)


def test_class_lists_in_lines_and_in_json(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("# animals\nred  fox\n\n b_c \n", encoding="utf-8-sig")
    assert read_class_list(path) == ["red fox", "b_c"]
    path.write_text('["a", "ö"]', encoding="utf-8")
    assert read_class_list(path) == ["a", "ö"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.json"
    write_attribute_file(path, GOOD, force=False)
    with pytest.raises(TypeError):
        write_attribute_file(path, {"x": object()}, force=True)
    assert json.loads(path.read_text()) == GOOD and list(tmp_path.iterdir()) == [path]


# ---- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["class_first", "slots_first", "ctx_first"])
@pytest.mark.parametrize("slot_parts", ["both", "words", "contents", "none"])
@pytest.mark.parametrize(
    "name", ["cat", "sea_otter", "A330-200", "St. Bernard", "dog (small)", "灰狼"]
)
def test_parts_are_the_tokens_of_the_written_out_prompt(name, slot_parts, order):
    parts = prompt_parts(name, WORDS, n_content=3, order=order, slot_parts=slot_parts)
    slots = " ".join(
        " ".join(
            ["very"] * 3 * (slot_parts in ("both", "contents"))
            + [w] * (slot_parts in ("both", "words"))
        )
        for w in WORDS
    ).strip()
    spelt = name.replace("_", " ")
    text = {
        "class_first": f"a photo of a {spelt} {'with' if slots else ''} {slots} .",
        "slots_first": f"{slots} a photo of a {spelt} .",
        "ctx_first": f"a photo of a {slots} {spelt} .",
    }[order]
    encode = clip_tokenizer().encode
    # CLIP joins runs of punctuation:
    # "small)" and "." are one token in the host's own prompt and two apart.
    melted = len(encode(f"{spelt} .")) - len(encode(f"{spelt}."))
    assert count_tokens(parts) == len(encode(text)) + 2 - melted
    assert [p.start for p in parts] == [
        sum(q.n_tokens for q in parts[:i]) for i in range(len(parts))
    ]
    assert sum(p.n_tokens for p in parts if p.kind == "class") == len(encode(spelt))


def test_budget_names_the_longest_class():
    assert budget_fault(WORDS, ["cat", "sea otter"]) == ""
    assert "prompt of 'word word" in budget_fault(WORDS, ["cat", "word " * 60 + "end"])


def test_show_prints_a_prompt_and_warns_beyond_77(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD))
    assert main(["attributes", "show", str(path), "--class", "SEA OTTER", "--k", "2"]) == 0
    said = capsys.readouterr()
    assert "a photo of a sea otter with S_1 x 2 coat color S_2 x 2 body shape . <end>" in said.out
    assert "of 77" in said.out and said.err == ""
    assert main(["attributes", "show", str(path), "--n-content", "25"]) == 0
    assert "token(s) too long" in capsys.readouterr().err
    assert main(["attributes", "show", str(path), "--class", "red box"]) == 2
    assert "did you mean 'red fox'" in capsys.readouterr().err
    assert main(["attributes", "show", "generic"]) == 2
    assert "--class" in capsys.readouterr().err

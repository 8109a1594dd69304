"""Scoring words: the formula against a slow version, what is read, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import TINY_CLASSES, random_clip_file, tiny_image_folder
from PIL import Image

from loreal_plugin.cli.main import main
from loreal_plugin.errors import MiningError
from loreal_plugin.mining import clip_model
from loreal_plugin.mining.attribute_file import check_attribute_file, read_attribute_file
from loreal_plugin.mining.clip_model import ClipModel
from loreal_plugin.mining.score import (
    NO_WORD,
    WordScore,
    class_margin,
    clauses,
    reading,
    score_words,
)
from loreal_plugin.mining.score_report import choose_words, format_scores

NAMES = ["red fox", "polar bear", "sea otter"]


def slow_margin(features, labels, texts) -> float:
    """Follow the formula of the docstring with loops."""
    texts = [t / t.norm() for t in texts.double()]
    mean = sum(texts) / len(texts)
    gaps, variances = [], []
    for c, text in enumerate(texts):
        s = [float(f.double() @ (text - mean)) for f in features]
        inside = [v for v, label in zip(s, labels, strict=True) if label == c]
        outside = [v for v, label in zip(s, labels, strict=True) if label != c]
        gaps.append(sum(inside) / len(inside) - sum(outside) / len(outside))
        for group in (inside, outside):
            middle = sum(group) / len(group)
            variances.append(sum((v - middle) ** 2 for v in group) / len(group))
    return sum(gaps) / len(gaps) / math.sqrt(sum(variances) / len(variances))


def test_margin_equals_the_slow_version():
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(12, 8, generator=generator), dim=-1)
    texts = torch.randn(3, 8, generator=generator)
    labels = torch.arange(12) % 3
    assert class_margin(features, labels, texts) == pytest.approx(
        slow_margin(features, labels.tolist(), texts)
    )


def test_margin_is_zero_where_nothing_can_be_told():
    same = F.normalize(torch.ones(6, 4), dim=-1)
    assert class_margin(same, torch.arange(6) % 2, torch.eye(2, 4)) == 0.0
    assert class_margin(same, torch.zeros(6, dtype=torch.long), torch.eye(1, 4)) == 0.0
    assert class_margin(same, torch.arange(6) % 2, torch.ones(2, 4)) == 0.0


def toy_world() -> dict:
    """Make pictures that show color (axes 0-2) at both sizes and whiskers (axes 3-5) at the native
    size only.

    Texts live in the same space: a clause is the axis it speaks of, "coat" and "whiskers" ask for
    theirs.
    """
    color, hair, topic = torch.eye(10)[:3], torch.eye(10)[3:6], torch.eye(10)[6:8]
    table = {"coat color": topic[0], "whiskers": topic[1]}
    table |= {f"coat {n}": c + 3 * topic[0] for n, c in zip(NAMES, color, strict=True)}
    table |= {f"whisker {n}": h + 3 * topic[1] for n, h in zip(NAMES, hair, strict=True)}
    labels = torch.arange(30) % 3
    noise = 0.3 * torch.randn(30, 10, generator=torch.Generator().manual_seed(0))
    native = F.normalize(color[labels] + hair[labels] + noise, dim=-1)
    phi = F.normalize(color[labels] + noise, dim=-1)

    def encode(texts):
        return F.normalize(torch.stack([table[t] for t in texts]), dim=-1)

    # The names stand for values here. Class names are masked, so the classes have others.
    classes = ["class a", "class b", "class c"]
    descriptions = {c: f"coat {n}, whisker {n}" for c, n in zip(classes, NAMES, strict=True)}
    return {
        "classnames": classes,
        "native": native,
        "phi": phi,
        "labels": labels,
        "encode_texts": encode,
        "descriptions": descriptions,
    }


def test_what_blurs_away_ranks_below_what_stays():
    scores = score_words(["whiskers", "coat color"], **toy_world())
    assert [s.word for s in scores] == [NO_WORD, "coat color", "whiskers"]
    base, coat, whiskers = scores
    assert coat.kept > 0.8 and abs(whiskers.phi) < 0.5 < 2 < whiskers.native
    assert coat.phi > base.phi > whiskers.phi


def test_reading_equals_the_slow_version_and_finds_what_is_lost():
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(4, 8, generator=generator), dim=-1)
    native = F.normalize(torch.randn(20, 8, generator=generator), dim=-1)
    phi = F.normalize(native + 0.3 * torch.randn(20, 8, generator=generator), dim=-1)
    mean = sum(texts) / 4
    tables = [
        [[float(f @ (t - mean)) for t in texts] for f in features] for features in (native, phi)
    ]
    for table in tables:
        for v in range(4):
            middle = sum(row[v] for row in table) / 20
            for row in table:
                row[v] -= middle
    flat = [[z for row in table for z in row] for table in tables]
    dot = sum(a * b for a, b in zip(*flat, strict=True))
    same = sum(a.index(max(a)) == b.index(max(b)) for a, b in zip(*tables, strict=True)) / 20
    expected = dot / math.sqrt(sum(a * a for a in flat[0]) * sum(b * b for b in flat[1]))
    assert reading(native, phi, texts) == pytest.approx((expected, same), abs=1e-5)
    assert reading(native, native, texts) == pytest.approx((1.0, 1.0))
    other = F.normalize(torch.randn(20, 8, generator=generator), dim=-1)
    assert abs(reading(native, other, texts)[0]) < 0.4
    assert reading(native, torch.zeros(20, 8), texts)[0] == 0.0


def test_words_with_values_rank_by_their_reading():
    world = toy_world()
    topic = {"coat color": slice(0, 3), "whiskers": slice(3, 6)}

    def encode(texts):
        own = {
            f"a photo of a thing with {i} {i} {w}.": torch.eye(10)[axes][int(i)]
            for w, axes in topic.items()
            for i in "012"
        }
        return (
            torch.stack([own[t] for t in texts])
            if texts[0] in own
            else world["encode_texts"](texts)
        )

    values = {word: ["0", "1", "2"] for word in topic}
    scores = score_words(
        ["whiskers", "coat color"], **{**world, "encode_texts": encode}, values=values
    )
    assert [s.word for s in scores[1:]] == ["coat color", "whiskers"] and scores[0].reading is None
    assert scores[1].reading > 0.8 > 0.5 > scores[2].reading and scores[1].same_value > 0.9
    some = score_words(
        ["whiskers", "coat color"],
        **{**world, "encode_texts": encode},
        values={"whiskers": values["whiskers"]},
    )
    assert [s.word for s in some[1:]] == ["whiskers", "coat color"]


def test_without_descriptions_the_class_prompt_carries_the_word():
    asked = []

    def encode(texts):
        asked.extend(texts)
        return F.normalize(torch.eye(len(NAMES), 4) + 0.1, dim=-1)

    features = F.normalize(torch.eye(3, 4).repeat(4, 1), dim=-1)
    labels = torch.arange(12) % 3
    names = ["red fox", "polar_bear", "sea otter"]
    score_words(["size"], names, native=features, phi=features, labels=labels, encode_texts=encode)
    assert (
        asked[1] == "a photo of a polar bear." and asked[4] == "a photo of a polar bear with size."
    )


def test_clauses_say_one_thing_each_and_not_the_class():
    text = "A Red Fox, an orange shape with a long tail; dark legs and a white tip."
    assert clauses(text, "red_fox") == [
        "A it",
        "an orange shape",
        "a long tail",
        "dark legs",
        "a white tip",
    ]
    assert clauses("ab", "x") == ["ab"]


def test_only_words_that_may_be_attributes_are_chosen(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            {
                "schema_version": 1,
                "domain": "pet",
                "attributes": ["coat color", "body shape"],
                "rejected": {"fur texture": "x"},
            }
        )
    )
    file = read_attribute_file(str(path))
    order = ["fur texture", "red fox shape", "coat colors", "coat color", "body shape"]
    scores = [WordScore(NO_WORD, 1, 1), *(WordScore(w, 2, 2 - i / 10) for i, w in enumerate(order))]
    assert choose_words(scores, file, NAMES, 2) == ["coat colors", "body shape"]
    with pytest.raises(MiningError, match="only 2 candidates"):
        choose_words(scores, file, NAMES, 3)
    table = format_scores(scores, dict.fromkeys(order, "attribute"), 224, 96)
    assert table.splitlines()[-1].split() == ["(no", "word)", "1.000", "1.000", "100", "%"]


def test_clip_features_are_clips_own(clip_file, tmp_path):
    from loreal_plugin.weights.package import borrowed_clip

    picture = tmp_path / "p.png"
    Image.linear_gradient("L").resize((90, 64)).convert("RGB").save(picture)
    clip = ClipModel(str(clip_file))
    with borrowed_clip() as package:
        image = package.clip._transform(64)(Image.open(picture))[None]
    own = clip._model.encode_image(image)
    torch.testing.assert_close(clip.encode_pictures([str(picture)], 64), F.normalize(own, dim=-1))
    low = clip.encode_pictures([str(picture)], 32)
    assert low.shape == (1, 64) and not torch.allclose(low, F.normalize(own, dim=-1), atol=1e-3)
    texts = clip.encode_texts(["a", "word " * 200])
    assert texts.shape == (2, 64) and torch.allclose(texts.norm(dim=-1), torch.ones(2))


@pytest.fixture
def world(tmp_path, monkeypatch, embedded):
    """Give a folder with six classes of `pictures`, tiny weights, and attributes described."""
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLIP_WEIGHTS", raising=False)
    tiny_image_folder(tmp_path / "data" / "pictures", classes=6, per_class=8)
    random_clip_file(tmp_path, resolution=64)
    content = {
        "schema_version": 1,
        "dataset": "pictures",
        "domain": "thing",
        "attributes": ["main color", "body shape"],
        "reasons": {"main color": "large"},
        "rejected": {"logo": "small"},
        "values": {"main color": ["red", "blue", "green"], "body shape": ["round"]},
        "classnames": list(TINY_CLASSES[:6]),
        "descriptions": {
            name: f"a large shape, color number {i}" for i, name in enumerate(TINY_CLASSES[:6])
        },
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def score(world: Path, *more: str) -> int:
    words = [
        "attributes",
        "score",
        "--dataset",
        "pictures",
        "--data",
        "data",
        "--attributes",
        "a.json",
    ]
    return main([*words, "--weights", "tiny_clip.pt", "--phi", "32", "--shots", "3", *more])


def test_score_ranks_plots_and_chooses(world, capsys, monkeypatch):
    read, original = [], clip_model.read_picture
    monkeypatch.setattr(
        clip_model, "read_picture", lambda path: read.append(path) or original(path)
    )
    options = ["--words", "outline", "--choose", "2", "--out", "best.json", "--plot", "plots/a.png"]
    assert score(world, *options) == 0
    said = capsys.readouterr().out
    assert "9 training pictures of 3 base classes" in said and "texts: descriptions" in said
    for word, kind in (("main color", "attribute"), ("logo", "rejected"), ("outline", "asked")):
        assert any(word in line and kind in line for line in said.splitlines())
    # Training pictures of base classes at two sizes, no test picture.
    split = json.loads((world / "data" / "pictures" / "split_loreal.json").read_text())
    train = {row[0] for row in split["train"] if row[1] < 3}
    assert (
        len(read) == 2 * 9
        and {str(Path(p).relative_to(world / "data" / "pictures")) for p in read} <= train
    )
    with Image.open("plots/a.png") as plot:
        assert plot.format == "PNG" and plot.size[0] > 300
    best = read_attribute_file("best.json")
    assert check_attribute_file(best).faults == [] and len(best.words.words) == 2
    assert set(best.words.words) | set(best.rejected) >= {"main color", "body shape"}
    assert best.content["scores"]["phi"] == 32 and set(best.content["scores"]["words"]) >= {
        "",
        "logo",
        "outline",
    }
    assert (
        best.words.words[0] == "main color"
        and "reading" in best.content["scores"]["words"]["main color"]
    )
    assert score(world, *options) == 2 and "--force" in capsys.readouterr().err


def test_score_with_class_prompts_all_classes_and_given_values(world, capsys):
    assert (
        score(world, "--no-descriptions", "--classes", "all", "--values", "logo=red, dark blue")
        == 0
    )
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if " attribute " in line or " rejected " in line]
    # Words with values come first, the one without ends the table.
    assert len(rows) == 3 and "body shape" in rows[2]
    assert "18 training pictures of 6 all classes" in said and "texts: class prompts" in said
    assert (world / "attributes_pictures.png").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--phi", "40"], "multiple of the patch size 16"),
        (["--dataset", "nothing"], "nothing"),
        (["--weights", "absent.pt"], "absent.pt"),
        (["--shots", "0"], "at least 1"),
        (["--choose", "2"], "go together"),
        (["--values", "size=large"], "two values or more"),
        (["--attributes", "absent.json"], "absent.json does not exist"),
        (["--choose", "9", "--out", "x.json"], "only"),
    ],
)
def test_score_with_wrong_input_is_one_line(world, capsys, more, said):
    assert score(world, *more) == 2
    assert said in capsys.readouterr().err and not (world / "x.json").exists()


def test_mine_takes_class_names_from_a_folder_of_pictures(world):
    from loreal_plugin.mining.labelled_pictures import dataset_classnames

    assert dataset_classnames("pictures", "data") == list(TINY_CLASSES[:6])

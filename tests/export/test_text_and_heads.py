"""New class names: on the device, and in heads that are made later and joined."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_packages import RECORD
from untrained import untrained

from loreal_plugin.edge import Package
from loreal_plugin.edge.bpe import BytePairs
from loreal_plugin.edge.head import Head, join, read_head
from loreal_plugin.edge.layout import MANIFEST
from loreal_plugin.edge.text import head_of_names, prompt_ids
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.export import export_run
from loreal_plugin.export.class_names import read_names
from loreal_plugin.export.export_run import seal
from loreal_plugin.export.head_files import in_half, write_head
from loreal_plugin.export.heads import head_of
from loreal_plugin.export.make_head import make_head
from loreal_plugin.export.pictures import Pictures
from loreal_plugin.export.text import (
    IdEncoder,
    template_of,
    text_facts,
    write_merges,
    write_text_encoder,
)

NAMES = ["red fox", "sea_lion", "747 400", "Café au lait", "crème brûlée 2", "it's rock'n roll"]
TEXTS = [*NAMES, "St. Bernard", "A&W &amp; co", "½ cup", "  many   blanks ", "日本語 abc", "x_y-z"]


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> BytePairs:
    """Give the device's tokenizer."""
    path = tmp_path_factory.mktemp("merges") / "merges.txt.gz"
    write_merges(path, 49408)
    return BytePairs.read(path)


@pytest.fixture(scope="module")
def of_clip() -> Any:
    """Give CLIP's own tokenizer."""
    from loreal_plugin.weights import import_clip

    import_clip()
    from clip.simple_tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def test_the_tokenizer_is_clips(encode: BytePairs, of_clip: Any):
    words = json.loads(Path("attributes/imagenet.json").read_text("utf-8"))["classnames"]
    for text in [*TEXTS, *words]:
        assert encode(text) == of_clip.encode(text), text


def test_rare_signs_are_read_as_clip_reads_them(encode: BytePairs, of_clip: Any):
    # The first letters of what was read in a wrong encoding, which CLIP mends and the device does
    # not; and a mark that CLIP takes for a letter.
    others = {0xC2, 0xC3, 0x345}
    blocks = [(0x20, 0x500), (0x1E00, 0x2100), (0x3000, 0x3020), (0xFB00, 0xFB07), (0xFEFF, 0xFFFE)]
    for number in (n for block in blocks for n in range(*block) if n not in others):
        if unicodedata.category(chr(number)) == "Cn":
            continue  # Unicode has no such sign, so far as this Python knows
        text = f"a {chr(number)}b{chr(number)} c"
        assert encode(text) == of_clip.encode(text), hex(number)
    for text in (
        "\ufb01sh &lsquo;n&rsquo; chips",
        "\uff26\uff55\uff4c\uff4c \uff11\uff12",
        "1 < 2",
    ):
        assert encode(text) == of_clip.encode(text), text


@pytest.mark.parametrize("method", ["coop", "maple", "mma", "mmrl"])
def test_features_of_ids_are_the_modes(method: str, encode: BytePairs):
    deployed = untrained(method, "static")
    template = template_of(deployed)
    facts = text_facts(deployed, template)
    ids = [prompt_ids(name, encode, facts) for name in deployed.beta.classnames]
    with torch.no_grad():
        found = IdEncoder(deployed, template.extra)(torch.tensor(ids))
    wanted = F.normalize(deployed.mode.static_text(), dim=-1)
    assert (found - wanted).abs().max() < 1e-5
    learned = {i - 49408 for i in (*template.before, *template.after) if i >= 49408}
    assert learned == set(range(len(template.extra))) and len(learned) >= 5


@pytest.fixture(scope="module")
def with_text(package_of: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a package of MMA, whose token embeddings pass an adapter, with its text encoder."""
    import shutil

    made = package_of("mma", "static")
    folder = Path(shutil.copytree(made.folder, tmp_path_factory.mktemp("text") / "package"))
    manifest = json.loads((folder / "loreal.json").read_text("utf-8"))
    manifest["text"] = write_text_encoder(folder, [made.deployed], "fp32")
    seal(folder, manifest, "package")
    return folder


def test_a_device_names_pictures_by_names_of_its_own(
    with_text: Path, package_of: Callable, pixels: np.ndarray
):
    made = package_of("mma", "static")
    head = head_of_names(with_text, made.deployed.classnames)
    assert np.abs(head.tensors["text"] - head_of(made.deployed).tensors["text"]).max() < 1e-5
    package = Package.open(with_text, head=head)
    wanted = Package.open(made.folder).logits(pixels)
    assert np.abs(package.logits(pixels) - wanted).max() < 1e-4
    assert Package.open(with_text, head=head_of_names(with_text, NAMES)).labels[1] == "sea lion"


def test_names_that_cannot_be_classes_are_refused(with_text: Path, package_of: Callable):
    for names, said in (
        ([], "at least one class name"),
        (["a", "a"], "given twice: a"),
        (["crane (bird)"], "must end in a letter or a digit"),
        (["word " * 80 + "end"], "is too long"),
    ):
        with pytest.raises(ConfigError, match=said):
            head_of_names(with_text, names)


def test_a_package_without_a_text_encoder_says_where_heads_come_from(
    package_of: Callable, tmp_path: Path
):
    folder = Path(shutil.copytree(package_of("maple", "static").folder, tmp_path / "copy"))
    with pytest.raises(ConfigError, match="has no text encoder: export it with --text, or make"):
        head_of_names(folder, ["fox"])
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["encoder"]["format"] = "litert"  # which has no --text
    seal(folder, manifest, "package")
    with pytest.raises(ConfigError, match="it is a LiteRT package; make the head from the run"):
        head_of_names(folder, ["fox"])


@pytest.mark.parametrize(
    ("what", "value"), [("before", [10**9]), ("length", 200), ("file", "heads/toy.onnx")]
)
def test_prompts_that_the_text_encoder_cannot_read_are_refused(
    with_text: Path, tmp_path: Path, what: str, value: object
):
    folder = Path(shutil.copytree(with_text, tmp_path / "copy"))
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["text"][what] = value
    seal(folder, manifest, "package")
    with pytest.raises(CheckpointError, match="cannot read the prompts"):
        head_of_names(folder, ["fox"])


def test_a_package_makes_and_joins_heads(with_text: Path, tmp_path: Path, pixels: np.ndarray):
    (tmp_path / "more.txt").write_text("fox\nsea lion\n\n", "utf-8")
    files = make_head(with_text, ["toy", str(tmp_path / "more.txt")], tmp_path / "all.onnx")
    assert [path.name for path in files] == ["all.onnx", "all.safetensors"]
    old, both = Package.open(with_text), Package.open(with_text, head=files[0])
    assert both.labels == (*old.labels, "fox", "sea lion")
    assert np.abs(both.logits(pixels)[:, :5] - old.logits(pixels)).max() < 1e-4
    with pytest.raises(ConfigError, match="classes in common: fox"):
        make_head(with_text, [str(files[0]), str(tmp_path / "more.txt")], tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="unknown head of the package 'tooy'"):
        make_head(with_text, ["tooy"], tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="must end in .onnx"):
        make_head(with_text, ["toy"], tmp_path / "x")
    for word in ("toy", str(files[0])):
        with pytest.raises(ConfigError, match="is in the mode static and cannot become tangent"):
            make_head(with_text, [word], tmp_path / "x.onnx", mode="tangent")
    assert make_head(with_text, ["toy"], tmp_path / "x.onnx", mode="static")


def part_of(whole: Head, keep: slice) -> Head:
    """Return a head of some classes of another."""
    rows = {"text": 0, "base": 0, "weights": 0, "table": 1}
    cut = {
        name: value[(slice(None),) * rows[name] + (keep,)] if name in rows else value
        for name, value in whole.tensors.items()
    }
    return Head(whole.labels[keep], whole.mode, whole.scale, whole.source, cut)


@pytest.mark.parametrize("mode", ["static", "tangent"])
def test_joined_heads_answer_as_their_parts(package_of: Callable, pixels: np.ndarray, mode: str):
    made = package_of("mmrl", mode)
    whole, features = head_of(made.deployed), Package.open(made.folder).features(pixels)
    joined = join([part_of(whole, slice(0, 2)), part_of(whole, slice(2, None))])
    assert joined.labels == whole.labels
    assert np.array_equal(joined(features), whole(features))
    other = Head(("x",), mode, whole.scale, "another run", whole.tensors)
    with pytest.raises(ConfigError, match="the same run and mode; their source is"):
        join([whole, other])


def test_a_tangent_head_of_other_directions_is_not_joined(package_of: Callable):
    whole = head_of(package_of("mmrl", "tangent").deployed)
    turned = dict(whole.tensors, basis=-whole.tensors["basis"])
    other = Head(tuple("abcde"), "tangent", whole.scale, whole.source, turned)
    with pytest.raises(ConfigError, match="'basis' differs"):
        join([whole, other])


def test_heads_whose_names_have_dots_have_files_of_their_own(
    package_of: Callable, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made, folder = package_of("maple", "static"), tmp_path / "package"
    whole, features = head_of(made.deployed), Package.open(made.folder).features(pixels)
    parts = {"birds.v1": part_of(whole, slice(0, 2)), "birds.v2": part_of(whole, slice(2, None))}
    coming, encoder = iter(parts.values()), (made.folder / "encoder.onnx").read_bytes()
    monkeypatch.setattr(export_run, "head_of", lambda deployed: next(coming))
    monkeypatch.setattr(export_run, "_encoder", lambda *_: encoder)
    both, plan = dict.fromkeys(parts, made.deployed), export_run.ExportPlan(mode="static", check=0)
    export_run.write_package(folder, both, RECORD, plan, Pictures(), "birds")
    for name, part in parts.items():
        for head in (name, folder / "heads" / f"{name}.safetensors"):
            package = Package.open(folder, head=head)
            assert package.labels == part.labels
            assert np.abs(package.logits(pixels) - part(features)).max() < 1e-4
    files = make_head(folder, list(parts), tmp_path / "all.v3.onnx")
    assert [path.name for path in files] == ["all.v3.onnx", "all.v3.safetensors"]
    assert Package.open(folder, head=files[0]).labels == whole.labels


def test_a_head_in_half_precision_is_half_the_file(package_of: Callable, tmp_path: Path):
    whole = head_of(package_of("mmrl", "tangent").deployed)
    sizes = {}
    for name, head in (("whole", whole), ("half", in_half(whole))):
        files = write_head(head, tmp_path / name)
        sizes[name] = [path.stat().st_size for path in files]
        assert read_head(files[1]).labels == whole.labels
    assert all(h < 0.6 * w for h, w in zip(sizes["half"], sizes["whole"], strict=True))
    with pytest.raises(CheckpointError, match="is no head that can be read"):
        read_head(tmp_path / "half.onnx")


def test_files_of_class_names(tmp_path: Path):
    for name, text, wanted in (
        ("a.txt", "\ufeffred fox\n\n sea_lion \n", ["red fox", "sea_lion"]),
        ("a.json", '["red fox", "é"]', ["red fox", "é"]),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        assert read_names(tmp_path / name) == wanted
    for name, text, said in (
        ("b.txt", "\n", "has no class name"),
        ("c.txt", "sea lion\nsea_lion", "has a class twice: sea lion"),
        ("d.json", '{"a": 1}', "must be a JSON list"),
        ("e.json", "[", "cannot be read"),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=said):
            read_names(tmp_path / name)


def test_hashes_cover_the_text_encoder(with_text: Path):
    manifest = Package.open(with_text).manifest
    assert {"text.onnx", "merges.txt.gz"} <= set(manifest["files"])

"""`loreal adapt` on noise pictures at toy size: files, going on, bad input, several processes."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import tiny_image_folder
from PIL import Image, ImageOps
from python_at_once import python_at_once
from tiny_hosts import METHODS, tiny_student

from loreal_plugin.adapt import clip_at_phi
from loreal_plugin.adapt.clip_at_phi import adapt_clip, plain_student
from loreal_plugin.adapt.parts import part_files
from loreal_plugin.adapt.pictures import unlabelled_pictures
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.tower import adapt
from loreal_plugin.adapt.tower_plan import TowerPlan
from loreal_plugin.cli.main import main
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.runs.check_values import check_phi
from loreal_plugin.students.views import (
    ViewRecipe,
    draw_view,
    read_picture,
    render_view,
    view_generator,
)
from loreal_plugin.weights import describe, load_clip_state_dict
from loreal_plugin.weights.positions import resample_pos_embed
from loreal_plugin.weights.write import MEAN, STD, write_clip

ROOT = Path(__file__).resolve().parents[2]
PHI = 32
SETTINGS = AdaptSettings(rank=2, views=2, epochs=3, batch=8, seed=3)
POSITIONS = "visual.positional_embedding"


def _silent(_):
    pass


@pytest.fixture(scope="module")
def plan(embedded, clip_file, tmp_path_factory):
    embedded("coop")
    folder = tmp_path_factory.mktemp("tower")
    pictures = tiny_image_folder(folder / "pictures", per_class=4)
    return TowerPlan(
        str(clip_file), PHI, pictures, folder / "adapted.safetensors", "openai", SETTINGS
    )


@pytest.fixture(scope="module")
def made(plan):
    """Give the note of an adapted CLIP and the student that it was written from."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        keep = lambda student, source: (seen.append(student), clip_of(student, source))[1]  # noqa: E731
        clip_of = clip_at_phi.clip_of
        patch.setattr(clip_at_phi, "clip_of", keep)
        note = adapt_clip(plan, _silent)
    return note, seen[0]


def _images(count=3):
    return torch.randn(count, 3, PHI, PHI, generator=torch.Generator().manual_seed(0))


def test_the_file_gives_the_features_of_the_adapted_student(plan, made, embedded, clip_state):
    note, student = made
    assert note["cosine_after"] != note["cosine_before"]
    state = load_clip_state_dict(plan.out)
    assert describe(state)["resolution"] == PHI
    again = plain_student(embedded("coop"), str(plan.out), PHI, "cpu")
    wanted = student.encode_image(_images())
    assert torch.allclose(again.encode_image(_images()), wanted, atol=1e-5)
    untouched = plain_student(embedded("coop"), plan.weights, PHI, "cpu")
    assert not torch.allclose(untouched.encode_image(_images()), wanted, atol=1e-3)
    source = clip_state()
    text = [name for name in source if not name.startswith("visual.")]
    assert all(torch.equal(state[name], source[name]) for name in text)
    resampled = resample_pos_embed(source[POSITIONS], 2, "bicubic")
    assert not torch.allclose(state[POSITIONS], resampled, atol=1e-4)


def test_teacher_and_pupil_are_compared_on_the_same_crops(plan, made, embedded):
    host, recipe = embedded("coop"), ViewRecipe((plan.crop, 1.0), True, "bicubic", MEAN, STD)
    embeddings = []
    for size in (64, PHI):
        shown = []
        for index, path in enumerate(unlabelled_pictures(plan.pictures)):
            image = read_picture(str(path))
            number = view_generator(SETTINGS.seed, index, SETTINGS.views)
            view = draw_view(*image.size, recipe, number)
            shown.append(render_view(image, view, size, recipe))
        student = plain_student(host, plan.weights, size, "cpu")
        embeddings.append(student.encode_image(torch.stack(shown)))
    wanted = torch.nn.functional.cosine_similarity(*embeddings, dim=-1).mean().item()
    assert made[0]["cosine_before"] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_it_as_its_backbone(plan, made, embedded, method):
    student = tiny_student(embedded(method), plan.out, size=PHI)
    features = student.encode_image(_images())
    assert features.isfinite().all()
    positions = student.model.get_parameter(student.contract.image_tower(student.model).positions)
    assert torch.equal(positions, load_clip_state_dict(plan.out)[POSITIONS])


def test_a_run_at_another_size_is_refused_in_one_line(plan, made):
    native = describe(load_clip_state_dict(plan.out))["resolution"]
    with pytest.raises(ConfigError, match=r"PHI 64 is not below 32, the native size .*adapted"):
        check_phi(64, native, str(plan.out))


def test_what_is_there_is_not_made_again_and_nothing_else_is_overwritten(plan, made, capsys):
    lines = []
    assert adapt_clip(plan, lines.append)["sha256"] == made[0]["sha256"]
    assert len(lines) == 1 and "complete" in lines[0]
    other = replace(plan, settings=replace(SETTINGS, seed=4))
    with pytest.raises(ConfigError, match="remove it, or choose another --out"):
        adapt_clip(other, _silent)


def test_an_interrupted_training_goes_on_to_the_same_bits(plan, made, monkeypatch, tmp_path):
    again = replace(plan, out=tmp_path / "again.safetensors")
    save = clip_at_phi._save

    def saved(*args):
        save(*args)
        if part_files(again.work)[-1].name.startswith("adaptation-2."):
            raise KeyboardInterrupt

    monkeypatch.setattr(clip_at_phi, "_save", saved)
    with pytest.raises(KeyboardInterrupt):
        adapt_clip(again, _silent)
    assert len(part_files(again.work)) == 1 and not again.out.exists()
    other = replace(again, settings=replace(SETTINGS, seed=4))
    with pytest.raises(CheckpointError, match="other weights, pictures or settings"):
        adapt_clip(other, _silent)
    lines = []
    adapt_clip(again, lines.append)
    assert "goes on after pass 2 of 6" in lines[0]
    assert again.out.read_bytes() == plan.out.read_bytes()
    assert not again.work.exists()


def test_kept_targets_and_parts_of_batches_give_the_same(plan, made, monkeypatch, tmp_path):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    kept = replace(plan, out=tmp_path / "kept.safetensors", keep_targets=True)
    adapt_clip(kept, _silent)
    assert kept.out.read_bytes() == plan.out.read_bytes()
    assert len(list((tmp_path / "cache" / "kept_targets").glob("*.json"))) == SETTINGS.views
    in_parts = replace(kept, out=tmp_path / "parts.safetensors", accumulate=3)
    adapt_clip(in_parts, _silent)
    _same_up_to_order(plan, in_parts.out)


def test_kept_targets_are_not_those_of_other_pictures(plan, made, monkeypatch, tmp_path):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "cache"))
    elsewhere = tmp_path / "pictures"
    for path in unlabelled_pictures(plan.pictures):
        other = elsewhere / path.relative_to(plan.pictures)
        other.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ImageOps.invert(image.convert("RGB")).save(other)
    settings = replace(SETTINGS, views=1, epochs=1)
    first = replace(plan, settings=settings, out=tmp_path / "a.safetensors", keep_targets=True)
    other = replace(first, pictures=elsewhere, out=tmp_path / "b.safetensors")
    alone = replace(other, out=tmp_path / "c.safetensors", keep_targets=False)
    for each in (first, other, alone):
        adapt_clip(each, _silent)
    assert other.out.read_bytes() == alone.out.read_bytes() != first.out.read_bytes()
    entries = list((tmp_path / "cache" / "kept_targets").glob("*.json"))
    adapt_clip(replace(other, out=tmp_path / "d.safetensors"), _silent)
    assert list((tmp_path / "cache" / "kept_targets").glob("*.json")) == entries, "taken again"
    assert len(entries) == 2


def _same_up_to_order(plan, out):
    """Updates differ by what the order of sums and the rounding of weights can do."""
    ours, theirs = load_clip_state_dict(plan.out), load_clip_state_dict(out)
    source = load_clip_state_dict(plan.weights)
    source[POSITIONS] = resample_pos_embed(source[POSITIONS], 2, "bicubic")
    names = [name for name in source if name.startswith("visual.")]
    moved = sum((ours[n] - source[n]).norm() ** 2 for n in names) ** 0.5
    apart = sum((ours[n] - theirs[n]).norm() ** 2 for n in names) ** 0.5
    assert apart < 0.02 * moved


def test_two_processes_train_what_one_trains(plan, made, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    out = tmp_path / "two.safetensors"
    s = SETTINGS
    words = ["--weights", plan.weights, "--phi", str(PHI), "--pictures", str(plan.pictures)]
    words += ["--out", str(out), "--rank", str(s.rank), "--views", str(s.views)]
    words += ["--epochs", str(s.epochs), "--batch", str(s.batch), "--lr", str(s.lr)]
    words += ["--seed", str(s.seed)]
    command = [python_at_once(), "-m", "loreal_plugin", "adapt", *words]
    # what torchrun sets for each of its processes
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    env = {**os.environ, **together, "OMP_NUM_THREADS": "1", "LOREAL_DEVICE": "cpu"}
    runs = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [run.communicate(timeout=240) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert "mean cosine" in told[0][0] and told[1][0] == ""
    _same_up_to_order(plan, out)


def test_16_bits_come_near(plan, made, tmp_path):
    half = replace(plan, out=tmp_path / "half.pt", precision="bf16")
    note = adapt_clip(half, _silent)
    assert note["cosine_after"] == pytest.approx(made[0]["cosine_after"], abs=5e-3)
    ours, theirs = load_clip_state_dict(plan.out), load_clip_state_dict(half.out)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["--rank", "0"], "--rank 0 was asked for; it must be 1 or more"),
        (["--rank", "65"], "--rank 65 was asked for; this image encoder allows 1 to 64"),
        (["--phi", "64"], "--phi 64 is not below 64, the native size"),
        (["--phi", "40"], "--phi 40 does not fit the backbone: it must be a multiple"),
        (["--pictures", "EMPTY"], "there is no picture below"),
        (["--pictures", "NONE"], "--pictures 'NONE' is no folder; give a folder of pictures"),
        (["--out", "clip"], "ends with .safetensors or .pt"),
        (["--format", "onnx"], "unknown --format 'onnx'"),
        (["--format", "hf"], "writes a folder"),
        (["--kind", "lore"], "unknown --kind 'lore'; did you mean 'lora'?"),
        (["--lr", "0"], "--lr 0.0 was asked for"),
        (["--views", "0"], "--views 0 was asked for"),
        (["--weights", "nothing.pt"], "no such file"),
    ],
)
def test_bad_input_is_one_clear_line(plan, tmp_path, capsys, change, line):
    (tmp_path / "empty").mkdir()
    change = [str(tmp_path / "empty") if word == "EMPTY" else word for word in change]
    words = ["--weights", plan.weights, "--phi", str(PHI), "--pictures", str(plan.pictures)]
    words += ["--out", str(tmp_path / "new.safetensors")]
    assert main(["adapt", *words, *change]) == 2
    told = capsys.readouterr().err
    assert line in told and len(told.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_weights_in_16_bits_stay_in_16_bits(embedded, clip_state, tmp_path):
    # OpenAI's own files are stored so
    source = {name: value.half() for name, value in clip_state().items()}
    torch.save(source, tmp_path / "half.pt")
    student = plain_student(embedded("coop"), str(tmp_path / "half.pt"), PHI, "cpu")
    before = student.encode_image(_images())
    updates = adapt(student, SETTINGS)
    for value in updates.parameters():
        torch.nn.init.normal_(value, std=0.02)
    updates.merge()
    state = clip_at_phi.clip_of(student, source)
    assert {value.dtype for value in state.values()} == {torch.float16}
    file = write_clip(state, tmp_path / "at_phi.safetensors", "openai")
    again = plain_student(embedded("coop"), str(file), PHI, "cpu").encode_image(_images())
    assert torch.allclose(again, student.encode_image(_images()), atol=1e-5)
    assert not torch.allclose(again, before, atol=1e-3)

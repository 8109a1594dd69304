"""The image side of a student: its patch tokens, its updates, what it shares with alpha."""

from __future__ import annotations

import pytest
import torch
from tiny_hosts import METHODS, tiny_student

from loreal_plugin.adapt.files import adaptation_file, as_stored, read_adaptation, write_adaptation
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.tower import Tower, adapt
from loreal_plugin.adapt.use import use_adaptation, use_adaptation_of
from loreal_plugin.contract.image_tower import BLOCK_MAPS
from loreal_plugin.errors import CheckpointError, ConfigError, HostError
from loreal_plugin.students.share import share_clip_tensors

SMALL = 32
KINDS = {"positions": 1, "patch": 2, "lora": 12, "patch_lora": 14}  # updates of a CLIP of 3 layers


def _note(student, settings):
    row = student.contract
    method = row.method if row.learns_images else "CLIP"
    return {"settings": settings.facts(), "phi": student.input_size, "method": method}


def _moved(adaptation):
    for name, value in adaptation.state().items():
        if not name.endswith("down"):
            torch.nn.init.normal_(value, std=0.02)
    return adaptation


@pytest.mark.parametrize("method", METHODS)
def test_patch_tokens_are_those_of_the_patches(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file, size=SMALL)
    for name, value in student.model.named_parameters():
        # blocks that add nothing leave each row what it was: one patch then changes one row
        if "image_encoder" in name and ("out_proj" in name or "c_proj" in name):
            value.data.zero_()
    tower = Tower(student)
    assert tower.grid == 2
    images = torch.randn(1, 3, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
    _, before = tower.encode(images)
    side = SMALL // tower.grid
    for patch in range(4):
        row, column = divmod(patch, 2)
        changed = images.clone()
        changed[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side] += 1
        _, after = tower.encode(changed)
        moved = (after - before).abs().amax(-1)[0] > 1e-4
        assert moved.tolist() == [index == patch for index in range(4)]


@pytest.mark.parametrize("method", METHODS)
def test_start_is_the_frozen_student_and_only_named_tensors_train(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file, size=SMALL)
    images = torch.randn(3, 3, SMALL, SMALL)
    before = student.encode_image(images)
    parts = student.contract.image_tower(student.model)
    assert [name.split(".", 4)[-1] for name in parts.maps[:4]] == list(BLOCK_MAPS)
    adaptation = adapt(student, AdaptSettings(rank=2))
    assert torch.equal(student.encode_image(images), before)
    trained = {id(p) for p in student.model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in adaptation.parameters()}
    features, tokens = Tower(student).encode(images)
    (features.sum() + tokens.sum()).backward()
    with_gradient = {id(p) for p in student.model.parameters() if p.grad is not None}
    assert with_gradient == trained


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_name_their_tensors(embedded, clip_file, kind):
    student = tiny_student(embedded("coop"), clip_file, size=SMALL)
    adaptation = adapt(student, AdaptSettings(kind=kind, rank=2))
    assert len(adaptation.names) == KINDS[kind]


@pytest.mark.parametrize("method", METHODS)
def test_an_adaptation_goes_through_its_file_and_alpha_keeps_its_tensors(
    embedded, clip_file, tmp_path, method
):
    host = embedded(method)
    alpha, beta = tiny_student(host, clip_file), tiny_student(host, clip_file, size=SMALL)
    share_clip_tensors(alpha, beta)
    settings = AdaptSettings(rank=2)
    source = tiny_student(host, clip_file, size=SMALL)
    tensors = as_stored(_moved(adapt(source, settings)).state())
    path = tmp_path / "adaptation.safetensors"
    write_adaptation(path, tensors, _note(beta, settings))
    pictures = torch.randn(2, 3, 64, 64), torch.randn(3, 3, SMALL, SMALL)
    alphas, betas = alpha.encode_image(pictures[0]), beta.encode_image(pictures[1])
    fingerprint = beta.fingerprint()
    use_adaptation(beta, *read_adaptation(path))
    # merged weights against updates that are computed in every forward
    assert torch.allclose(
        beta.encode_image(pictures[1]), source.encode_image(pictures[1]), atol=2e-3
    )
    assert not torch.allclose(beta.encode_image(pictures[1]), betas, atol=1e-3)
    assert torch.equal(alpha.encode_image(pictures[0]), alphas)
    assert beta.fingerprint() != fingerprint
    ours, theirs = (dict(one.model.named_parameters()) for one in (alpha, beta))
    assert ours.keys() == theirs.keys()
    parts = beta.contract.image_tower(beta.model)
    own = {parts.kernel, parts.positions, *parts.maps, *beta.learned}
    for name, value in ours.items():
        assert (value.data_ptr() == theirs[name].data_ptr()) == (name not in own), name


def test_merged_equals_unmerged(embedded, clip_file):
    student = tiny_student(embedded("maple"), clip_file, size=SMALL)
    adaptation = _moved(adapt(student, AdaptSettings(rank=2)))
    images = torch.randn(3, 3, SMALL, SMALL)
    before = student.encode_image(images)
    adaptation.merge()
    assert torch.allclose(student.encode_image(images), before, atol=1e-5)


def test_one_picture_does_not_depend_on_others(embedded, clip_file):
    student = tiny_student(embedded("mmrl"), clip_file, size=SMALL)
    _moved(adapt(student, AdaptSettings(rank=2))).merge()
    images = torch.randn(4, 3, SMALL, SMALL)
    alone = torch.cat([student.encode_image(image[None]) for image in images])
    assert torch.allclose(student.encode_image(images), alone, atol=1e-5)


def test_files_that_are_damaged_or_of_another_student_are_refused(embedded, clip_file, tmp_path):
    student = tiny_student(embedded("coop"), clip_file, size=SMALL)
    settings = AdaptSettings(kind="positions")
    path = tmp_path / "adaptation.safetensors"
    tensors = as_stored(_moved(adapt(student, settings)).state())
    write_adaptation(path, tensors, _note(student, settings))
    content = bytearray(path.read_bytes())
    for place in (len(content) - 1, len(content) // 2, 40):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="run the same command again"):
            read_adaptation(path)
    with pytest.raises(CheckpointError, match="there is no adaptation"):
        read_adaptation(tmp_path / "other")
    other = tiny_student(embedded("coop"), clip_file, size=96)
    with pytest.raises(CheckpointError, match="made for phi 32, here 96"):
        use_adaptation(other, tensors, _note(student, settings))


def test_an_adaptation_of_other_weights_is_refused(embedded, clip_file, tmp_path):
    host, settings = embedded("coop"), AdaptSettings(kind="positions")
    source, student = (tiny_student(host, clip_file, size=SMALL) for _ in range(2))
    tensors = as_stored(_moved(adapt(source, settings)).state())
    note = _note(student, settings) | {"weights": "a1"}
    write_adaptation(adaptation_file(tmp_path), tensors, note)
    with pytest.raises(CheckpointError, match="made for CLIP weights a1, here b2; train one for"):
        use_adaptation_of(student, tmp_path, "b2")
    assert not student.adaptation
    assert use_adaptation_of(student, tmp_path, "a1")["weights"] == "a1" and student.adaptation


def test_bad_ranks_and_towers_are_one_clear_line(embedded, clip_file):
    student = tiny_student(embedded("coop"), clip_file, size=SMALL)
    for rank in (0, 65):
        with pytest.raises(
            ConfigError, match=rf"rank {rank} was.*\(--rank, in a run TRAINER.LOREAL.ADAPT_RANK\)"
        ):
            adapt(student, AdaptSettings(kind="lora", rank=rank))
    student.model.image_encoder.transformer = torch.nn.Identity()
    with pytest.raises(HostError, match="ADAPT none"):
        adapt(student, AdaptSettings())


def test_rows_that_are_no_patches_name_what_helps_in_a_run(embedded, clip_file):
    """No weight of the loss helps: the tokens are read whatever it is."""
    student = tiny_student(embedded("coop"), clip_file, size=SMALL)
    tower = Tower(student)
    tower.grid += 8
    with pytest.raises(HostError, match=r"cannot be compared.*-- TRAINER.LOREAL.ADAPT none$"):
        tower.encode(torch.randn(1, 3, SMALL, SMALL))

"""Students come from the host's build_model, load what was learned alone, and are frozen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_hosts import CLASSNAMES, METHODS, save_host_checkpoint, tiny_student

from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.students.build import device_of


@pytest.mark.parametrize(
    ("there", "wanted", "device"),
    [(True, True, "cuda"), (True, False, "cpu"), (False, True, "cpu")],
)
def test_the_device_is_that_of_dassl(monkeypatch, there, wanted, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of(SimpleNamespace(USE_CUDA=wanted)).type == device


@pytest.mark.parametrize("method", METHODS)
def test_student_is_frozen_and_in_eval_mode(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file)
    assert not any(value.requires_grad for value in student.model.parameters())
    assert not any(module.training for module in student.model.modules())
    named = dict(student.model.named_parameters())
    assert student.learned and all(named[name] is value for name, value in student.learned.items())


@pytest.mark.parametrize("size, grid", [(32, 2), (64, 4), (96, 6)])
def test_student_reads_its_input_size(embedded, clip_file, clip_state, size, grid):
    student = tiny_student(embedded("coop"), clip_file, size=size)
    position = student.model.image_encoder.positional_embedding
    assert position.shape[0] == grid * grid + 1
    native = clip_state()["visual.positional_embedding"].half().float()
    torch.testing.assert_close(position[0], native[0], rtol=2e-3, atol=1e-3)
    assert student.encode_image(torch.randn(1, 3, size, size)).isfinite().all()


@pytest.mark.parametrize("size", [16, 40])
def test_input_size_that_does_not_fit_is_refused(embedded, clip_file, size):
    with pytest.raises(ConfigError, match="multiple of the patch size 16"):
        tiny_student(embedded("maple"), clip_file, size=size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [64, 96])
def test_everything_learned_is_loaded_at_any_input_size(
    embedded, clip_file, tmp_path, method, size
):
    host = embedded(method)
    trained = tiny_student(host, clip_file, seed=1)
    folder = save_host_checkpoint(trained, tmp_path, epoch=2)
    loaded = tiny_student(host, clip_file, seed=2, size=size, checkpoint_dir=folder)
    assert loaded.learned.keys() == trained.learned.keys()
    assert all(torch.equal(loaded.learned[name], value) for name, value in trained.learned.items())
    assert loaded.fingerprint() == trained.fingerprint()


@pytest.mark.parametrize("method", ["maple", "mmrl"])
def test_clip_tensors_of_a_checkpoint_are_not_loaded(embedded, clip_file, tmp_path, method):
    host = embedded(method)
    trained = tiny_student(host, clip_file, seed=1)
    want = trained.model.image_encoder.conv1.weight.clone()
    trained.model.image_encoder.conv1.weight.zero_()
    folder = save_host_checkpoint(trained, tmp_path)
    loaded = tiny_student(host, clip_file, checkpoint_dir=folder)
    assert torch.equal(loaded.model.image_encoder.conv1.weight, want)


@pytest.mark.parametrize("method", METHODS)
def test_other_classes_load_where_nothing_is_learned_per_class(
    embedded, clip_file, tmp_path, method
):
    host = embedded(method)
    folder = save_host_checkpoint(tiny_student(host, clip_file, seed=1), tmp_path)
    other = tiny_student(host, clip_file, names=("ferry", "brain"), checkpoint_dir=folder)
    assert other.prompts().embeddings.shape[0] == 2


def test_epoch_is_the_last_unless_named(embedded, clip_file, tmp_path):
    host = embedded("coop")
    saved = {epoch: tiny_student(host, clip_file, seed=epoch) for epoch in (2, 10)}
    for epoch, student in saved.items():
        save_host_checkpoint(student, tmp_path, epoch)
    for asked, got in ((None, 10), (0, 10), (2, 2), (10, 10)):
        loaded = tiny_student(host, clip_file, checkpoint_dir=tmp_path, epoch=asked)
        assert loaded.fingerprint() == saved[got].fingerprint()
    with pytest.raises(CheckpointError, match="epoch 3 was asked for; epochs there: 2, 10"):
        tiny_student(host, clip_file, checkpoint_dir=tmp_path, epoch=3)


def test_checkpoint_of_another_method_is_named(embedded, clip_file, tmp_path):
    folder = save_host_checkpoint(tiny_student(embedded("mma"), clip_file), tmp_path)
    with pytest.raises(
        CheckpointError, match="no 'MultiModalPromptLearner/'.*this is a run of mma"
    ):
        tiny_student(embedded("maple"), clip_file, checkpoint_dir=folder)
    with pytest.raises(CheckpointError, match="no such folder"):
        tiny_student(embedded("maple"), clip_file, checkpoint_dir=tmp_path / "absent")


def test_checkpoint_with_more_or_less_learned_is_refused(embedded, clip_file, tmp_path):
    host = embedded("maple")
    deep = save_host_checkpoint(tiny_student(host, clip_file), tmp_path / "deep")
    flat = save_host_checkpoint(
        tiny_student(host, clip_file, "TRAINER.MAPLE.PROMPT_DEPTH", "2"), tmp_path / "flat"
    )
    with pytest.raises(CheckpointError, match="compound_prompts_text.1' is not in it"):
        tiny_student(host, clip_file, checkpoint_dir=flat)
    with pytest.raises(
        CheckpointError, match="compound_prompts_text.1' of it is unknown to the model"
    ):
        tiny_student(host, clip_file, "TRAINER.MAPLE.PROMPT_DEPTH", "2", checkpoint_dir=deep)


def test_other_shape_is_refused_with_both_shapes(embedded, clip_file, tmp_path):
    host = embedded("mmrl")
    folder = save_host_checkpoint(tiny_student(host, clip_file), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"compound_rep_tokens' is \(5, 32\), wanted \(5, 48\)"
    ):
        tiny_student(host, clip_file, "TRAINER.MMRL.REP_DIM", "48", checkpoint_dir=folder)


def test_contexts_per_class_need_the_same_classes(embedded, clip_file, tmp_path):
    host = embedded("coop")
    csc = ("TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", "", "TRAINER.COOP.N_CTX", "4")
    folder = save_host_checkpoint(tiny_student(host, clip_file, *csc), tmp_path)
    loaded = tiny_student(host, clip_file, *csc, checkpoint_dir=folder)
    assert loaded.learned["prompt_learner.ctx"].shape[0] == len(CLASSNAMES)
    with pytest.raises(CheckpointError, match="CSC: trained on 4 classes, here are 2"):
        tiny_student(host, clip_file, *csc, names=("ferry", "brain"), checkpoint_dir=folder)
    with pytest.raises(CheckpointError, match="one of the two has contexts per class: CSC"):
        tiny_student(host, clip_file, checkpoint_dir=folder)


def test_truncated_checkpoint_is_an_error(embedded, clip_file, tmp_path):
    host = embedded("coop")
    folder = save_host_checkpoint(tiny_student(host, clip_file), tmp_path)
    path = folder / "prompt_learner" / "model.pth.tar-1"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cut short"):
        tiny_student(host, clip_file, checkpoint_dir=folder)


def test_fingerprint_depends_on_values_only(embedded, clip_file):
    host = embedded("coop")
    one, same, other = (tiny_student(host, clip_file, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_token_embedding_is_the_clips(embedded, clip_file, clip_state):
    student = tiny_student(embedded("mmrl"), clip_file)
    ids = torch.tensor([[320, 1125], [539, 269]])
    want = clip_state()["token_embedding.weight"][ids]
    torch.testing.assert_close(student.token_embedding(ids), want, rtol=2e-3, atol=1e-3)

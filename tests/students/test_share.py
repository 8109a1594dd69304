"""Two students hold what comes from the CLIP file once, and what they learned each for itself."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import random_clip_file
from tiny_hosts import METHODS, tiny_student

from loreal_plugin.errors import HostError
from loreal_plugin.students.share import share_clip_tensors

POSITION = "image_encoder.positional_embedding"


def tensors(student):
    return dict(student.model.named_parameters()) | dict(student.model.named_buffers())


@pytest.mark.parametrize("method", METHODS)
def test_storages_are_shared_exactly_where_they_come_from_clip(embedded, clip_file, method):
    host = embedded(method)
    alpha = tiny_student(host, clip_file, seed=1)
    beta = tiny_student(host, clip_file, seed=2, size=96)
    report = share_clip_tensors(alpha, beta)
    ours, theirs = tensors(alpha), tensors(beta)
    own = {*alpha.learned, POSITION}
    for name, value in ours.items():
        assert (value.data_ptr() == theirs[name].data_ptr()) == (name not in own), name
    assert set(report.not_shared) == own
    assert alpha.token_weight.data_ptr() == beta.token_weight.data_ptr()
    shared = [value for name, value in ours.items() if name not in own] + [alpha.token_weight]
    assert report.n_shared == len(shared)
    assert report.bytes_shared == sum(value.numel() * value.element_size() for value in shared)


@pytest.mark.parametrize("method", METHODS)
def test_sharing_changes_no_output(embedded, clip_file, method):
    host = embedded(method)
    alpha, beta = (
        tiny_student(host, clip_file, seed=1),
        tiny_student(host, clip_file, seed=2, size=96),
    )
    images = torch.randn(2, 3, 96, 96)
    prompts = beta.prompts()
    before = beta.encode_image(images), beta.encode_text(prompts.embeddings, prompts.tokens)
    share_clip_tensors(alpha, beta)
    prompts = beta.prompts()
    after = beta.encode_image(images), beta.encode_text(prompts.embeddings, prompts.tokens)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_sharing_twice_is_the_same(embedded, clip_file):
    host = embedded("coop")
    alpha, beta = tiny_student(host, clip_file), tiny_student(host, clip_file, size=96)
    assert share_clip_tensors(alpha, beta) == share_clip_tensors(alpha, beta)


def test_other_weights_are_refused_and_nothing_changes(embedded, clip_file, tmp_path):
    host = embedded("coop")
    alpha = tiny_student(host, clip_file)
    beta = tiny_student(host, random_clip_file(tmp_path, seed=1), size=96)
    before = {name: value.data_ptr() for name, value in tensors(beta).items()}
    with pytest.raises(HostError, match="cannot share their CLIP: .* tensors differ: image_"):
        share_clip_tensors(alpha, beta)
    assert before == {name: value.data_ptr() for name, value in tensors(beta).items()}


def test_students_of_two_methods_are_refused(embedded, clip_file):
    alpha = tiny_student(embedded("coop"), clip_file)
    beta = tiny_student(embedded("maple"), clip_file)
    with pytest.raises(HostError, match="same method"):
        share_clip_tensors(alpha, beta)


def test_plain_attributes_follow_their_tensors(embedded, clip_file):
    host = embedded("mmrl")
    alpha, beta = tiny_student(host, clip_file), tiny_student(host, clip_file, size=96)
    beta.model.remembered = beta.model.prompt_embeddings.view_as(beta.model.prompt_embeddings)
    share_clip_tensors(alpha, beta)
    assert beta.model.remembered.data_ptr() == alpha.model.prompt_embeddings.data_ptr()
    learner = beta.contract.own(beta.model)
    assert learner.prompt_embeddings.data_ptr() == alpha.model.prompt_embeddings.data_ptr()


def test_a_frozen_second_image_encoder_keeps_positions_of_its_own(embedded, clip_file):
    host = embedded("coop")
    alpha = tiny_student(host, clip_file, seed=1)
    beta = tiny_student(host, clip_file, seed=2, size=96)
    for student in (alpha, beta):
        student.model.teacher_encoder = copy.deepcopy(student.model.image_encoder)
    report = share_clip_tensors(alpha, beta)
    second = "teacher_encoder.positional_embedding"
    assert {POSITION, second} <= set(report.not_shared)
    sizes = [len(tensors(student)[second]) for student in (alpha, beta)]
    assert sizes == [17, 37]
    inside = "teacher_encoder.conv1.weight"
    assert tensors(alpha)[inside].data_ptr() == tensors(beta)[inside].data_ptr()

"""Each contract computes exactly what the host's own model does: embedded host, four methods."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_hosts import CLASSNAMES, METHODS, tiny_cfg, tiny_student
from torch import nn

from loreal_plugin.contract import CONTRACTS, get_contract
from loreal_plugin.errors import ConfigError, HostError


def host_logits(student, images):
    """Return what the host's forward gives in eval mode: (class or only logits, mixed logits)."""
    with torch.no_grad():
        out = student.model(images)
    return (out[0], out[2]) if isinstance(out, tuple) else (out, out)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [64, 96])
def test_logits_through_the_contract_are_the_hosts(embedded, clip_file, method, size):
    student = tiny_student(embedded(method), clip_file, size=size)
    images, prompts = torch.randn(3, 3, size, size), student.prompts()
    features = student.encode_image(images)
    text = student.encode_text(prompts.embeddings, prompts.tokens)
    plain, mixed = host_logits(student, images)
    assert features.shape == (3, student.contract.n_features, 64)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(features.shape[:2]))
    torch.testing.assert_close(student.logits(features, text), plain, rtol=0, atol=0)
    torch.testing.assert_close(student.logits(features, text, fusion=True), mixed, rtol=0, atol=0)
    if student.contract.n_features == 2:
        assert not torch.allclose(plain, mixed)


@pytest.mark.parametrize("method", METHODS)
def test_text_features_a_row_per_image_give_the_same_logits(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file)
    features = student.encode_image(torch.randn(2, 3, 64, 64))
    text = torch.randn(len(CLASSNAMES), 64)
    per_image = student.logits(features, text.expand(2, -1, -1), fusion=True)
    torch.testing.assert_close(
        per_image, student.logits(features, text, fusion=True), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
def test_learned_tensors_change_text_and_images_as_the_method_says(embedded, clip_file, method):
    host = embedded(method)
    students = [tiny_student(host, clip_file, seed=seed) for seed in (1, 2)]
    images = torch.randn(2, 3, 64, 64)
    features = [s.encode_image(images) for s in students]
    texts = [s.encode_text(s.prompts().embeddings, s.prompts().tokens) for s in students]
    assert not torch.allclose(*texts)
    assert torch.allclose(*features) == (method == "coop")


@pytest.mark.parametrize("method", METHODS)
def test_class_names_start_behind_the_template(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file)
    tokens = student.prompts().tokens
    for row, start, name in zip(
        tokens, student.prompts().class_start.tolist(), CLASSNAMES, strict=True
    ):
        ids = student.tokenize(name.replace("_", " "))[0]
        n_ids = int(ids.argmax()) - 1
        assert row[start : start + n_ids].tolist() == ids[1 : 1 + n_ids].tolist()
        assert start == 5


@pytest.mark.parametrize(
    "dataset, start", [("DescribableTextures", 1), ("EuroSAT", 6), ("OxfordPets", 5)]
)
def test_class_names_are_found_in_templates_with_words_behind_them(
    embedded, clip_file, dataset, start
):
    student = tiny_student(embedded("mmrl"), clip_file, dataset=dataset)
    assert student.prompts().class_start.tolist() == [start] * len(CLASSNAMES)


@pytest.mark.parametrize("place, start", [("end", 5), ("middle", 3), ("front", 1)])
def test_coop_tokens_follow_the_rows_wherever_the_class_stands(embedded, clip_file, place, start):
    student = tiny_student(embedded("coop"), clip_file, "TRAINER.COOP.CLASS_TOKEN_POSITION", place)
    prompts = student.prompts()
    assert prompts.class_start.tolist() == [start] * len(CLASSNAMES)
    rows = student.token_embedding(prompts.tokens)
    same = (rows == prompts.embeddings).all(dim=-1)
    learned = {"end": {1, 2, 3, 4}, "middle": {1, 2}, "front": set()}[place]
    for row, name in zip(same, CLASSNAMES, strict=True):
        n_ids = int(student.tokenize(name.replace("_", " "))[0].argmax()) - 1
        last = {"end": 0, "middle": 2, "front": 4}[place]  # context rows behind the name
        behind = range(start + n_ids, start + n_ids + last)
        assert {int(i) for i in (~row).nonzero()} == learned | set(behind)


def test_encoding_text_for_mmrl_leaves_the_attention_masks_alone(embedded, clip_file):
    student = tiny_student(embedded("mmrl"), clip_file)
    masks = [block.attn_mask for block in student.model.text_encoder.transformer.resblocks]

    class Sticky(nn.Module):
        """Enlarges the masks for good, as the public MMRL does."""

        def forward(self, *_args):
            for block in student.model.text_encoder.transformer.resblocks:
                block.attn_mask = torch.zeros(82, 82)
            raise RuntimeError("stop here")

    encoder, sticky = student.model.text_encoder, Sticky()
    sticky.transformer = encoder.transformer
    student.model.text_encoder = sticky
    with pytest.raises(RuntimeError, match="stop here"):
        student.encode_text(None, None)
    student.model.text_encoder = encoder
    after = [block.attn_mask for block in encoder.transformer.resblocks]
    assert all(old is new for old, new in zip(masks, after, strict=True))


def test_reset_of_mmrl_makes_enlarged_masks_causal_again(embedded, clip_file):
    student = tiny_student(embedded("mmrl"), clip_file)
    blocks = list(student.model.text_encoder.transformer.resblocks)
    want = blocks[0].attn_mask.clone()
    blocks[-1].attn_mask = torch.zeros(82, 82)
    student.contract.reset(student.model)
    assert torch.equal(blocks[-1].attn_mask, want)


@pytest.mark.parametrize("method", ["mma", "mmrl"])
def test_reset_drops_cached_text_features(embedded, clip_file, method):
    student = tiny_student(embedded(method), clip_file)
    images = torch.randn(1, 3, 64, 64)
    before = host_logits(student, images)[0]
    for value in student.learned.values():
        value.mul_(2)
    student.contract.reset(student.model)
    features, prompts = student.encode_image(images), student.prompts()
    text = student.encode_text(prompts.embeddings, prompts.tokens)
    after = host_logits(student, images)[0]
    assert not torch.allclose(before, after)
    torch.testing.assert_close(student.logits(features, text), after, rtol=0, atol=0)


def test_conditioning_reads_the_class_feature_or_the_mix(embedded, clip_file):
    student = tiny_student(embedded("mmrl"), clip_file)
    features = student.encode_image(torch.randn(2, 3, 64, 64))
    assert torch.equal(student.condition(features), features[:, 0])
    alpha = student.model.alpha
    mix = alpha * features[:, 0] + (1 - alpha) * features[:, 1]
    torch.testing.assert_close(
        student.condition(features, mode="fusion"), mix / mix.norm(dim=-1, keepdim=True)
    )
    torch.testing.assert_close(student.condition(features, mode="fusion_raw"), mix)
    assert (mix.norm(dim=-1) < 1).all()  # the two features disagree, so it is another vector
    with pytest.raises(ConfigError, match="known: class, fusion, fusion_raw"):
        student.condition(features, mode="both")


@pytest.mark.parametrize(
    "task, classes, dataset, want",
    [
        ("B2N", "base", "Caltech101", True),
        ("B2N", "new", "Caltech101", False),
        ("FS", "all", "Caltech101", True),
        ("CD", "all", "ImageNet", True),
        ("CD", "all", "Caltech101", False),
    ],
)
def test_mmrl_mixes_features_where_the_host_does(embedded, clip_file, task, classes, dataset, want):
    host = embedded("mmrl")
    opts = ("TASK", task, "DATASET.SUBSAMPLE_CLASSES", classes)
    cfg = tiny_cfg(host, clip_file, *opts, dataset=dataset)
    assert host.contract.use_fusion(cfg) is want
    assert host.contract.use_fusion(cfg, training=True) is True
    assert get_contract("coop").use_fusion(cfg, training=True) is False


def test_unknown_method_offers_the_nearest():
    with pytest.raises(ConfigError, match="unknown method 'mapel'; did you mean 'maple'"):
        get_contract("mapel")


@pytest.mark.parametrize("method", METHODS)
def test_every_missing_part_is_listed_in_one_error(method):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.image_encoder = nn.Linear(2, 2)

    shell = SimpleNamespace(_models={"other": None}, model=Bare())
    contract = CONTRACTS[method]
    with pytest.raises(HostError) as caught:
        contract.check(shell, "host 'x'")
    text = str(caught.value)
    assert f"registered model: looked for {contract.checkpoint}, found other" in text
    assert f"no '{contract.learner}' on Bare (it has: image_encoder)" in text
    assert (
        "image_encoder.positional_embedding, found no 'positional_embedding' on image_encoder"
        in text
    )
    assert "\n" not in text
    assert sum(not row.ok for row in contract.part_checks(shell)) > 10


@pytest.mark.parametrize("method", METHODS)
def test_methods_have_their_own_names(method):
    contract = get_contract(method)
    assert contract.loreal_trainer.endswith("_LOREAL")
    assert contract.checkpoint_key(f"{contract.learner}.a.b") == (
        f"{contract.learner}.a.b" if contract.whole_model else "a.b"
    )

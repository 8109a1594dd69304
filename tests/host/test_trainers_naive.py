"""The host trainers against a slow version: one picture and one prompt at a time, one row at a
time.

Everything is written out from the papers' descriptions with CLIP's raw weights; nothing of the
trainers' own forward code is used, only what they learned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from trainer_helpers import METHODS, SETTINGS, batch, build_trainer, shake

from loreal_plugin.weights import import_clip, load_clip_state_dict

HEAD = 64
Rows = list[Tensor]
Before = Callable[[int, Rows], Rows]
Beside = Callable[[int, Tensor], Tensor]


def norm(clip_state: dict[str, Tensor], name: str, row: Tensor) -> Tensor:
    centred = row - row.mean()
    scaled = centred / (centred.square().mean() + 1e-5).sqrt()
    return scaled * clip_state[f"{name}.weight"] + clip_state[f"{name}.bias"]


def attend(clip_state: dict[str, Tensor], block: str, rows: Rows, at: int, causal: bool) -> Tensor:
    width = len(rows[0])
    q, k, v = clip_state[f"{block}.attn.in_proj_weight"].chunk(3)
    q_bias, k_bias, v_bias = clip_state[f"{block}.attn.in_proj_bias"].chunk(3)
    seen = rows[: at + 1] if causal else rows
    query, parts = q @ rows[at] + q_bias, []
    for head in range(width // HEAD):
        own = slice(head * HEAD, (head + 1) * HEAD)
        scores = torch.stack([(k @ row + k_bias)[own] @ query[own] for row in seen]) / HEAD**0.5
        values = torch.stack([(v @ row + v_bias)[own] for row in seen])
        parts.append(scores.softmax(0) @ values)
    return (
        clip_state[f"{block}.attn.out_proj.weight"] @ torch.cat(parts)
        + clip_state[f"{block}.attn.out_proj.bias"]
    )


def transform(
    clip_state: dict[str, Tensor],
    tower: str,
    rows: Rows,
    causal: bool,
    before: Before,
    beside: Beside | None,
) -> Rows:
    for index in range(3):
        rows, block = before(index, rows), f"{tower}.resblocks.{index}"
        normed = [norm(clip_state, f"{block}.ln_1", row) for row in rows]
        out = []
        for at, row in enumerate(rows):
            new = row + attend(clip_state, block, normed, at, causal)
            hidden = clip_state[f"{block}.mlp.c_fc.weight"] @ norm(clip_state, f"{block}.ln_2", new)
            hidden = hidden + clip_state[f"{block}.mlp.c_fc.bias"]
            hidden = hidden / (1 + torch.exp(-1.702 * hidden))
            new = (
                new
                + clip_state[f"{block}.mlp.c_proj.weight"] @ hidden
                + clip_state[f"{block}.mlp.c_proj.bias"]
            )
            out.append(new if beside is None else new + beside(index, normed[at]))
        rows = out
    return rows


def text_feature(
    clip_state: dict[str, Tensor],
    prompt: Tensor,
    tokens: Tensor,
    before: Before,
    beside: Beside | None,
    moved: int,
) -> Tensor:
    eot = int(tokens.argmax())
    rows = [
        row + place for row, place in zip(prompt, clip_state["positional_embedding"], strict=True)
    ]
    # what stands behind the end of the text cannot be seen from it
    rows = transform(clip_state, "transformer", rows[: eot + 1], True, before, beside)
    return norm(clip_state, "ln_final", rows[eot + moved]) @ clip_state["text_projection"]


def image_rows(clip_state: dict[str, Tensor], image: Tensor) -> Rows:
    kernel, grid = clip_state["visual.conv1.weight"], 4
    patches = [
        (kernel * image[:, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]).sum((1, 2, 3))
        for y in range(grid)
        for x in range(grid)
    ]
    rows = [clip_state["visual.class_embedding"], *patches]
    return [
        row + place
        for row, place in zip(rows, clip_state["visual.positional_embedding"], strict=True)
    ]


def unchanged(_index: int, rows: Rows) -> Rows:
    return rows


def linear(layer: nn.Linear, row: Tensor) -> Tensor:
    return layer.weight @ row + layer.bias


def naive_coop(clip_state: dict[str, Tensor], model: nn.Module, prompts: Tensor) -> tuple:
    prompts = prompts.clone()
    prompts[:, 1:5] = model.prompt_learner.ctx
    return prompts, (unchanged, None, 0), ([], unchanged, None)


def naive_maple(clip_state: dict[str, Tensor], model: nn.Module, prompts: Tensor) -> tuple:
    learner, prompts = model.prompt_learner, prompts.clone()
    prompts[:, 1:3] = learner.ctx
    maps, deep = learner.compound_prompt_projections, learner.compound_prompts_text

    def text(index: int, rows: Rows) -> Rows:
        return rows if index == 0 else [rows[0], *deep[index - 1], *rows[3:]]

    def image(index: int, rows: Rows) -> Rows:
        return (
            rows
            if index == 0
            else [*rows[:-2], *(linear(maps[index - 1], row) for row in deep[index - 1])]
        )

    return (
        prompts,
        (text, None, 0),
        ([linear(learner.proj, row) for row in learner.ctx], image, None),
    )


def naive_mma(clip_state: dict[str, Tensor], model: nn.Module, prompts: Tensor) -> tuple:
    learner = model.adapter_learner

    def adapter(tower: nn.ModuleList, layer: int, row: Tensor) -> Tensor:
        if tower[layer] is None:
            return torch.zeros_like(row)
        low = linear(tower[layer].down[0], row).clamp(min=0)
        low = linear(learner.shared_adapter[layer][0], low).clamp(min=0)
        return learner.adapter_scale * linear(tower[layer].up, low)

    def text(index: int, row: Tensor) -> Tensor:
        return adapter(learner.text_adapter, index + 1, row)

    def image(index: int, row: Tensor) -> Tensor:
        return adapter(learner.visual_adapter, index + 1, row)

    prompts = torch.stack(
        [
            torch.stack([row + adapter(learner.text_adapter, 0, row) for row in prompt])
            for prompt in prompts
        ]
    )

    def first(index: int, rows: Rows) -> Rows:
        return (
            [row + adapter(learner.visual_adapter, 0, row) for row in rows] if index == 0 else rows
        )

    return prompts, (unchanged, text, 0), ([], first, image)


def naive_mmrl(clip_state: dict[str, Tensor], model: nn.Module, prompts: Tensor) -> tuple:
    learner = model.representation_learner

    def inserting(maps: nn.ModuleList) -> Before:
        def before(index: int, rows: Rows) -> Rows:
            if index == 0:  # layers 2 and 3 have tokens
                return rows
            fresh = [linear(maps[index - 1], token) for token in learner.compound_rep_tokens]
            return [rows[0], *fresh, *rows[1 if index == 1 else 5 :]]

        return before

    text, image = (
        inserting(learner.compound_rep_tokens_r2tproj),
        inserting(learner.compound_rep_tokens_r2vproj),
    )
    return prompts, (text, None, 4), ([], image, None)


NAIVE = {"coop": naive_coop, "maple": naive_maple, "mma": naive_mma, "mmrl": naive_mmrl}


def prompts_in_words(method: str) -> list[str]:
    words = "a photo of a {}, a type of pet." if method == "mmrl" else "a photo of a {}."
    return [words.format(name) for name in ("airplane", "ice cream cone", "dalmatian")]


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_features_and_logits_equal_the_slow_version(method: str, clip_file: Path) -> None:
    model = build_trainer(method, clip_file).model.eval()
    shake(model)
    image = batch(n=1)["img"]
    # the package rounds weights to half precision when it loads them
    clip = import_clip().model.build_model(load_clip_state_dict(clip_file)).float()
    clip_state = clip.state_dict()
    tokens = import_clip().tokenize(prompts_in_words(method))
    prompts, (enter, beside, moved), (extra, enter_image, beside_image) = NAIVE[method](
        clip_state, model, clip.token_embedding(tokens)
    )

    text = torch.stack(
        [
            text_feature(clip_state, prompt, ids, enter, beside, moved)
            for prompt, ids in zip(prompts, tokens, strict=True)
        ]
    )
    rows = [
        norm(clip_state, "visual.ln_pre", row)
        for row in [*image_rows(clip_state, image[0]), *extra]
    ]
    rows = transform(clip_state, "visual.transformer", rows, False, enter_image, beside_image)
    seen = norm(clip_state, "visual.ln_post", rows[0]) @ clip_state["visual.proj"]
    text = text / text.norm(dim=1, keepdim=True)
    output = model(image)
    if method != "mmrl":
        expected = 100.0 * text @ (seen / seen.norm())
        torch.testing.assert_close(output[0], expected, atol=2e-3, rtol=0)
        return
    n_rep = SETTINGS["mmrl"]["N_REP_TOKENS"]
    rep = sum(norm(clip_state, "visual.ln_post", row) for row in rows[1 : 1 + n_rep]) / n_rep
    rep = rep @ model.image_encoder.proj_rep
    logits, logits_rep = 100.0 * text @ (seen / seen.norm()), 100.0 * text @ (rep / rep.norm())
    for got, expected in zip(
        output[:3], (logits, logits_rep, 0.7 * logits + 0.3 * logits_rep), strict=True
    ):
        torch.testing.assert_close(got[0], expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(output[3][0], seen / seen.norm(), atol=2e-5, rtol=0)
    torch.testing.assert_close(output[4], text, atol=2e-5, rtol=0)

"""MMRL: tokens inserted behind the start token of both towers; two image features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract.base import HostContract, HostModel, bare_model
from loreal_plugin.contract.part_checks import PartCheck

_CACHES = (
    "text_features_for_inference",
    "compound_rep_tokens_text_for_inference",
    "compound_rep_tokens_visual_for_inference",
)


class MMRLContract(HostContract):
    """Source: yunncheng/MMRL, trainers/mmrl.py and clip/model_mmrl.py."""

    method = "mmrl"
    title = "MMRL"
    colour = "tab:red"
    trainer = "MMRL"
    loreal_trainer = "MMRL_LOREAL"
    module = "mmrl"
    cfg_node = "MMRL"
    learner = "representation_learner"
    checkpoint = "MultiModalRepresentationLearner"
    whole_model = True
    n_features = 2
    cli_defaults = {"TASK": "B2N"}
    layer_options = ("REP_LAYERS",)
    tiny_options = ("TRAINER.MMRL.REP_LAYERS", "[2, 3]", "TRAINER.MMRL.REP_DIM", "32")
    parts = {
        "representation tokens": "representation_learner.compound_rep_tokens",
        "projections to text": "representation_learner.compound_rep_tokens_r2tproj",
        "projections to images": "representation_learner.compound_rep_tokens_r2vproj",
        "projection of the representation feature": "image_encoder.proj_rep",
        "prompt embeddings": "prompt_embeddings",
        "weight of the class feature": "alpha",
        **{f"cache {name}": name for name in _CACHES},
    }

    def part_checks(self, trainer: Any) -> list[PartCheck]:
        """Return the common checks and one more: the listed layers exist in this backbone."""
        found = super().part_checks(trainer)
        if not all(check.ok for check in found):
            return found
        layers = _rep_layers(trainer.cfg)
        depth = len(bare_model(trainer).text_encoder.transformer.resblocks)
        # A shorter backbone than the recipe's is no error in the host: it silently inserts nothing.
        inside = bool(layers) and 1 <= min(layers) and max(layers) <= depth
        role = "layers with representation tokens"
        wanted = f"cfg.TRAINER.MMRL.REP_LAYERS within 1..{depth}"
        return [*found, PartCheck(role, wanted, str(layers), inside)]

    def prompt_template(self, cfg: Any) -> str:
        """Return the template of the dataset; where the host has none, CLIP's usual one."""
        tables = [
            vars(module).get("CUSTOM_TEMPLATES")
            for name, module in list(sys.modules.items())
            if name.startswith("trainers.")
        ]
        own = [table for table in tables if isinstance(table, dict) and cfg.DATASET.NAME in table]
        return own[0][cfg.DATASET.NAME] if own else "a photo of a {}."

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and the ids (C, L) of what stands in each row."""
        return model.prompt_embeddings, model.tokenized_prompts

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        rep_text, _ = model.representation_learner()
        with _masks_kept(model):
            return model.text_encoder(embeddings, tokens, rep_text)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the host's image features, not normalised, each (B, D_v)."""
        _, rep_visual = model.representation_learner()
        return tuple(model.image_encoder([images, rep_visual]))

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return `enter`: tokens come in at the first listed block, and the others replace them."""
        with torch.no_grad():
            rep_text = [rows.detach() for rows in model.representation_learner()[0]]
        # The host numbers blocks from 1 and takes the next token set at each listed block it
        # passes.
        layers = _rep_layers(cfg)
        rows_by_layer = dict(zip((layer - 1 for layer in sorted(layers)), rep_text, strict=True))
        first = min(rows_by_layer)

        def enter(layer_index: int, x: Tensor) -> Tensor:
            if layer_index not in rows_by_layer:
                return x
            rows = rows_by_layer[layer_index].to(x.dtype)
            rows = rows.expand(x.shape[0], -1, -1)  # (N, n_rep, D_t)
            # The first listed block inserts tokens; a later one replaces those that came in.
            rest = 1 if layer_index == first else 1 + rows.shape[1]
            return torch.cat([x[:, :1], rows, x[:, rest:]], dim=1)

        return {"enter": enter}

    def patch_rows(self, rows: Tensor, n_patches: int) -> Tensor:
        """Return the patch tokens (B, n_patches, D): behind the representation tokens."""
        return rows[-n_patches:].transpose(0, 1)

    def fusion_weight(self, model: HostModel) -> float:
        """Return the weight of the class feature's logits; the other feature has the rest."""
        return float(model.alpha)

    def logit_scale(self, model: HostModel) -> Tensor | float:
        """Return the factor of the cosines."""
        return 100.0  # a literal in the host's forward

    def use_fusion(self, cfg: Any, training: bool = False) -> bool:
        """Return whether both image features count: always in training, at test by the task."""
        if training or cfg.TASK == "FS":
            return True
        if cfg.TASK == "B2N":
            return cfg.DATASET.SUBSAMPLE_CLASSES == "base"
        return cfg.DATASET.NAME == "ImageNet"

    def reset(self, model: HostModel) -> None:
        """Forget kept features and tokens; attention masks get their own size back."""
        for name in _CACHES:
            setattr(model, name, None)
        length = model.text_encoder.positional_embedding.shape[0]
        for block in model.text_encoder.transformer.resblocks:
            mask = getattr(block, "attn_mask", None)
            if mask is not None and mask.shape[-1] != length:
                block.attn_mask = torch.full((length, length), float("-inf")).triu_(1).to(mask)


def _rep_layers(cfg: Any) -> list[int]:
    """Return the numbers (from 1) of the text blocks that take representation tokens."""
    return [int(layer) for layer in cfg.TRAINER.MMRL.REP_LAYERS]


@contextmanager
def _masks_kept(model: HostModel) -> Iterator[None]:
    """Put each text block's attention mask back: the host leaves them enlarged by its tokens."""
    blocks = [
        block for block in model.text_encoder.transformer.resblocks if hasattr(block, "attn_mask")
    ]
    before = [block.attn_mask for block in blocks]
    try:
        yield
    finally:
        for block, mask in zip(blocks, before, strict=True):
            block.attn_mask = mask

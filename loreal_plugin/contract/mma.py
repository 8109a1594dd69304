"""MMA: adapters beside the blocks of both towers, partly shared; fixed prompts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from loreal_plugin.contract.base import HostContract, HostModel
from loreal_plugin.contract.facts import context_template


class MMAContract(HostContract):
    """Source: ZjjConan/VLM-MultiModalAdapter, trainers/mmadapter.py and clip/model.py.

    `adapter_func(0)` belongs to the embeddings, `adapter_func(i)` to the i-th block; each answers
    with (adapter or None, shared adapter or None, scale).
    """

    method = "mma"
    title = "MMA"
    colour = "tab:purple"
    trainer = "MultiModalAdapter"
    loreal_trainer = "MMA_LOREAL"
    module = "mmadapter"
    cfg_node = "MMADAPTER"
    learner = "adapter_learner"
    checkpoint = "adapter_learner"
    layer_options = ("ADAPTER_START", "ADAPTER_END")
    tiny_options = (
        *("TRAINER.MMADAPTER.ADAPTER_START", "2"),
        *("TRAINER.MMADAPTER.ADAPTER_END", "3"),
    )
    parts = {
        "text adapters": "adapter_learner.text_adapter",
        "visual adapters": "adapter_learner.visual_adapter",
        "shared adapters": "adapter_learner.shared_adapter",
        "look-up of text adapters": "adapter_learner.text_adapter_func",
        "cached text features": "text_features_for_inference",
        "logit scale": "logit_scale",
    }

    def prompt_template(self, cfg: Any) -> str:
        """Return the text of the prompts: fixed words, no learned context."""
        return context_template(cfg.TRAINER[self.cfg_node].get("TEXT_CTX_INIT", ""), 0)

    def prompt_rows(self, model: HostModel) -> tuple[Tensor, Tensor]:
        """Return the prompts (C, L, D_t) and the ids (C, L) of what stands in each row."""
        return model.adapter_learner()[0], model.tokenized_prompts

    def embed_contents(self, model: HostModel, rows: Tensor) -> Tensor:
        """Return rows (..., D_t) as the adapter of the embedding layer makes them."""
        change = _adapt(model.adapter_learner.text_adapter_func(0), rows)
        return rows if change is None else rows + change

    def encode_text(self, model: HostModel, embeddings: Tensor, tokens: Tensor) -> Tensor:
        """Return text features (N, D_v) of the host's own text encoder."""
        return model.text_encoder(embeddings, tokens, model.adapter_learner.text_adapter_func)

    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return the host's image features, not normalised, each (B, D_v)."""
        return (model.image_encoder([images, model.adapter_learner.visual_adapter_func]),)

    def block_parts(self, model: HostModel, cfg: Any) -> dict[str, Any]:
        """Return `branch`: the adapter beside each block."""
        look_up = model.adapter_learner.text_adapter_func
        layers = list(model.text_encoder.transformer.resblocks)

        def branch(layer_index: int, x: Tensor) -> Tensor | None:
            # The host also scales gradients on the way in and back out; for inputs the two cancel.
            answer = look_up(layer_index + 1)
            return None if answer[0] is None else _adapt(answer, layers[layer_index].ln_1(x))

        return {
            "branch": branch,
            "embed_contents": lambda rows: self.embed_contents(model, rows),
        }

    def reset(self, model: HostModel) -> None:
        """Forget the text features kept for inference."""
        model.text_features_for_inference = None


def _adapt(answer: tuple[HostModel, HostModel, float], x: Tensor) -> Tensor | None:
    """Return scale * up(shared(down(x))), or None where the layer has no adapter."""
    adapter, shared, scale = answer
    if adapter is None:
        return None
    hidden = adapter.down(x)
    if shared is not None:
        hidden = shared(hidden)
    return adapter.up(hidden) * scale

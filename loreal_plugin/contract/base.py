"""The host contract: the questions the plug-in asks of a host's prompt learner, one class a method.

What a row says before a model is built is in `facts.py`, its prompts and text encoder in `text.py`.

Shapes: B images, C classes, F features per image, D_v joint embedding width.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loreal_plugin.contract.facts import is_named
from loreal_plugin.contract.image_tower import ImageTower, clip_image_tower, is_vision_transformer
from loreal_plugin.contract.part_checks import (
    COMMON_PARTS,
    PartCheck,
    attribute_check,
    raise_for_missing,
)
from loreal_plugin.contract.text import HostModel, HostText
from loreal_plugin.errors import ConfigError, HostError, unknown_name

# Values of MMRL_CONDITION.
CONDITIONS = ("class", "fusion", "fusion_raw")


class HostContract(HostText):
    """What the plug-in knows about one method's host trainer; the only place with attribute names.

    A contract holds no state: every method takes the model that the host built.
    """

    # ---- what is looked for ----------------------------------------------------------------------

    def part_checks(self, trainer: Any) -> list[PartCheck]:
        """Return one check for each part that the methods below use of a built host trainer."""
        models = getattr(trainer, "_models", {})
        shown = ", ".join(models) or "none"
        registered = PartCheck(
            "registered model", self.checkpoint, shown, self.checkpoint in models
        )
        model = bare_model(trainer)
        if model is None:
            return [registered, PartCheck("model", "trainer.model", "none", False)]
        looked_for = {"prompt learner": (self.learner, nn.Module), **COMMON_PARTS}
        looked_for |= {role: (path, None) for role, path in self.parts.items()}
        looked_for |= {f"unused {name}": (name, None) for name in self.unused}
        found = [attribute_check(role, model, *wanted) for role, wanted in looked_for.items()]
        return [registered, *found]

    def check(self, trainer: Any, where: str) -> None:
        """Check a built host trainer.

        Raises:
            HostError: one line that lists every part that is missing or of another kind.
        """
        advice = f"is this a checkout with the {self.trainer} trainer? see docs/HOSTS.md"
        raise_for_missing(self.part_checks(trainer), f"{where}: trainer {self.trainer}", advice)

    # ---- what the host trains --------------------------------------------------------------------

    def learned(self, model: HostModel) -> dict[str, nn.Parameter]:
        """Return what the host trains, by name in `model`; ask before anything is frozen."""
        return {name: value for name, value in model.named_parameters() if value.requires_grad}

    def checkpoint_key(self, name: str) -> str:
        """Return the key of a parameter of the model in the host's checkpoint."""
        return name if self.whole_model else name.removeprefix(f"{self.learner}.")

    def unused_tensors(self, model: HostModel) -> dict[str, Tensor]:
        """Return the tensors that `unused` names, by name in `model`."""
        whole = [*model.named_parameters(), *model.named_buffers()]
        return {name: value for name, value in whole if is_named(name, self.unused)}

    def own(self, model: HostModel) -> Any:
        """Return the host's prompt learner."""
        return getattr(model, self.learner)

    def image_position_names(self, model: HostModel) -> tuple[str, ...]:
        """Return the names of the CLIP tensors that depend on the input size.

        There is one for every vision transformer in the model, a frozen second one included.
        """
        return tuple(
            f"{name}.positional_embedding"
            for name, module in model.named_modules()
            if is_vision_transformer(module)
        )

    # ---- images and logits -----------------------------------------------------------------------

    def image_attention(self, model: HostModel) -> list[nn.MultiheadAttention]:
        """Return the attention of each block of the image tower, first block first.

        Raises:
            HostError: a block has none that torch's attention weights can be read from.
        """
        encoder = getattr(model, "image_encoder", None)
        blocks = getattr(getattr(encoder, "transformer", None), "resblocks", ())
        found = [getattr(block, "attn", None) for block in blocks]
        usable = [one for one in found if isinstance(one, nn.MultiheadAttention)]
        if not found or len(usable) < len(found):
            kinds = ", ".join(sorted({type(one).__name__ for one in found})) or "no blocks"
            raise HostError(
                f"{self.trainer}: attention was looked for in"
                f" image_encoder.transformer.resblocks.*.attn, found {kinds}; only CLIP's vision"
                " transformers can be looked into"
            )
        return usable

    def image_tower(self, model: HostModel) -> ImageTower:
        """Return which tensors of the image encoder can be adapted; HostError: it is no ViT."""
        return clip_image_tower(model, self.trainer)

    def patch_rows(self, rows: Tensor, n_patches: int) -> Tensor:
        """Return the patch tokens (B, n_patches, D) among the rows (T, B, D) of a block.

        The class token comes first; learned rows come last.
        """
        return rows[1 : 1 + n_patches].transpose(0, 1)

    @abstractmethod
    def image_features(self, model: HostModel, images: Tensor) -> tuple[Tensor, ...]:
        """Return F image features (B, D_v) of images (B, 3, H, W), unnormalised."""

    def encode_image(self, model: HostModel, images: Tensor) -> Tensor:
        """Return L2-normalised image features (B, F, D_v)."""
        features = self.image_features(model, images.type(model.dtype))
        return F.normalize(torch.stack(features, dim=1), dim=-1)

    def condition(self, model: HostModel, features: Tensor, mode: str = "class") -> Tensor:
        """Return the one vector (B, D_v) that the meta-nets read of `features` (B, F, D_v).

        `mode` is `class`: the class feature; `fusion`: the features, mixed as the host does, and
        normalised again; or `fusion_raw`: mixed alone, so shorter where they differ (the authors'
        code). With one feature all are the same.

        Raises:
            ConfigError: another mode.
        """
        if mode not in CONDITIONS:
            raise ConfigError(unknown_name("MMRL_CONDITION", mode, CONDITIONS))
        if mode == "class" or features.shape[1] == 1:
            return features[:, 0]
        weight = self.fusion_weight(model)
        mixed = weight * features[:, 0] + (1 - weight) * features[:, 1]
        return F.normalize(mixed, dim=-1) if mode == "fusion" else mixed

    def fusion_weight(self, model: HostModel) -> float:
        """Return the share of the class feature where two features are mixed."""
        return 1.0

    def logit_scale(self, model: HostModel) -> Tensor | float:
        """Return the factor between cosine similarity and logit."""
        return model.logit_scale.exp().detach()

    def logits(
        self, model: HostModel, features: Tensor, text_features: Tensor, fusion: bool = False
    ) -> Tensor:
        """Return scaled logits (B, C) of image features against text features.

        Args:
            features: (B, F, D_v), L2-normalised.
            text_features: (C, D_v), the same for every image, or (B, C, D_v); normalised here.
            fusion: whether the host's mix of several features is asked for.
        """
        text = F.normalize(text_features, dim=-1)
        scaled = self.logit_scale(model) * features
        per_feature = [_similarity(scaled[:, index], text) for index in range(features.shape[1])]
        if not fusion or len(per_feature) == 1:
            return per_feature[0]
        weight = self.fusion_weight(model)
        return weight * per_feature[0] + (1 - weight) * per_feature[1]

    def reset(self, model: HostModel) -> None:
        """Drop what the host remembers between forwards: cached text features, enlarged masks."""
        return None


def bare_model(trainer: Any) -> Any:
    """Return `trainer.model` without the wrapper for several GPUs; None if there is none."""
    model = getattr(trainer, "model", None)
    return model.module if isinstance(model, nn.DataParallel) else model


def _similarity(features: Tensor, text: Tensor) -> Tensor:
    """Return (B, C) dot products of (B, D_v) with (C, D_v) or (B, C, D_v)."""
    if text.dim() == 2:
        return features @ text.t()
    return torch.einsum("bd,bcd->bc", features, text)

"""Stand-in for the public PromptSRC: IVLP held to a frozen second image encoder, weights averaged.

The frozen encoder lies inside the prompt learner. After each epoch the learned tensors are added to
a weighted sum, which no checkpoint holds; the last epoch ends with that sum.
"""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY
from torch import Tensor
from torch.nn import functional as F
from trainers._clip import load_clip_to_cpu
from trainers._encoders import unit

from trainers import independentVL


class CustomCLIP(independentVL.CustomCLIP):
    """IVLP's model with the image encoder of another CLIP beside its own."""

    def __init__(self, options, classnames, clip_model, frozen):
        super().__init__(options, classnames, clip_model)
        self.prompt_learner.ZS_image_encoder = frozen.visual

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (B, C), in training mode the loss."""
        loss = super().forward(image, label)
        if not self.prompt_learner.training:
            return loss
        image = image.type(self.dtype)
        with torch.no_grad():
            frozen = unit(self.prompt_learner.ZS_image_encoder(image))
        return loss + F.l1_loss(unit(self.image_encoder(image)), frozen)


@TRAINER_REGISTRY.register()
class PromptSRC(independentVL.IVLP):
    """Trains context and rows as IVLP does, and ends with their mean over the epochs."""

    node = "PROMPTSRC"

    def load_clip(self):
        """Return CLIP from this module's `load_clip_to_cpu`."""
        return load_clip_to_cpu(self.cfg)

    def create_model(self, classnames, clip_model):
        """Return the model; nothing of the second CLIP trains."""
        frozen = load_clip_to_cpu(self.cfg).type(clip_model.dtype).requires_grad_(False)
        return CustomCLIP(self.cfg.TRAINER.PROMPTSRC, classnames, clip_model, frozen)

    def build_model(self):
        """Build the model; nothing has been summed up."""
        super().build_model()
        self.previous_model_gpa, self.step_counter = None, 1

    @torch.no_grad()
    def forward_backward(self, batch):
        """Train on one batch; after the last one of an epoch take its weights into the sum."""
        with torch.enable_grad():
            shown = super().forward_backward(batch)
        if self.batch_idx + 1 == self.num_batches:
            self.step_counter += 1
            learned = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
            before = self.previous_model_gpa or dict.fromkeys(learned, 0.0)
            self.previous_model_gpa = {
                name: before[name] + value / self.max_epoch for name, value in learned.items()
            }
            if self.step_counter == self.max_epoch + 1:
                for name, value in learned.items():
                    value.copy_(self.previous_model_gpa[name])
        return shown

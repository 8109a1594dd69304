"""One step of stage 3 as tests compare it."""

from __future__ import annotations

import torch


def first_step(trainer) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of a first batch and the gradient of the meta-nets."""
    trainer.num_batches, trainer.batch_idx, trainer.epoch, trainer.max_epoch = 4, 0, 0, 2
    trainer.train_loader_x.set_epoch(0)
    [mean.restart() for mean in trainer.stage3.means]
    alpha, beta, labels = trainer.parse_batch_train(next(iter(trainer.train_loader_x)))
    losses, _ = trainer.model.losses(alpha, beta, labels, 0.7)
    losses["loss"].backward()
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.meta_nets.parameters()])
    return torch.stack([value.detach() for value in losses.values()]), gradient

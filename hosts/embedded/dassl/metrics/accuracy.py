"""Top-k accuracy of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch


@torch.no_grad()
def compute_accuracy(
    output: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor, topk: Sequence[int] = (1,)
) -> list[torch.Tensor]:
    """Return the accuracy in percent, one tensor of shape (1,) for each k.

    `output` are logits (B, C), or a tuple whose first member they are; `target` are labels (B,).
    """
    logits = output[0] if isinstance(output, (tuple, list)) else output
    ranked = logits.topk(max(topk), dim=1).indices  # (B, max k)
    hits = ranked == target.view(-1, 1)
    return [
        hits[:, :k].any(dim=1).float().sum(0, keepdim=True) * (100.0 / target.shape[0])
        for k in topk
    ]

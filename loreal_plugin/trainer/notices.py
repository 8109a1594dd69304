"""What a run says about itself once, beside Dassl's own lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.contract.text import name_ids, text_ids
from loreal_plugin.demo.weights import DEMO_WEIGHTS, untrained_tokens
from loreal_plugin.method.loreal import Loreal


def untrained_note(
    backbone: str, tokenize: Callable[..., Tensor], words: Sequence[Any], classnames: Sequence[str]
) -> str:
    """Return how many tokens in use a demonstration CLIP has never seen; "" where there is none.

    Args:
        words: K attributes, or K for every class.
    """
    if backbone not in DEMO_WEIGHTS:
        return ""
    attributes = [a for word in words for a in ([word] if isinstance(word, str) else word)]
    used = {i for name in classnames for i in name_ids(name, tokenize)}
    used |= {i for text in attributes for i in text_ids(text, tokenize)}
    untrained = untrained_tokens(used, backbone)
    if not untrained:
        return ""
    return (
        f"Weights {backbone!r}: {len(untrained)} of {len(used)} tokens of class names and"
        " attributes are untrained; accuracy on them means nothing."
    )


def report_parameters(model: Loreal, optimizer: torch.optim.Optimizer) -> None:
    """Print what trains, after a check that it is the meta-nets and nothing else."""
    nets, students = model.meta_nets, [s for s in (model.alpha, model.beta) if s is not None]
    expected = {id(p) for p in nets.parameters()}
    optimised = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in optimised} == expected, (
        "the optimiser holds other tensors than the meta-nets"
    )
    frozen = [p for student in students for p in student.model.parameters()]
    assert not any(p.requires_grad or id(p) in expected for p in frozen), "a student would train"
    count, host = nets.count_parameters(), sum(p.numel() for p in model.beta.learned.values())
    k = len(nets.meta_nets)
    print(f"Parameters that train: {count:,} in {len(expected)} tensors (meta-nets, K={k})")
    both = f"host {host:,} + meta-nets {count:,}"
    print(f"Tunable parameters of the method: {host + count:,} ({both})")

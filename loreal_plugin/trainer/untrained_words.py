"""What a run says about itself once, beside Dassl's own lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from loreal_plugin.contract.tokens import name_ids, text_ids
from loreal_plugin.demo.weights import DEMO_WEIGHTS, untrained_tokens


def warn_untrained_tokens(
    backbone: str, tokenize: Callable[..., Tensor], words: Sequence[Any], classnames: Sequence[str]
) -> None:
    """Warn once how many tokens in use a demonstration CLIP has never seen; other backbones saw
    them all.

    Args:
        words: K attributes, or K for every class.
    """
    if backbone not in DEMO_WEIGHTS:
        return
    attributes = [
        a for of_class in words for a in ([of_class] if isinstance(of_class, str) else of_class)
    ]
    used: dict[int, None] = {}
    for name in classnames:
        used |= dict.fromkeys(name_ids(name, tokenize))
    for text in attributes:
        used |= dict.fromkeys(text_ids(text, tokenize))
    untrained = untrained_tokens(used, backbone)
    if untrained:
        warnings.warn(
            f"backbone {backbone!r}: {len(untrained)} of {len(used)} tokens of class names and"
            " attributes are untrained; accuracy on them means nothing",
            stacklevel=2,
        )

"""From a model's inference mode to a head: tensors that turn features into logits.

Shapes: C classes, F features an image, D_v width, H activations, R directions, T terms.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from loreal_plugin.edge.head import MODES, Head
from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.inference.modes import Mode


@torch.no_grad()
def head_of(deployed: Deployed) -> Head:
    """Return the head of a model that predicts in the mode `static` or `tangent`.

    Raises:
        ConfigError: it predicts in another mode, which needs the text encoder for every picture.
    """
    mode = deployed.mode
    if mode is None or mode.mode not in MODES:
        raise ConfigError(
            f"INFERENCE {deployed.inference} cannot be exported: it runs the text encoder for every"
            f" picture; choose --mode {' or '.join(MODES)}"
        )
    beta = deployed.beta
    text = mode.static_text() if mode.mode == "static" else _expansion_base(mode)
    weights = fusion_weights(deployed, len(text))
    if mode.mode == "static":
        tensors = {"text": _numpy(F.normalize(text.float(), dim=-1)), "weights": weights}
    else:
        tensors = _tangent(deployed, mode) | {"weights": weights}
    scale = float(beta.contract.logit_scale(beta.model))
    key = str(deployed.facts["key"])
    return Head(tuple(deployed.classnames), mode.mode, scale, key, tensors)


def fusion_weights(deployed: Deployed, n_classes: int, fusion: bool | None = None) -> np.ndarray:
    """Return how much each feature counts for a class, (C, F).

    Args:
        fusion: whether the host's mix of features counts; None: as in the model.
    """
    fusion = deployed.model.fusion if fusion is None else fusion
    beta, count = deployed.beta, deployed.beta.contract.n_features
    share = beta.contract.fusion_weight(beta.model)
    row = [1.0] + [0.0] * (count - 1)
    if fusion and count > 1:
        row[:2] = [share, 1 - share]
    return np.tile(np.array(row, np.float32), (n_classes, 1))


def _expansion_base(mode: Mode) -> Tensor:
    assert mode.expansion is not None, "tangent is built with an expansion"
    return mode.expansion.base


def _tangent(deployed: Deployed, mode: Mode) -> dict[str, np.ndarray]:
    series, nets = mode.expansion, deployed.model.meta_nets
    assert series is not None, "tangent is built with an expansion"
    d = series.directions
    pairs = torch.triu_indices(d.n_products, d.n_products) if d.n_products else torch.zeros(2, 0)
    stacked = [[getattr(net.down, name) for net in nets.meta_nets] for name in ("weight", "bias")]
    down = torch.cat(stacked[0]).float()  # (H, D_v)
    bias = torch.zeros(len(down)) if stacked[1][0] is None else torch.cat(stacked[1]).float()
    basis = d.basis.double() / d.spread.double()
    found = {
        "mix": torch.tensor(_mix(deployed)),
        "down": down.t(),
        "bias": bias,
        "basis": basis.float(),
        "shift": (d.mean.double() @ basis).float(),
        "pairs": pairs.long(),
        "base": series.base.float(),
        "table": series.table.float(),
    }
    return {name: _numpy(value) for name, value in found.items()}


def _mix(deployed: Deployed) -> list[float]:
    """Return the weights (F,) of the features in what the meta-nets read."""
    beta, count = deployed.beta, deployed.beta.contract.n_features
    share = beta.contract.fusion_weight(beta.model)
    if count > 1 and beta.condition_on == "fusion":
        return [share, 1 - share] + [0.0] * (count - 2)
    return [1.0] + [0.0] * (count - 1)


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().cpu().contiguous().numpy()

"""Layer 1, the method: meta-nets, slots, losses, bridge. Tensors only; knows no host and no files."""

from loreal_plugin.method.bridge import BRIDGES, MIX_ALPHAS, condition_inputs, mix_weight
from loreal_plugin.method.correction import (
    DRIFTS,
    Drift,
    choose_ridge_penalty,
    drift_from_tensors,
    fit_drift,
    fit_mean_shift,
    fit_ridge,
)
from loreal_plugin.method.losses import (
    HLD_DIRECTIONS,
    high_level_distillation,
    loreal_loss,
    low_level_distillation,
)
from loreal_plugin.method.meta_nets import META_INITS, MetaNet, MetaNets, init_meta_nets_
from loreal_plugin.method.slots import (
    SLOT_ORDERS,
    SplicedPrompts,
    check_length,
    class_index,
    materialise,
    slot_length,
    splice_slots,
)

__all__ = [
    "BRIDGES",
    "DRIFTS",
    "HLD_DIRECTIONS",
    "META_INITS",
    "MIX_ALPHAS",
    "SLOT_ORDERS",
    "Drift",
    "MetaNet",
    "MetaNets",
    "SplicedPrompts",
    "check_length",
    "choose_ridge_penalty",
    "class_index",
    "condition_inputs",
    "drift_from_tensors",
    "fit_drift",
    "fit_mean_shift",
    "fit_ridge",
    "high_level_distillation",
    "init_meta_nets_",
    "loreal_loss",
    "low_level_distillation",
    "materialise",
    "mix_weight",
    "slot_length",
    "splice_slots",
]

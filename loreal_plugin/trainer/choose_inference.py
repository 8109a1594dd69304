"""The end of stage 3: which inference mode its tests, and all later predictions, use."""

from __future__ import annotations

from dataclasses import replace

import torch

from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.choose import VIEWS, choose_mode, write_chosen
from loreal_plugin.inference.modes import check_inference
from loreal_plugin.inference_modes import CALIBRATED
from loreal_plugin.trainer.held_out import held_out
from loreal_plugin.trainer.stage3 import Stage3


def choose_inference(stage3: Stage3, device: torch.device) -> None:
    """Choose what INFERENCE `calibrated` stands for, on held-out views, and keep it.

    Nothing is chosen where another mode is asked for, or where none but `exact` is possible.

    Raises:
        LorealError: the choice cannot be written.
    """
    options = stage3.options
    try:
        check_inference(stage3.contract, replace(options, inference="static"))
    except ConfigError:
        return
    if options.inference != CALIBRATED:
        return
    views = held_out(stage3.dataset, stage3.cfg, stage3.data.seed)
    features, _, where = views.embed(stage3.model, VIEWS)
    modes = stage3.modes(device)
    chosen = choose_mode(modes, options, features, where)
    write_chosen(modes, options, chosen)
    print(chosen.text())

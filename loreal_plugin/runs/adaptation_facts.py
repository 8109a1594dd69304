"""What an adaptation of a plan depends on: its settings, its teacher, its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loreal_plugin.adapt.pictures import SHOTS, unlabelled_pictures
from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.config import method_settings
from loreal_plugin.contract import HostContract
from loreal_plugin.options import (
    LorealOptions,
    changed_positions,
    position_resampling,
    resolve_options,
)
from loreal_plugin.runs.plan import Plan
from loreal_plugin.students.views import build_recipe


def facts_of_adaptation(row: HostContract, plan: Plan, cfg: Any) -> dict[str, Any]:
    """Return what configuration and plan say of an adaptation, in JSON's types.

    Where the method learns nothing of the image side, the teacher is CLIP: no setting of the
    method counts.

    Args:
        cfg: of the stage `adapt`.
    """
    options = resolve_options(cfg.TRAINER.LOREAL)
    epoch = options.alpha_epoch if row.learns_images else 0
    # of a method that learns of the image side this is among its settings
    half = not row.learns_images and cfg.TRAINER[row.cfg_node].get("PREC") == "fp16"
    return {
        "settings": AdaptSettings.of(options, cfg.SEED).facts(),
        "phi": plan.spec.phi,
        **changed_positions(position_resampling(cfg)),
        "native_size": plan.native_size,
        "recipe": build_recipe(cfg).fingerprint(),
        "method": row.method if row.learns_images else "CLIP",
        "host_settings": method_settings(cfg, row.counted_node) if row.learns_images else {},
        # keys of full precision and of stage 1's last epoch are those of before these were asked
        **({"alpha_epoch": epoch} if epoch else {}),
        **({"half": True} if half else {}),
    }


def other_pictures(options: LorealOptions) -> list[str] | None:
    """Return the pictures of ADAPT_PICTURES, None where they are the few shots.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    if options.adapt_pictures == SHOTS:
        return None
    return [str(path) for path in unlabelled_pictures(Path(options.adapt_pictures))]

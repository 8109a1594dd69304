"""How a finished stage 3 predicts, for its keys and records: the mode, and why it is that one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loreal_plugin.files import read_checked, read_json
from loreal_plugin.inference.builder import CALIBRATION, chosen_file, mode_settings
from loreal_plugin.inference.choose import Chosen, chosen_from, resolve_calibrated
from loreal_plugin.inference.table_store import FOLDER
from loreal_plugin.inference_modes import CALIBRATED, MODES
from loreal_plugin.options import INFERENCE_ONLY, LorealOptions, options_dict
from loreal_plugin.trainer.checkpoint import NAME


def mode_facts(options: LorealOptions, folder: Path) -> dict[str, Any] | None:
    """Return all that can change a prediction after training; None where it is exact.

    Args:
        options: of the stage.
        folder: of the stage.
    """
    tables, chosen = folder / NAME / FOLDER, None
    if options.inference == CALIBRATED:
        chosen = _chosen(tables / chosen_file(options), options)
        options = resolve_calibrated(options, chosen)
    if options.inference == "exact":
        return None
    found = {key: value for key, value in options_dict(options).items() if key in INFERENCE_ONLY}
    if chosen is not None:
        found["chosen"] = {"agreement": chosen.agreement, "views": chosen.views}
    elif MODES[options.inference].needs_margin and options.auto_margin < 0:
        found["calibration"] = (read_json(tables / CALIBRATION) or {}).get("margin")
    return found


def _chosen(path: Path, options: LorealOptions) -> Chosen | None:
    """Return what was chosen at the end of stage 3, if it was with these settings of the modes."""
    found, _ = read_checked(path)
    same = mode_settings(options).items() <= (found.get("belongs_to") or {}).items()
    return chosen_from(found) if same else None

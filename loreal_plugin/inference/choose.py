"""The cheapest inference mode that agrees with `exact` on held-out views: INFERENCE `calibrated`.

It is chosen once, at the end of stage 3, and kept beside the tables. The order of cost is fixed:
`static` makes its text features once; `tangent` adds up terms for each image; `auto` runs the text
encoder for images whose classes are close. So the choice depends on no clock.

Shapes: N held-out views, C classes, F features a view, D_v width.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.files import read_checked, write_checked
from loreal_plugin.inference.agreement import choose_margin, in_batches
from loreal_plugin.inference.builder import ModeBuilder, chosen_file
from loreal_plugin.inference.modes import Mode
from loreal_plugin.options import LorealOptions
from loreal_plugin.plain_output import Say

TARGET, VIEWS, BATCH = 0.995, 400, 32
CHEAPEST_FIRST = ("static", "tangent", "auto")
_SECONDS_BETWEEN_LINES = 5.0  # of progress


@dataclass(frozen=True)
class Chosen:
    """A mode, and why.

    Attributes:
        mode: `exact` where none of the others agrees often enough.
        margin: threshold of `auto` in logits; None for other modes.
        agreement: percent of the views whose class is that of `exact`.
        views: how many there were.
        where: what they are.
        tried: agreement by mode, the cheapest first.
    """

    mode: str
    margin: float | None
    agreement: float
    views: int
    where: str
    tried: Mapping[str, float]

    def text(self) -> str:
        """Return one line."""
        return (
            f"LOREAL predicts in mode '{self.mode}': the class of 'exact' on {self.agreement:.2f} %"
            f" of {self.views} held-out views"
        )


def choose_mode(
    builder: ModeBuilder,
    options: LorealOptions,
    features: Tensor,
    where: str,
    *,
    target: float = TARGET,
    say: Say = print,
) -> Chosen:
    """Return the cheapest mode that agrees often enough.

    Args:
        features: (N, F, D_v) of views that no training saw.
        where: what they are, in words.
        target: share of views whose class has to be that of `exact`, in (0, 1].
    """
    exact = _exact(builder.mode(replace(options, inference="exact")), features, say)
    tried: dict[str, float] = {}
    for name in CHEAPEST_FIRST:
        of_mode, margin = replace(options, inference=name), None
        if name == "auto":
            first = builder.mode(of_mode, margin=0.0).first
            logits = in_batches(first, features, BATCH)
            margin, _ = choose_margin(logits, exact, options.shortlist_k, target)
        logits = in_batches(builder.mode(of_mode, margin=margin), features, BATCH)
        agreed = int((logits.argmax(1) == exact.argmax(1)).sum())
        tried[name] = 100 * agreed / len(features)
        # Counts are compared: a share may be rounded to just below the target.
        if agreed >= target * len(features) - 1e-9:
            return Chosen(name, margin, tried[name], len(features), where, tried)
    return Chosen("exact", None, 100.0, len(features), where, tried)


@torch.no_grad()
def _exact(mode: Mode, features: Tensor, say: Say) -> Tensor:
    """Return exact logits (N, C), with a line of progress now and then."""
    parts, done, last_line = [], 0, time.monotonic()
    for part in features.split(BATCH):
        parts.append(mode(part).cpu())
        done += len(part)
        if time.monotonic() - last_line > _SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            say(f"LOREAL calibrates: {done} of {len(features)} held-out views")
    return torch.cat(parts)


def write_chosen(builder: ModeBuilder, options: LorealOptions, chosen: Chosen) -> None:
    """Write a choice beside the tables.

    Raises:
        LorealError: the folder cannot be written.
    """
    facts = asdict(chosen) | {"belongs_to": builder.calibration_owner(options)}
    write_checked(builder.store.folder / chosen_file(options), facts)


def chosen_from(found: Mapping[str, Any]) -> Chosen | None:
    """Return the choice that a file holds, None for none."""
    names = [field.name for field in dataclasses.fields(Chosen)]
    return Chosen(**{name: found[name] for name in names}) if set(names) <= found.keys() else None


def read_chosen(builder: ModeBuilder, options: LorealOptions) -> Chosen | None:
    """Return the choice that was made for this model and these settings, None for none."""
    found, _ = read_checked(builder.store.folder / chosen_file(options))
    if found.get("belongs_to") != builder.calibration_owner(options):
        return None
    return chosen_from(found)


def resolve_calibrated(options: LorealOptions, chosen: Chosen | None) -> LorealOptions:
    """Return options with the mode that `calibrated` stands for: `exact` where none was chosen."""
    if chosen is None:
        return replace(options, inference="exact")
    margin = chosen.margin if chosen.margin is not None else options.auto_margin
    return replace(options, inference=chosen.mode, auto_margin=margin)

"""The inference modes, one row each: what the option, the predictor and `calibrate` know of a mode.

How a mode computes its logits stands in `inference/modes.py`, where its tables come from in
`inference/builder.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InferenceMode:
    """One choice of the key INFERENCE.

    Attributes:
        help: its part of the option's help; "" where the name says it.
        needs_text: a prediction runs the text encoder; else tables hold all text features.
        refines: mode whose logits come first; this one runs the leading classes of them exactly.
        needs_margin: it runs only classes within a margin of the highest logit.
        compared: lines of `calibrate` in which the mode stands, as title -> other options by field
            name. A title may hold options, as in "{shortlist_k}". None: one line, the mode's name.
    """

    help: str = ""
    needs_text: bool = True
    refines: str = ""
    needs_margin: bool = False
    compared: Mapping[str, Mapping[str, Any]] | None = field(default=None, repr=False)


MODES: dict[str, InferenceMode] = {
    "exact": InferenceMode(),
    "shortlist": InferenceMode(
        "exact for the leading classes of `static`",
        refines="static",
        compared={"shortlist of {shortlist_k}": {}},
    ),
    "tangent": InferenceMode(
        "a series around the training mean, no text encoder",
        needs_text=False,
        compared={
            "tangent jacobian": {"tangent_kind": "jacobian"},
            "tangent fitted": {"tangent_kind": "fitted"},
        },
    ),
    "auto": InferenceMode(
        "`tangent`, exact where classes are close", refines="tangent", needs_margin=True
    ),
    "static": InferenceMode("the training mean's", needs_text=False),
}

# The value of INFERENCE for the cheapest of these modes that gives the classes of `exact`.
CALIBRATED = "calibrated"
CHOICES = (CALIBRATED, *MODES)


def first_pass(name: str) -> str:
    """Return the mode whose logits of all classes come first in a mode; often the mode itself."""
    return MODES[name].refines or name


def modes_help() -> str:
    """Return what each mode does, for the help of the key INFERENCE."""
    parts = [f"`{CALIBRATED}`: the cheapest that agrees with `exact`, found at the end of stage 3"]
    parts += [f"`{name}`" + (f": {mode.help}" if mode.help else "") for name, mode in MODES.items()]
    return "; ".join(parts)

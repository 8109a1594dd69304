"""Repairs of MaPLe's repository: casts to half precision, widths of one CLIP, its parser.

Source of the failures: docs/HOSTS.md.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from loreal_plugin.attach.compat import Shim, ShimFacts, Undo
from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.attach.shims.common import (
    classes_in,
    module,
    modules_of,
    names_in,
    numbers_in,
    replace,
    texts_in,
    together,
    wrap,
)


def _learners() -> list[type]:
    """Return MaPLe's prompt learner and its copies in other trainers, which keep its name."""
    found = [vars(owner).get("MultiModalPromptLearner") for owner in modules_of("trainers")]
    return list(dict.fromkeys(kind for kind in found if isinstance(kind, type)))


def _halving_learners(_inspection: HostInspection) -> list[type]:
    return [kind for kind in _learners() if "half" in names_in(vars(kind).get("__init__"))]


def _projection_in_clip_dtype(inspection: HostInspection) -> Undo:
    def around(original: Callable) -> Callable:
        def init(
            self: Any, cfg: Any, classnames: list[str], clip_model: nn.Module, *more: Any
        ) -> None:
            original(self, cfg, classnames, clip_model, *more)
            self.proj.to(clip_model.dtype)

        return init

    return together([wrap(kind, "__init__", around) for kind in _halving_learners(inspection)])


def _learners_of_fixed_width(_inspection: HostInspection) -> list[type]:
    widths = {512, 768}
    return [kind for kind in _learners() if widths & numbers_in(vars(kind).get("__init__"))]


def _widths_of_the_clip(inspection: HostInspection) -> Undo:
    """Make the learned parts anew where a CLIP has other widths than ViT-B/16."""

    def around(original: Callable) -> Callable:
        def init(
            self: Any, cfg: Any, classnames: list[str], clip_model: nn.Module, *more: Any
        ) -> None:
            original(self, cfg, classnames, clip_model, *more)
            text = clip_model.ln_final.weight.shape[0]
            image = clip_model.visual.conv1.weight.shape[0]
            if self.proj.out_features != image:
                self.proj = nn.Linear(text, image).to(self.proj.weight.dtype)
                layer = nn.Linear(text, image)
                self.compound_prompt_projections = nn.ModuleList(
                    copy.deepcopy(layer) for _ in self.compound_prompt_projections
                )
            for prompt in self.compound_prompts_text:
                if prompt.shape[1] != text:
                    prompt.data = torch.empty(prompt.shape[0], text, dtype=prompt.dtype).normal_(
                        std=0.02
                    )

        return init

    return together(
        [wrap(kind, "__init__", around) for kind in _learners_of_fixed_width(inspection)]
    )


def _halving_classes(_inspection: HostInspection) -> list[type]:
    """Return the modules of the host's CLIP whose forward casts prompts to half."""
    return [
        kind
        for kind in classes_in("clip")
        if issubclass(kind, nn.Module) and "half" in names_in(vars(kind).get("forward"))
    ]


def _keep_float32(inspection: HostInspection) -> Undo:
    """Make `Tensor.half` return its tensor while a float32 module of these classes runs.

    The count is kept a thread: several may run models, and code outside must halve as always.
    """
    inside = threading.local()
    halve = torch.Tensor.half

    def half(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self if getattr(inside, "depth", 0) else halve(self, *args, **kwargs)

    def around(original: Callable) -> Callable:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            # a half-precision CLIP has float32 parameters, too: embeddings and norms
            if any(parameter.dtype != torch.float32 for parameter in self.parameters()):
                return original(self, *args, **kwargs)
            inside.depth = getattr(inside, "depth", 0) + 1
            try:
                return original(self, *args, **kwargs)
            finally:
                inside.depth -= 1

        return forward

    undo = [wrap(kind, "forward", around) for kind in _halving_classes(inspection)]
    return together([replace(torch.Tensor, "half", half), *undo])


_PARSER, _END = "parse_test_res.py", "Finished training"


def _parser_waits(inspection: HostInspection) -> bool:
    """Say whether the host's parser skips a log until a line that Dassl does not print."""
    file = inspection.path / _PARSER
    trainer = getattr(module("dassl.engine.trainer"), "SimpleTrainer", None)
    if trainer is None or not file.is_file():
        return False
    return _END in file.read_text(encoding="utf-8") and _END not in texts_in(trainer.after_train)


def _end_is_printed(_inspection: HostInspection) -> Undo:
    def around(original: Callable) -> Callable:
        def after_train(self: Any) -> Any:
            print(_END)
            return original(self)

        return after_train

    return wrap(module("dassl.engine.trainer").SimpleTrainer, "after_train", around)


MAPLE_SHIMS: tuple[Shim, ...] = (
    Shim(
        ShimFacts(
            "maple-proj",
            "MaPLe, and trainers with a copy of its learner",
            "trainers/maple.py:104",
            "always (PREC fp32, or amp without CUDA)",
            "one projection is halved whatever PREC says: RuntimeError, Float and Half do not"
            " multiply",
        ),
        lambda inspection: bool(_halving_learners(inspection)),
        _projection_in_clip_dtype,
    ),
    Shim(
        ShimFacts(
            "maple-half",
            "MaPLe",
            "clip/model.py:306, 323, 457",
            "always (PREC fp32 or amp)",
            "prompts are rounded to half precision inside a float32 model: gradients are off by up"
            " to 6e-4",
        ),
        lambda inspection: bool(_halving_classes(inspection)),
        _keep_float32,
    ),
    Shim(
        ShimFacts(
            "maple-width",
            "MaPLe, and trainers with a copy of its learner",
            "trainers/maple.py:103, 111, 116",
            "always (CLIP of other widths than ViT-B/16's)",
            "widths 512 and 768 are written into the prompt learner: RuntimeError with demo or"
            " ViT-L/14 weights",
        ),
        lambda inspection: bool(_learners_of_fixed_width(inspection)),
        _widths_of_the_clip,
    ),
    Shim(
        ShimFacts(
            "maple-parser",
            "MaPLe",
            "parse_test_res.py:170",
            "Dassl 0.6.3 (earlier ones: not measured)",
            "it reads a training's log from 'Finished training' on, and Dassl prints 'Finish"
            " training': nothing found",
        ),
        _parser_waits,
        _end_is_printed,
    ),
)

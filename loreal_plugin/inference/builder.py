"""Building the predictor of an inference mode: its tables are read beside the checkpoint, or made.

Shapes: N training embeddings, H = K * D_s activations of the meta-nets, F features an image,
D_v width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.config import method_settings
from loreal_plugin.digests import digest
from loreal_plugin.errors import ConfigError
from loreal_plugin.files import read_checked
from loreal_plugin.files.tensors import digest_tensors
from loreal_plugin.inference.expansion import Expansion
from loreal_plugin.inference.expansion_store import (
    ExpansionPlan,
    Statistics,
    stored_expansion,
    stored_statistics,
)
from loreal_plugin.inference.modes import Mode
from loreal_plugin.inference.table_store import FOLDER, TableStore
from loreal_plugin.inference_modes import MODES, first_pass
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import (
    WITH_CONTENTS,
    LorealOptions,
    changed_positions,
    position_resampling,
)
from loreal_plugin.students.student import Student
from loreal_plugin.text import PrefixTextPath

CALIBRATION = "calibration.json"
# options that say how the modes but `exact` are made
MODE_SETTINGS = ("tangent_kind", "tangent_rank", "tangent_products", "shortlist_k")
# Embeddings a pass of the meta-nets.
_BATCH = 4096


@dataclass(frozen=True)
class ModeBuilder:
    """Builds modes of one model.

    Attributes:
        model: with beta, its meta-nets and its correction.
        folder: of the checkpoint in use; tables lie below it.
        facts: what else tables belong to: `backbone` (fingerprint of the CLIP weights) and `host`.
        training_features: returns beta's corrected features (N, F, D_v) of the training pictures;
            CheckpointError where there are none.
    """

    model: Loreal
    folder: Path
    facts: dict[str, Any]
    training_features: Callable[[], Tensor]

    def mode(self, options: LorealOptions, margin: float | None = None) -> Mode:
        """Return the predictor of the mode that the options name.

        Args:
            options: which mode and how.
            margin: threshold of `auto`, where the options or the calibration are not to be asked.

        Raises:
            CheckpointError: the training pictures are needed, and neither what is kept of them nor
                they themselves are there.
            ConfigError: `auto` has no threshold.
        """
        model, name, beta = self.model, self.acting(options.inference), self.beta
        expansion = mean = None
        if name != "exact":
            mean = self._mean_activations().to(beta.device)
        if first_pass(name) == "tangent":
            expansion = self.expansion(options)[0]
        if MODES[name].needs_margin and margin is None:
            margin = self.auto_margin(options)
        k, fusion = options.shortlist_k, model.fusion
        return Mode(name, beta, model.meta_nets, fusion, mean, expansion, k, margin or 0.0)

    @property
    def with_contents(self) -> bool:
        """Return whether the slots have contents, which differ from image to image."""
        return self.model.options.slot_parts in WITH_CONTENTS

    def acting(self, name: str) -> str:
        """Return the mode that gives what a mode is asked for.

        Without contents all images have the text features of `static`, so there is nothing to
        expand, and nothing to check.
        """
        expands = name in MODES and first_pass(name) == "tangent"
        return "static" if expands and not self.with_contents else name

    def _mean_activations(self) -> Tensor:
        """Return the mean activations (H,) in training; zeros without contents in slots."""
        if self.with_contents:
            return self.statistics().mean
        o = self.model.options
        return torch.zeros(o.n_attributes * o.hidden_dim)

    @property
    def beta(self) -> Student:
        """The student that predicts."""
        student = self.model.beta
        assert isinstance(student, Student), "modes are built for students of a host"
        return student

    # ---- where tables lie and what they belong to ------------------------------------------------

    @property
    def store(self) -> TableStore:
        """The folder of tables beside the checkpoint."""
        return TableStore(self.folder / FOLDER)

    def owner(self) -> dict[str, Any]:
        """Return what the meta-nets' activations of a picture depend on, in JSON's types."""
        beta, model = self.beta, self.model
        correction = model.correction
        nets, moved = model.meta_nets.state_dict(), correction.tensors() if correction else {}
        return {
            "method": beta.contract.method,
            "backbone": self.facts["backbone"],
            "learned": beta.fingerprint(),
            "meta_nets": digest_tensors(sorted(nets.items())),
            "drift": digest_tensors(sorted(moved.items())) if moved else None,
            "condition": model.options.mmrl_condition,
            "host": self.facts["host"],
            "host_settings": method_settings(beta.cfg, beta.contract.counted_node),
            **changed_positions(position_resampling(beta.cfg)),
            "dtype": str(beta.dtype),
        }

    def text_owner(self) -> dict[str, Any]:
        """Return `owner` and the spliced prompts: what text features depend on."""
        prompts = vars(self.beta.text_path.prompts)
        tensors = [(name, v) for name, v in sorted(prompts.items()) if isinstance(v, Tensor)]
        return {**self.owner(), "prompts": digest_tensors(tensors)}

    # ---- statistics, expansion, threshold --------------------------------------------------------

    def statistics(self) -> Statistics:
        """Return the statistics of the training pictures' activations, read or made."""
        return stored_statistics(
            self.store, self.owner(), lambda: self.activations(self.training_features())
        )

    @torch.no_grad()
    def activations(self, features: Tensor) -> Tensor:
        """Return the meta-nets' activations (N, H) of beta's features (N, F, D_v), on the CPU."""
        beta, nets = self.beta, self.model.meta_nets
        parts = [
            nets.hidden(beta.condition(part.to(beta.device))).flatten(1).cpu()
            for part in features.split(_BATCH)
        ]
        return torch.cat(parts)

    def expansion(self, options: LorealOptions) -> tuple[Expansion, dict[str, Any]]:
        """Return the expansion of beta's text features, and what it states about itself."""
        beta, nets = self.beta, self.model.meta_nets
        n_attributes = len(nets.meta_nets)

        @torch.no_grad()
        def encode(hidden: Tensor, classes: Tensor) -> Tensor:
            contents = nets.from_hidden(hidden.to(beta.device).unflatten(1, (n_attributes, -1)))
            return beta.text_path(contents, classes.to(beta.device)).cpu()

        expansion, facts = stored_expansion(
            self.store,
            self.text_owner(),
            ExpansionPlan(options.tangent_kind, options.tangent_rank, options.tangent_products),
            self.statistics(),
            encode,
            len(beta.classnames),
            forward=isinstance(beta.text_path, PrefixTextPath),
        )
        return expansion.to(beta.device, beta.dtype), facts

    def auto_margin(self, options: LorealOptions) -> float:
        """Return the threshold of `auto` in logits: AUTO_MARGIN, or what calibration found.

        Raises:
            ConfigError: neither is there, or the calibration is another checkpoint's or another
                expansion's.
        """
        if options.auto_margin >= 0:
            return options.auto_margin
        path = self.store.folder / CALIBRATION
        row = "adapted" if self.beta.adaptation else "loreal"
        advice = f"run loreal calibrate --row {row}, or set TRAINER.LOREAL.AUTO_MARGIN"
        found, fault = read_checked(path)
        if not found:
            raise ConfigError(f"INFERENCE auto has no threshold: {path} {fault}; {advice}")
        if found.get("belongs_to") != self.calibration_owner(options):
            raise ConfigError(
                f"{path} was measured for another checkpoint, TANGENT_KIND, TANGENT_RANK or"
                f" SHORTLIST_K; {advice}"
            )
        return float(found["margin"])

    def calibration_owner(self, options: LorealOptions) -> dict[str, Any]:
        """Return what a threshold belongs to: the checkpoint and how the first pass is made."""
        return json.loads(json.dumps({**self.owner(), **mode_settings(options)}))


def mode_settings(options: LorealOptions) -> dict[str, Any]:
    """Return the options that say how modes are made, by name."""
    return {name: getattr(options, name) for name in MODE_SETTINGS}


def chosen_file(options: LorealOptions) -> str:
    """Return the name of the file with the choice for these settings: each has its own."""
    return f"chosen-{digest(mode_settings(options))[:8]}.json"

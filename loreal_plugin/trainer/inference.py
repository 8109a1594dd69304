"""Choosing and preparing the inference mode: the part of `LorealMixin` between a checkpoint and its
predictions.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attributes import dataset_of
from loreal_plugin.contract import HostContract
from loreal_plugin.errors import CheckpointError, ConfigError
from loreal_plugin.files.tensors import digest_tensors
from loreal_plugin.inference.expansion import Expansion
from loreal_plugin.inference.expansion_store import (
    ExpansionPlan,
    Statistics,
    stored_expansion,
    stored_statistics,
)
from loreal_plugin.inference.modes import FIRST_PASS, Inference
from loreal_plugin.inference.table_store import FOLDER, TableStore
from loreal_plugin.options import LorealOptions, flatten
from loreal_plugin.text import PrefixTextPath
from loreal_plugin.trainer.checkpoint import NAME
from loreal_plugin.trainer.data import DataPlan

CALIBRATION = "calibration.json"
# Embeddings a pass of the meta-nets.
_BATCH = 4096


def check_inference(contract: HostContract, options: LorealOptions) -> None:
    """Check that a method and the other options allow the inference mode.

    Raises:
        ConfigError: prompts differ from image to image without slots; contents of the batch mean;
            one content for all.
    """
    if options.inference == "exact":
        return
    asked = f"INFERENCE {options.inference}"
    if not contract.static_prompts:
        raise ConfigError(
            f"{asked} is not possible for method '{contract.method}', whose own context depends on"
            " the image; set TRAINER.LOREAL.INFERENCE exact"
        )
    if options.conditioning == "batch" or options.constant_conditioning:
        other = (
            "CONDITIONING batch"
            if options.conditioning == "batch"
            else "CONSTANT_CONDITIONING True"
        )
        raise ConfigError(
            f"{asked} is for contents of single images, not for {other}; set INFERENCE exact"
        )


class InferenceMixin:
    """What a LOREAL trainer needs to predict in another mode than `exact`."""

    # Folder and record of the checkpoint that was loaded; None for a model that was trained here.
    loaded: tuple[Path, dict[str, Any]] | None = None
    # Within a validation between epochs, which is exact.
    _validating: bool = False

    def prepare_inference(self) -> None:
        """Put the mode of INFERENCE into the model; tables that it needs are read, or made and
        kept.

        Raises:
            CheckpointError: statistics of the training pictures are needed and neither stored nor
                to be had here.
            ConfigError: `auto` has no threshold.
        """
        self.model.inference = (
            None if self.options.inference == "exact" else self.inference_mode(self.options)
        )

    def inference_mode(self, options: LorealOptions, margin: float | None = None) -> Inference:
        """Return the predictor of a mode; see `prepare_inference`.

        Args:
            options: which mode and how; of the model's own options otherwise.
            margin: `auto`'s threshold where it is not to be read from the options or the
                calibration.
        """
        model, mode = self.model, options.inference
        expansion = mean = None
        if mode != "exact":
            mean = self.hidden_statistics().mean.to(self.device)
        if FIRST_PASS.get(mode, mode) == "tangent":
            expansion = self.text_expansion(options)[0]
        if mode == "auto" and margin is None:
            margin = self.auto_margin(options)
        return Inference(
            mode=mode,
            student=model.students["beta"],
            path=model.paths["beta"],
            meta_nets=model.meta_nets,
            condition=lambda features: model.students["beta"].condition(
                features, options.mmrl_condition
            ),
            fusion=model.fusion,
            mean=mean,
            expansion=expansion,
            k=options.shortlist_k,
            margin=margin or 0.0,
        )

    # ---- where tables lie and what they belong to ------------------------------------------------

    @property
    def table_store(self) -> TableStore:
        """The folder of tables beside the checkpoint in use."""
        directory = self.loaded[0] if self.loaded else Path(self.cfg.OUTPUT_DIR)
        return TableStore(directory / NAME / FOLDER)

    def inference_owner(self) -> dict[str, Any]:
        """Return what the meta-nets' activations of a picture depend on, in JSON's types."""
        beta, model = self.model.students["beta"], self.model
        drift = getattr(model, "drift", None)
        return {
            "method": self.contract.method,
            "backbone": self.identity["backbone"],
            "learned": beta.fingerprint(),
            "meta_nets": digest_tensors(sorted(model.meta_nets.state_dict().items())),
            "drift": digest_tensors(sorted(drift.tensors().items())) if drift is not None else None,
            "condition": self.options.mmrl_condition,
            "host": self.host_facts,
            "host_settings": flatten(beta.cfg.TRAINER[beta.contract.cfg_node]),
            "dtype": str(beta.dtype),
        }

    def text_owner(self) -> dict[str, Any]:
        """Return what text features depend on besides the activations: the spliced prompts, too."""
        prompts = self.model.paths["beta"].prompts
        tensors = [
            (name, value)
            for name, value in sorted(vars(prompts).items())
            if isinstance(value, Tensor)
        ]
        return {**self.inference_owner(), "prompts": digest_tensors(tensors)}

    # ---- statistics, expansion, threshold --------------------------------------------------------

    def hidden_statistics(self) -> Statistics:
        """Return the statistics of the training pictures' activations, read or made.

        Raises:
            CheckpointError: they are not stored, and this run's pictures are not those of the
                training.
        """
        return stored_statistics(
            self.table_store, self.inference_owner(), self._training_activations
        )

    def text_expansion(self, options: LorealOptions) -> tuple[Expansion, dict[str, Any]]:
        """Return the expansion of beta's text features on its device, and what it states about
        itself.
        """
        path, nets = self.model.paths["beta"], self.model.meta_nets
        n_attributes = len(nets.meta_nets)

        @torch.no_grad()
        def encode(hidden: Tensor, classes: Tensor) -> Tensor:
            contents = nets.from_hidden(hidden.to(self.device).unflatten(1, (n_attributes, -1)))
            return path(contents, classes.to(self.device)).cpu()

        plan = ExpansionPlan(options.tangent_kind, options.tangent_rank, options.tangent_products)
        found, facts = stored_expansion(
            self.table_store,
            self.text_owner(),
            plan,
            self.hidden_statistics(),
            encode,
            path.prompts.n_classes,
            forward=isinstance(path, PrefixTextPath),
        )
        return found.to(self.device, self.model.students["beta"].dtype), facts

    def auto_margin(self, options: LorealOptions) -> float:
        """Return the threshold of `auto` in logits: AUTO_MARGIN, or what calibration found.

        Raises:
            ConfigError: neither is there, or the calibration is another checkpoint's or another
                expansion's.
        """
        if options.auto_margin >= 0:
            return options.auto_margin
        path = self.table_store.folder / CALIBRATION
        advice = "run loreal calibrate, or set TRAINER.LOREAL.AUTO_MARGIN"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ConfigError(
                f"INFERENCE auto has no threshold: {path} was not found; {advice}"
            ) from None
        if found.get("belongs_to") != self.calibration_owner(options):
            raise ConfigError(
                f"{path} was measured for another checkpoint, TANGENT_KIND, TANGENT_RANK or"
                f" SHORTLIST_K; {advice}"
            )
        return float(found["margin"])

    def calibration_owner(self, options: LorealOptions) -> dict[str, Any]:
        """Return what a threshold belongs to: the checkpoint and how the first pass is made."""
        names = ("tangent_kind", "tangent_rank", "tangent_products", "shortlist_k")
        settings = {name: getattr(options, name) for name in names}
        return json.loads(json.dumps({**self.inference_owner(), **settings}))

    def _training_activations(self) -> Tensor:
        """Return the meta-nets' activations (N, H) of every training picture and view."""
        if self.loaded:
            path, record = self.loaded
            mine = {"dataset": dataset_of(self.cfg), "classnames": list(self.dm.dataset.classnames)}
            differ = [name for name, value in mine.items() if record[name] != value]
            if differ:
                raise CheckpointError(
                    f"INFERENCE {self.options.inference} needs statistics of the pictures that"
                    f" {path} was trained on; they are not stored there and this run has another"
                    f" {' and other '.join(differ)}: run loreal calibrate for the training first"
                )
        return self.activations(self.training_features())

    def training_features(self) -> Tensor:
        """Return beta's features (N, F, D_v) of every training picture and view, from the cache
        where it has them.
        """
        options = self.options
        plan = self.data
        if not options.cache_views:
            plan = DataPlan(
                self.cfg, dataclasses.replace(options, cache_views=1), plan.items, plan.seed
            )
        facts = {**self.host_facts, "weights": self.identity["backbone"]}
        found = plan.features("beta", self.model.students["beta"], facts, self.device).flatten(0, 1)
        drift = getattr(self.model, "drift", None)
        return found if drift is None else drift(found)

    @torch.no_grad()
    def activations(self, features: Tensor) -> Tensor:
        """Return the meta-nets' activations (N, H) of beta's features (N, F, D_v), on the CPU."""
        beta, nets = self.model.students["beta"], self.model.meta_nets
        parts = []
        for part in features.split(_BATCH):
            read = beta.condition(part.to(self.device), self.options.mmrl_condition)
            parts.append(nets.hidden(read).flatten(1).cpu())
        return torch.cat(parts)

"""Stage 3 of a plan, opened as it is deployed: for tests in the host's own loop, and to calibrate.

Shapes: B images, C classes, N training embeddings, F features an image, D_v joint width.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.attach import AttachedHost
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.options import resolve_options
from loreal_plugin.results.record import finished_record
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.plan import Plan, Stage
from loreal_plugin.runs.trained_run import TrainedRun
from loreal_plugin.trainer.data import DataPlan, corrected_features


def open_stage(
    host: AttachedHost,
    plan: Plan,
    identity: Identity,
    cfg: Any,
    stage: Stage,
    subset: str,
    device: torch.device,
) -> Deployed:
    """Return a finished stage with meta-nets on the classes of a test set; it predicts exactly.

    Args:
        cfg: the stage's configuration.
        subset: name of the test set.

    Raises:
        CheckpointError: what the stage left is missing or damaged.
    """
    out, record = plan.spec.out, finished_record(stage.folder)
    # a record of the stage alone does not say where the others are
    folders = {
        s.name: {"folder": str(s.folder.relative_to(out)), "epochs": record["epochs"]}
        for s in plan.stages.values()
    }
    record = {**record, "stages": folders, "overrides": []}
    place = host, plan.spec.weights, device
    trained = TrainedRun.at(stage.folder, record, out, *place, stage=stage.name)
    names = list(identity.dataset(subset).classnames)

    # called when a mode needs tables that are not stored: `deployed` is there by then
    def features() -> Tensor:
        return training_features(host, plan, identity, cfg, deployed)

    words, of = identity.words_on(subset, names, stage.name), identity.dataset_name(subset)
    deployed = trained.deployed(names, "exact", features, words=words, of_dataset=of)
    return deployed


def training_features(
    host: AttachedHost, plan: Plan, identity: Identity, cfg: Any, deployed: Deployed
) -> Tensor:
    """Return beta's corrected features (N, F, D_v) of the training pictures, from the cache.

    Args:
        cfg: the stage's configuration.
    """
    items, beta = identity.dataset(plan.source).train_x, deployed.beta
    data = DataPlan(cfg, resolve_options(cfg.TRAINER.LOREAL), items, plan.spec.seed)
    facts = {**host.sources, "weights": deployed.modes.facts["backbone"]}
    return corrected_features(data, beta, facts, beta.device, deployed.model.correction)


def deployed_tester(
    host: AttachedHost, plan: Plan, identity: Identity, cfg: Any, stage: Stage, subset: str
) -> type:
    """Return the `<X>_LOREAL` trainer with the deployed model in place of one that could train.

    Pictures, evaluator and loop stay the host's, and so do the log lines that its parser reads.
    Only beta is built: alpha and the optimiser are there for training alone.

    Args:
        cfg, stage, subset: as for `open_stage`.
    """
    trainer: Any = host.trainer_named(stage.trainer)

    class DeployedTester(trainer):
        """Tests the finished stage, in the loop of Dassl."""

        deployed: Deployed

        def build_model(self) -> None:
            """Open the stage on the classes at hand, in the inference mode that is asked for."""
            parts = host, plan, identity, cfg, stage, subset
            self.deployed = open_stage(*parts, self.device)
            self.deployed.use(identity.options_of(stage.name))
            self.model = self.deployed.model

        def model_inference(self, input: Tensor) -> Tensor:
            """Return logits (B, C) of images (B, 3, phi, phi)."""
            return self.deployed.logits(input)

        def test(self, split: str | None = None) -> float:
            """Return the accuracy in percent: nothing trains, so the mode stays as it is."""
            return importlib.import_module("dassl.engine").SimpleTrainer.test(self, split)

    return DeployedTester

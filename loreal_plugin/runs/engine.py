"""Runs the stages and evaluations of a plan on an attached host, in one process."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch

from loreal_plugin.devices import device_choice
from loreal_plugin.errors import ConfigError
from loreal_plugin.options import position_resampling, resolve_options
from loreal_plugin.plain_output import Say
from loreal_plugin.results.record import (
    finished_record,
    is_complete,
    read_results,
    write_record,
)
from loreal_plugin.runs.adapt_stage import train_adaptation
from loreal_plugin.runs.claim import claim
from loreal_plugin.runs.config_fault import REFUSALS, config_fault
from loreal_plugin.runs.deployed_stage import deployed_tester
from loreal_plugin.runs.deployment import write_deployment
from loreal_plugin.runs.evaluation_cache import (
    EmbeddingSource,
    embedding_facts,
    reuse_test_embeddings,
)
from loreal_plugin.runs.finite import watch_numbers
from loreal_plugin.runs.folders import set_aside
from loreal_plugin.runs.identity import Identity
from loreal_plugin.runs.journal import Journal, ending
from loreal_plugin.runs.locks import stage_lock
from loreal_plugin.runs.logs import stage_log
from loreal_plugin.runs.meter import Meter
from loreal_plugin.runs.observe_tests import record_answers, record_tests, score_of
from loreal_plugin.runs.plan import RANDOM, Plan, Row, Stage, family_argv, without_adaptation
from loreal_plugin.runs.random_state import keep_random_state
from loreal_plugin.runs.records import common_fields
from loreal_plugin.runs.stage_files import finished_stage, load_checkpoint
from loreal_plugin.runs.tracker import Tracker, find_tracker, listen, tracked
from loreal_plugin.trainer.checkpoint import NAME
from loreal_plugin.trainer.step_sizes import draw_sizes

HOST_STAGES = ("alpha", "beta", RANDOM)  # what the host trains itself, from its own random state


class Engine:
    """Trains stages and evaluates rows; what is complete under its key is read instead.

    Args:
        host: an `AttachedHost`.
        plan: from `build_plan`.
        weights: fingerprint of the CLIP weights.
        say: prints one line of progress.
        verbose: show the host's whole output on the console, not only in `log.txt`.
    """

    def __init__(
        self, host: Any, plan: Plan, weights: str, *, say: Say = print, verbose: bool = False
    ) -> None:
        self.host, self.plan, self.say, self.verbose = host, plan, say, verbose
        self.cfgs = {name: self.resolve(stage) for name, stage in plan.stages.items()}
        if resolve_options(self.cfgs["adapt"].TRAINER.LOREAL).adapt == "none":
            self.plan = plan = without_adaptation(plan)
            self.cfgs = {name: self.cfgs[name] for name in plan.stages}
        self.identity = Identity(host, plan, self.cfgs, weights, say)
        self.journals: dict[str, Journal] = {}  # of the stages that are trained here
        self.tell: Callable[[str], str] = str  # what the console shows of a host's line

    @cached_property
    def tracker(self) -> Tracker | None:
        """What LOREAL_TRACKER asks for; ConfigError where that is not there."""
        return find_tracker()

    def resolve(self, stage: Stage, row: Row | None = None, subset: str = "") -> Any:
        """Return the resolved config of a stage, or of testing it as `row` on `subset` (empty: what
        it trains on).

        Raises:
            ConfigError: an override names no key, or has a value of the wrong type.
        """
        subset = subset or self.plan.source
        folder = row.folders[subset] if row else stage.folder
        size = row.size if row else stage.size
        argv = family_argv(self.plan, stage, folder=folder, size=size, subset=subset)
        try:
            return self.host.setup_cfg(argv)
        except REFUSALS as error:
            raise ConfigError(config_fault(self.host, self.plan, stage, error)) from error

    # ---- training --------------------------------------------------------------------------------

    def train(self, stage: Stage) -> dict[str, Any]:
        """Return the stage's record, after training it unless it is complete."""
        key = self.identity.stage_key(stage.name)
        with stage_lock(stage.folder, self.say):
            found, name = self.finished(stage), self._checkpoints(stage)
            if found is not None:
                self.say(f"  complete (key {key[:8]}), reused from {stage.folder}")
                Journal(stage.folder, name).mend(key, found.get("files", {}))
                return found
            journal = claim(
                stage.folder, name, key, self.say, random_state=stage.name in HOST_STAGES
            )
            cfg, resumed = self.cfgs[stage.name], bool(journal.parts)
            journal.begin(key, int(cfg.OPTIM.MAX_EPOCH))
            self.journals[stage.name] = journal
            outcome = self._train_now(stage)
            common = dict(common_fields(self.plan, self.identity, "stage", key, stage, cfg))
            record = common | outcome | {"resumed": resumed, "files": journal.note_files()}
            write_record(stage.folder, record)
        return record

    def finished(self, stage: Stage) -> dict[str, Any] | None:
        """Return the record of a complete stage; None where it, or a file of it (named), is not."""
        key = self.identity.stage_key(stage.name)
        name = self._checkpoints(stage)
        record, faults = finished_stage(stage.folder, key, name, self.say)
        if faults:
            self.say(f"  {faults[0]}; stage '{stage.name}' has to be trained again")
        return None if faults else record

    def _checkpoints(self, stage: Stage) -> str:
        """Return the name of a stage's folder of checkpoints."""
        ours = stage.loreal or stage.name == "adapt"
        return NAME if ours else self.host.contract.checkpoint

    def _train_now(self, stage: Stage) -> dict[str, Any]:
        """Train a stage to its end and return what was measured."""
        cfg, journal = self.cfgs[stage.name], self.journals[stage.name]
        meter = Meter(cuda=cfg.USE_CUDA)
        log = stage_log(stage.folder, self._dassl().setup_logger, self.verbose, self.tell)
        if stage.name == "adapt":
            with ending(journal, meter), meter, log:
                found = train_adaptation(self, stage, journal)
            _free()
            seconds = journal.earlier + meter.seconds
            return {"seconds": seconds, "peak_memory_mb": journal.peak_memory_mb, **found}
        with ending(journal, meter), meter, log:
            trainer = self._build(cfg)
            if stage.sizes:
                draw_sizes(trainer, stage.sizes, position_resampling(cfg))
            tunable = self.tunable(stage, trainer)
            sources = self._reuse_embeddings(trainer, self.plan.source)
            tests, answers = record_tests(trainer), record_answers(trainer)
            journal.watch(trainer)
            watch_numbers(trainer, stage.name, stage.loreal, self.host.contract)
            if not stage.loreal:  # stage 3 draws its views and orders from seed and epoch
                row = self.host.contract
                keep_random_state(trainer, stage.folder, row.kept_state, self.say)
            self._train_tracked(stage, trainer)
        if stage.loreal:
            names = {name: self.identity.dataset(name).classnames for name in self.plan.tests}
            of = {name: self.identity.dataset_name(name) for name in names}
            write_deployment(stage.folder, trainer, names, of, self.plan.source)
        outcome = {
            "parameters": tunable,
            "seconds": journal.earlier + meter.seconds,
            "peak_memory_mb": journal.peak_memory_mb,
            "epochs": int(cfg.OPTIM.MAX_EPOCH),
            "steps_per_epoch": len(trainer.train_loader_x),
            "base": score_of(trainer, tests[-1], answers) if tests else None,
            **embedding_facts(sources),
        }
        del trainer
        _free()
        return outcome

    def _train_tracked(self, stage: Stage, trainer: Any) -> None:
        """Train, and let the tracker that was asked for hear what TensorBoard gets."""
        name = str(stage.folder.relative_to(self.plan.spec.out))
        config = self.identity.config(stage.name, self.cfgs[stage.name])
        with tracked(self.tracker, name, config, self.say) as log:
            listen(trainer, log)
            trainer.train()

    def tunable(self, stage: Stage, trainer: Any) -> int:
        """Return the number of parameters that a stage trains."""
        if stage.name == "adapted" and self.identity.options_of(stage.name).slot_parts == "none":
            return 0  # its nets fill no slots
        if stage.loreal:
            return sum(p.numel() for p in trainer._models["loreal"].parameters() if p.requires_grad)
        return sum(p.numel() for p in self.host.contract.learned(trainer.model).values())

    # ---- evaluation ------------------------------------------------------------------------------

    def evaluate(self, row: Row, subset: str, *, again: bool = False) -> dict[str, Any]:
        """Return the record of a row's accuracy on `subset`, from the stage's last epoch.

        Args:
            again: test even where a complete record exists.

        Raises:
            CheckpointError: the stage has no checkpoint of its last epoch.
        """
        stage, folder = self.plan.stages[row.stage], row.folders[subset]
        cfg = self.resolve(stage, row, subset)
        key = self.identity.evaluation_key(stage.name, cfg, subset)
        with stage_lock(folder, self.say):
            if not again and is_complete(folder, key):
                return finished_record(folder)
            owner = (read_results(folder) or {}).get("key", key)
            if folder.exists() and owner != key:
                set_aside(folder, owner)
            meter = Meter(cuda=cfg.USE_CUDA)
            with meter, stage_log(folder, self._dassl().setup_logger, verbose=self.verbose):
                trainer = self._tester(stage, cfg, subset)
                sources = [] if again else self._reuse_embeddings(trainer, subset)
                answers = record_answers(trainer)
                score = score_of(trainer, trainer.test(), answers)
            common = dict(
                common_fields(self.plan, self.identity, "evaluation", key, stage, cfg, subset)
            )
            record = common | {
                "row": row.name,
                "subset": subset,
                "score": score,
                "seconds": meter.seconds,
                "peak_memory_mb": meter.peak_memory_mb,
                **embedding_facts(sources),
            }
            write_record(folder, record)
        del trainer
        _free()
        return record

    # ---- common ----------------------------------------------------------------------------------

    def _tester(self, stage: Stage, cfg: Any, subset: str) -> Any:
        """Return a trainer that tests a finished stage: the host's own, or a deployed model's."""
        if not stage.loreal:
            trainer = self._build(cfg)
            load_checkpoint(trainer, stage.folder, int(cfg.OPTIM.MAX_EPOCH))
            return trainer
        parts = self.host, self.plan, self.identity, self.cfgs[stage.name]
        return self._build(cfg, deployed_tester(*parts, stage, subset))

    def _build(self, cfg: Any, trainer_class: type | None = None) -> Any:
        """Return the host's trainer for a config, seeded as the family's train.py does it.

        Args:
            trainer_class: None: the one that the config names.
        """
        self._dassl().set_random_seed(cfg.SEED)
        # cuDNN's search for the fastest kernel may choose another one the next time
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        print(f"Device: {device_choice()}\n** Config **\n{cfg}")
        trainer = trainer_class(cfg) if trainer_class else self.host.build_trainer(cfg)
        if cfg.TRAINER.NAME == self.host.contract.trainer:
            # what a student will need of it is known to be there before hours of training
            self.host.contract.check(trainer, f"host '{self.host.path.name}'")
        return trainer

    def _reuse_embeddings(self, trainer: Any, subset: str) -> list[EmbeddingSource]:
        """Let the trainer's tests on `subset` share the embeddings of its pictures with other rows
        and runs.
        """
        pictures = partial(self.identity.test_images, subset)
        return reuse_test_embeddings(trainer, self.host, self.identity.weights, pictures)

    @staticmethod
    def _dassl() -> Any:
        return importlib.import_module("dassl.utils")


def _free() -> None:
    """Give back what a dropped trainer held; trainers hold reference cycles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

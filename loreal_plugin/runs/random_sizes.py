"""A rival that is trained: the host's stage 2 with a random size of pictures in every step.

It asks whether a host that has seen many sizes needs anything else at phi. `step_sizes` has what
happens in a step.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.folders import run_folder
from loreal_plugin.runs.plan import RANDOM, Stage
from loreal_plugin.runs.rival_methods import RivalScore
from loreal_plugin.runs.rival_model import RivalModel
from loreal_plugin.time_left import TimeLeft

CHANGE = "trained at random sizes"  # `correction` of its row


class RandomSizes:
    """The training at random sizes of a run's host, and its row.

    Args:
        engine: of the run whose rival this is; it does not know this stage.
    """

    def __init__(self, engine: Engine) -> None:
        self.stage = random_stage(engine)
        plan = replace(engine.plan, stages={**engine.plan.stages, RANDOM: self.stage})
        self.engine = copy(engine)
        self.engine.plan, self.engine.cfgs = plan, dict(engine.cfgs)
        self.engine.cfgs[RANDOM] = self.engine.resolve(self.stage)
        self.engine.identity = engine.identity.for_plan(plan, self.engine.cfgs)

    @property
    def trained(self) -> bool:
        """Return whether it is trained already."""
        return self.stage.folder.exists() and self.engine.finished(self.stage) is not None

    def train(self) -> dict[str, Any]:
        """Return the record of the training, which runs unless it is complete."""
        clock = TimeLeft({RANDOM: 1.0})
        self.engine.tell = clock.line
        clock.begin(RANDOM)
        if not self.trained:
            self.engine.say(f"[rivals] {self.stage.title}, seed {self.engine.plan.spec.seed}")
        return self.engine.train(self.stage)

    def score(self) -> RivalScore:
        """Return its score at phi."""
        model = RivalModel(self.engine, self.stage, zero_shot=False)
        return model.score_plain("beta", self.stage.trainer, CHANGE)


def random_stage(engine: Engine) -> Stage:
    """Return stage 2 at random sizes, from phi to the native size, of the run of an engine."""
    plan = engine.plan
    beta, spec, native = plan.stages["beta"], plan.spec, plan.native_size
    folder = run_folder(
        spec,
        plan.protocol.train,
        beta.trainer,
        beta.folder.parent.name,
        f"{RANDOM}_phi{spec.phi}",
        protocol=plan.protocol.home,
    )
    return replace(
        beta,
        name=RANDOM,
        title=f"{beta.trainer} at random sizes, {spec.phi} to {native}",
        size=native,
        folder=folder,
        # it is tested at phi, as a rival
        opts=(*beta.opts, "TEST.NO_TEST", "True"),
        sizes=tuple(range(spec.phi, native + 1, plan.patch_size)),
    )

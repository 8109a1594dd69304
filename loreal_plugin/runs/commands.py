"""What a run would do, as commands of the family's kind: for `--dry-run`, which trains, tests and
writes nothing.
"""

from __future__ import annotations

import shlex

from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.plan import Row, Stage, family_argv
from loreal_plugin.runs.spec import STAGES, last_stage


def run_commands(engine: Engine, *, until: str | None = None, test_only: bool = False) -> list[str]:
    """Return one `loreal train` line for every training and evaluation, each after a line that
    names it.

    The final test of a training is not listed again, unless `test_only`. What is complete is
    listed, too: whether it is takes a look at every picture.
    """
    plan = engine.plan
    named = STAGES[: STAGES.index(until or last_stage()) + 1]
    stages = [stage for name, stage in plan.stages.items() if name in named]
    lines = []
    if not test_only:
        for number, stage in enumerate(stages, start=1):
            lines.append(f"# stage {number}/{len(stages)}, {stage.name}: {stage.title}")
            if stage.name == "adapt":
                lines.append("# (a part of the run, without a command of its own)")
                continue
            lines.append(_line(engine, _argv(engine, stage, None, plan.source)))
    for row in (row for row in plan.rows if row.stage in {stage.name for stage in stages}):
        tests = [
            name
            for name in plan.tests
            if test_only or name != plan.source or row.name == "native_at_phi"
        ]
        for name in tests:
            lines.append(f"# test on {name}: {row.label}")
            lines.append(_line(engine, _argv(engine, plan.stages[row.stage], row, name)))
    return lines


def _argv(engine: Engine, stage: Stage, row: Row | None, subset: str) -> list[str]:
    """Return the family's words for a training, or for testing it as `row`."""
    folder, size = (row.folders[subset], row.size) if row else (stage.folder, stage.size)
    argv = family_argv(engine.plan, stage, folder=folder, size=size, subset=subset)
    if row is None:
        return argv
    epoch = str(int(engine.cfgs[stage.name].OPTIM.MAX_EPOCH))
    return ["--eval-only", "--model-dir", str(stage.folder), "--load-epoch", epoch, *argv]


def _line(engine: Engine, argv: list[str]) -> str:
    """Return a command line, quoted for a shell."""
    host = engine.plan.spec.host
    own = [] if host == embedded_host() else ["--host", str(host)]
    return shlex.join(["loreal", "train", *own, *argv])

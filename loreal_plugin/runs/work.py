"""How much work each part of a run is, for the time that is left."""

from __future__ import annotations

from loreal_plugin.runs.engine import Engine

_TRAINING = 3  # forward and backward, where a test is forward alone


def work_of(engine: Engine, stages: list[str]) -> dict[str, float]:
    """Return the work of each stage of `stages` and of the tests of each row that follows: pictures
    times epochs times pixels. It is a rule of thumb.
    """
    plan, identity = engine.plan, engine.identity
    small, large = plan.spec.phi**2, plan.native_size**2
    alone = {"alpha": large, "beta": small}  # all others read both sizes
    shown = len(identity.dataset(plan.source).train_x)
    epochs = {name: int(engine.cfgs[name].OPTIM.MAX_EPOCH) for name in stages}
    found = {
        name: float(_TRAINING * shown * epochs[name] * alone.get(name, small + large))
        for name in stages
    }
    tested = sum(len(identity.dataset(name).test) for name in plan.tests)
    for row in (row for row in plan.rows if row.stage in stages):
        side = plan.native_size if row.name == "native" else plan.spec.phi
        found[f"test {row.name}"] = float(tested * side**2)
    return found

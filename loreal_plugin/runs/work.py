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
    shown = len(identity.dataset(plan.source).train_x)
    # stages that are not named here read both sizes
    pixels = {"alpha": large, "beta": small}
    found = {
        name: float(
            _TRAINING * int(engine.cfgs[name].OPTIM.MAX_EPOCH) * pixels.get(name, small + large)
        )
        for name in stages
    }
    if "adapt" in found:  # alpha sees each view once, beta learns from it in every epoch
        o = identity.options_of("adapt")
        found["adapt"] = o.adapt_views * float(large + _TRAINING * o.adapt_epochs * small)
    found = {name: shown * work for name, work in found.items()}
    tested = sum(len(identity.dataset(name).test) for name in plan.tests)
    for row in (row for row in plan.rows if row.stage in stages):
        side = plan.native_size if row.name == "native" else plan.spec.phi
        found[f"test {row.name}"] = float(tested * side**2)
    return found

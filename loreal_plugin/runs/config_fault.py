"""What to say of a stage's configuration that the host refuses."""

from __future__ import annotations

from dataclasses import replace

from loreal_plugin.attach import AttachedHost
from loreal_plugin.config import flatten
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.runs.plan import Plan, Stage, family_argv

# what yacs and hosts raise on keys and values
REFUSALS = (ConfigError, AssertionError, KeyError, ValueError)


def config_fault(host: AttachedHost, plan: Plan, stage: Stage, error: Exception) -> str:
    """Return the text for a refused configuration, with the nearest key where one is unknown."""
    text = str(error).strip("'\"")
    # without overrides it is known which keys there are, or that the recipe itself is refused
    plain = replace(stage, opts=())
    argv = family_argv(plan, plain, folder=plain.folder, size=plain.size, subset=plan.source)
    try:
        known = flatten(host.setup_cfg(argv))
    except REFUSALS:
        return f"the configuration {stage.recipe} was refused: {text}"
    for key in stage.opts[::2]:
        if key not in known:
            near = unknown_name("key", key, known).split(" (known")[0]
            return f"{near}; overrides of stage '{stage.name}' are KEY VALUE pairs of its config"
    return f"overrides of stage '{stage.name}' were refused: {text}"

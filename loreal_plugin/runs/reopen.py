"""The dataset of a finished run, read and drawn again as the run did it."""

from __future__ import annotations

import dataclasses

from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.results.protocols import BASE2NEW, PROTOCOLS, Protocol
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.plan import build_plan
from loreal_plugin.runs.spec import RunSpec, build_spec
from loreal_plugin.runs.trained_run import TrainedRun


def reopened_engine(
    trained: TrainedRun,
    *,
    dataset: str = "",
    host: str | None = None,
    data: str | None = None,
    say: Say = say_line,
) -> Engine:
    """Return an engine of a finished run; it trains nothing by itself, and nothing is written.

    Args:
        dataset: another dataset to look at, whose classes are `base`, `new` and `all`; empty: the
            run's own, as its protocol names them.
        host, data: as for `loreal base2new`; the record does not hold where things lie.

    Raises:
        LorealError: no such dataset or host.
    """
    from loreal_plugin.weights import clip_sizes

    spec = run_spec(trained, dataset or trained.record["dataset"], host, data)
    patch = int(clip_sizes(trained.weights)["patch"])
    with using_weights(trained.weights), saves_held_back():
        sizes = {"native_size": trained.native_size, "patch_size": patch}
        plan = build_plan(spec, **sizes, protocol=_protocol(trained, dataset))
        return Engine(trained.host, plan, trained.record["weights"]["sha256"], say=say)


def _protocol(trained: TrainedRun, dataset: str) -> Protocol:
    """Return the run's protocol without its targets; another dataset is looked at in halves."""
    own = PROTOCOLS[trained.record["protocol"]]
    return BASE2NEW if dataset else dataclasses.replace(own, known_targets={}, targets=())


def run_spec(trained: TrainedRun, dataset: str, host: str | None, data: str | None) -> RunSpec:
    """Return the run's own description, with the dataset to look at."""
    record = trained.record
    named = [
        (key if scope == "all" else f"{scope}:{key}", value)
        for scope, key, value in record["overrides"]
    ]
    return build_spec(
        record["method"],
        str(record["phi"]),
        dataset,
        str(record["seed"]),
        host=host or str(trained.host.path),
        data=data,
        out=str(trained.out or trained.folder),
        shots=str(record["shots"]),
        weights=trained.weights,
        recipe=record["recipe"],
        opts=[word for pair in named for word in pair],
    )

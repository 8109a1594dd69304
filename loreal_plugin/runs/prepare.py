"""From a description to an engine that is ready to run: everything that can be wrong is found."""

from __future__ import annotations

from loreal_plugin.data.storage import saves_held_back
from loreal_plugin.plain_output import Say, say_line
from loreal_plugin.results.protocols import BASE2NEW, Protocol
from loreal_plugin.runs.check_values import check_drawn_place, check_phi, check_places
from loreal_plugin.runs.checks import check_dry_run, check_run, check_weights
from loreal_plugin.runs.engine import Engine
from loreal_plugin.runs.plan import build_plan
from loreal_plugin.runs.spec import RunSpec


def prepare(
    spec: RunSpec,
    *,
    protocol: Protocol = BASE2NEW,
    say: Say = say_line,
    verbose: bool = False,
    check_data: bool = True,
    dry: bool = False,
) -> Engine:
    """Return an engine ready to run `spec`; everything that can be wrong is found here, before
    anything is written.

    Args:
        check_data: also look at datasets, pictures and prompts; without, only at what the command
            line says.
        dry: nothing will run: pictures are neither drawn nor read, and no file is written.

    Raises:
        LorealError: weights, phi, dataset, recipe, overrides, host, attributes, prompts or pictures
            that cannot be used.
    """
    from loreal_plugin.attach import attach_host
    from loreal_plugin.attach.clip_source import using_weights
    from loreal_plugin.weights import clip_sizes, weights_fingerprint

    with using_weights(spec.weights), saves_held_back() as saves:
        check_places(spec.out)
        check_drawn_place(spec)
        facts = clip_sizes(spec.weights)
        plan = build_plan(
            spec, native_size=facts["resolution"], patch_size=facts["patch"], protocol=protocol
        )
        if protocol.trains:
            check_phi(spec.phi, facts["resolution"], spec.weights)
        fingerprint = weights_fingerprint(spec.weights)
        host = attach_host(spec.host, spec.method)
        engine = Engine(host, plan, fingerprint, say=say, verbose=verbose)
        _ = engine.tracker  # one that is not there is refused here
        check_weights(engine, facts)
        if dry:
            check_dry_run(engine)
        elif check_data:
            check_run(engine)
            engine.identity.check_pictures(plan.tests)
        if not dry:
            saves.commit()
    return engine

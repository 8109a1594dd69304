"""What the doctor finds of the run itself: it is prepared as the run would be.

So what a run refuses is refused here in the same words. Nothing is drawn, trained or written.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from loreal_plugin.cli.doctor_table import Finding
from loreal_plugin.errors import LorealError, one_line
from loreal_plugin.runs.spec import RunSpec

_PART = 3 / 7  # phi where none is named: 96 at 224, rounded down to patches


def asked_run(args: argparse.Namespace) -> tuple[RunSpec | None, Finding]:
    """Return the run that the arguments ask for, None where they are refused, and a line on it."""
    from loreal_plugin.cli.doctor_host import usual_method
    from loreal_plugin.cli.run_options import spec_of

    words = [args.dataset or "demo", "1"]
    words[: len(args.extra)] = args.extra
    args.extra = words
    try:
        if not args.method:
            from loreal_plugin.attach.inspect_host import methods_of
            from loreal_plugin.runs.spec import find_host

            host = find_host(args.host or os.environ.get("HOST") or "")
            args.method = usual_method(methods_of(host))
        usual = args.phi is None
        args.phi = args.phi or "96"
        spec = spec_of(args)
        if usual:
            args.phi = usual_phi(spec.weights)
            spec = spec_of(args)
    except LorealError as error:
        return None, Finding("what was asked for", one_line(error), False)
    what = f"base2new {spec.method} {spec.phi} {spec.dataset}, seed {spec.seed}"
    more = f"{spec.shots} shots, recipe {spec.recipe}, results in {spec.out}"
    return spec, Finding("run that is checked", f"{what}; {more}", True)


def usual_phi(weights: str) -> str:
    """Return the phi that is checked where none is named: a multiple of the weights' patch size.

    Raises:
        WeightsError: the weights cannot be read.
    """
    from loreal_plugin.weights import clip_sizes

    facts = clip_sizes(weights)
    patch = facts["patch"]
    return str(max(2, int(facts["resolution"] * _PART) // patch) * patch)


def run_findings(spec: RunSpec) -> list[Finding]:
    """Return whether the run gets as far as its first training step; if not, its own words."""
    from loreal_plugin.runs.prepare import prepare

    said: list[str] = []
    try:
        engine = prepare(spec, dry=True, say=said.append)
        pictures = _pictures(engine, spec)
    except LorealError as error:
        return [Finding("run", one_line(error), False)]
    rows = [Finding("note", line.strip(), True, needed=False) for line in said]
    return [*rows, Finding("run", f"prepared without a fault; {pictures}", True)]


def _pictures(engine: Any, spec: RunSpec) -> str:
    """Return in words which pictures were read; DataError names those that cannot be."""
    from loreal_plugin.paths import embedded_host

    identity, tests = engine.identity, engine.plan.tests
    if spec.host != embedded_host():
        return "pictures are left to the host"
    first = [Path(identity.dataset(name).test[0].impath) for name in tests]
    if not all(path.is_file() for path in first):
        return "pictures are drawn when it starts"
    identity.check_pictures(tests)
    return "every picture was read"

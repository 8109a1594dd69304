"""What the doctor finds of a host: methods, Dassl, the contract's checks, and repairs."""

from __future__ import annotations

import importlib
from pathlib import Path

from loreal_plugin.cli.doctor_model import Built, check_finding, model_findings
from loreal_plugin.cli.doctor_table import Finding, tried
from loreal_plugin.errors import LorealError, one_line


def host_findings(host: str, method: str, built: Built) -> list[Finding]:
    """Return everything about a host and one method of it.

    Args:
        host: path of the host, empty for the embedded one.
        method: empty: maple where the host has it, else the first it has.
        built: what its model is built of; where that has no weights, it is not built.
    """
    from loreal_plugin.attach.inspect_host import inspect_host, methods_of
    from loreal_plugin.contract import get_contract
    from loreal_plugin.contract.registry import rows_from_outside
    from loreal_plugin.contract.trainer_names import trainers_of, trainers_with_rows
    from loreal_plugin.runs.spec import find_host

    try:
        path = find_host(host)
        methods = methods_of(path)
        method = method or usual_method(methods)
        contract = get_contract(method)
    except LorealError as error:
        return [Finding("host", one_line(error), False)]
    known = trainers_with_rows()
    others = [name for name in trainers_of(path) if name not in known]
    inspection = inspect_host(path, contract, None)
    rows = [
        Finding("host", str(path), True),
        Finding("methods recognised", ", ".join(methods) or "none", bool(methods), detail=True),
        *[
            Finding(f"row of {name}", owner, True, needed=False, detail=True)
            for name, owner in rows_from_outside().items()
        ],
        Finding("trainers without a row", ", ".join(others) or "none", True, False, True),
        Finding("method checked", method, method in methods, detail=True),
        *[check_finding("host", check) for check in inspection.checks],
    ]
    if all(row.ok for row in rows):
        rows += attached_findings(path, method, built, str(inspection.dassl or "installed"))
    return rows


def usual_method(methods: list[str]) -> str:
    """Return the method that is checked where none is named: maple, else the first there is."""
    from loreal_plugin.contract import DEFAULT_METHOD

    return DEFAULT_METHOD if DEFAULT_METHOD in methods or not methods else methods[0]


def attached_findings(path: Path, method: str, built: Built, dassl: str) -> list[Finding]:
    """Return what attaching gives: revision, Dassl, repairs, our trainer, the contract's rows."""
    from loreal_plugin.attach import attach_host
    from loreal_plugin.contract import get_contract

    try:
        attached = attach_host(path, method)
    except LorealError as error:
        return [Finding("attach", one_line(error), False)]
    contract = get_contract(method)
    version = getattr(importlib.import_module("dassl"), "__version__", "no version")
    return [
        Finding("attach", f"revision {attached.revision}", True, detail=True),
        Finding("Dassl", f"{version} ({dassl})", True, detail=True),
        *shim_findings(),
        tried(
            f"trainer {contract.loreal_trainer}",
            lambda: registered(method, contract.loreal_trainer),
            detail=True,
        ),
        *(model_findings(attached, built) if built.weights else []),
    ]


def shim_findings() -> list[Finding]:
    """Return the repairs that will apply, and those that are switched off."""
    from loreal_plugin.attach.host import describe_shims

    states = describe_shims()
    rows = [
        Finding(
            f"repair {one.facts.name}", f"{one.facts.where}: {one.facts.why}", True, False, True
        )
        for one in states
        if one.state == "applied"
    ]
    off = ", ".join(one.facts.name for one in states if one.state == "switched off")
    if off:
        rows.append(Finding("repairs switched off", f"{off} (LOREAL_COMPAT)", False, needed=False))
    return rows or [Finding("repairs", "none needed", True, False, True)]


def registered(method: str, trainer: str) -> str:
    """Return the module of our trainer; LorealError where it does not register itself."""
    from loreal_plugin.contract import get_contract

    importlib.import_module(get_contract(method).loreal_module)
    registry = importlib.import_module("dassl.engine").TRAINER_REGISTRY
    if trainer not in registry.registered_names():
        raise LorealError(
            f"not in the host's registry ({', '.join(sorted(registry.registered_names()))})"
        )
    return registry.get(trainer).__module__

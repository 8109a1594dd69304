"""What the doctor finds of a host: methods, Dassl, the contract's checks, and repairs."""

from __future__ import annotations

import importlib
import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.cli.doctor_table import Finding, tried
from loreal_plugin.errors import LorealError, one_line

_CLASSES = ("cat", "dog")  # a model needs class names; no picture is read


@dataclass(frozen=True)
class Built:
    """What the host's model is built of; no picture of the dataset is read."""

    weights: str
    recipe: str
    dataset: str
    data: str

    def dataset_file(self) -> Path:
        """Return the YAML of the dataset; the demonstration's where that is not found: another
        line of the table says so.
        """
        from loreal_plugin.data import dataset_config

        try:
            return dataset_config(self.dataset, self.data).config
        except LorealError:
            return dataset_config("demo").config


def host_findings(
    host: str, method: str, weights: str, recipe: str, dataset: str = "demo", data: str = ""
) -> list[Finding]:
    """Return everything about a host and one method of it.

    Args:
        host: path of the host, empty for the embedded one.
        method: empty: maple where the host has it, else the first it has.
        weights: CLIP weights that its model is built with; empty: it is not built.
        recipe: name of the recipe that it is built with.
        dataset, data: what it is built for, and the folder that holds it: hosts keep tables of
            prompts by dataset.
    """
    from loreal_plugin.attach.inspect_host import inspect_host, methods_of, trainers_of
    from loreal_plugin.contract import CONTRACTS, get_contract
    from loreal_plugin.contract.registry import rows_from_outside
    from loreal_plugin.runs.spec import find_host

    try:
        path = find_host(host)
        methods = methods_of(path)
        method = method or usual_method(methods)
        contract = get_contract(method)
    except LorealError as error:
        return [Finding("host", one_line(error), False)]
    known = {c.trainer for c in CONTRACTS.values()} | {c.loreal_trainer for c in CONTRACTS.values()}
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
        built = Built(weights, recipe, dataset, data) if weights else None
        rows += attached_findings(path, method, built, str(inspection.dassl or "installed"))
    return rows


def usual_method(methods: list[str]) -> str:
    """Return the method that is checked where none is named: maple, else the first there is."""
    from loreal_plugin.contract import DEFAULT_METHOD

    return DEFAULT_METHOD if DEFAULT_METHOD in methods or not methods else methods[0]


def check_finding(of: str, check: Any) -> Finding:
    """Return a line of the table for one check of a host's files, or of its built model."""
    return Finding(f"{of}: {check.role}", f"{check.wanted}: {check.found}", check.ok, detail=True)


def attached_findings(path: Path, method: str, built: Built | None, dassl: str) -> list[Finding]:
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
        *(contract_findings(attached, built) if built else []),
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


def contract_findings(attached: Any, built: Built) -> list[Finding]:
    """Return the contract's rows on the host's own model, built with two class names."""
    try:
        # what the host says meanwhile (progress bars, deprecations) is no part of the table
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            checks = attached.contract.part_checks(built_shell(attached, built))
            whole = all(check.ok for check in checks)
            both = tried("both students", lambda: shared(attached, built)) if whole else None
    except (
        Exception
    ) as error:  # a host's build_model is a stranger's code; whatever it raises is the finding
        return [
            Finding(
                "host model", f"cannot be built: {type(error).__name__}: {one_line(error)}", False
            )
        ]
    found = sum(check.ok for check in checks)
    return [
        *[check_finding("contract", check) for check in checks],
        Finding("contract rows", f"{found} of {len(checks)} found", found == len(checks)),
        *([both] if both else []),
    ]


def shared(attached: Any, built: Built) -> str:
    """Return what two students share, one at the native size and one at about half of it: stage 3
    does that after hours of training.

    Raises:
        LorealError: they cannot be built, or differ in more than what was learned and positions.
    """
    from loreal_plugin.attach.clip_source import using_weights
    from loreal_plugin.students.build import build_student
    from loreal_plugin.students.share import share_clip_tensors
    from loreal_plugin.weights import clip_sizes

    facts = clip_sizes(built.weights)
    native, patch = facts["resolution"], facts["patch"]
    sizes = (native, max(2, native // patch // 2) * patch)
    cfg = recipe_cfg(attached, built)
    with using_weights(built.weights):
        alpha, beta = (
            build_student(attached, cfg, _CLASSES, "cpu", input_size=size) for size in sizes
        )
    report = share_clip_tensors(alpha, beta)
    return f"share {report.n_shared} tensors (tried at {sizes[0]} and about half of it)"


def built_shell(attached: Any, built: Built) -> Any:
    """Return the host's trainer with its model, at the native size of the weights, on the CPU."""
    import torch

    from loreal_plugin.attach.clip_source import using_weights
    from loreal_plugin.students.build import build_shell

    cfg = recipe_cfg(attached, built)
    with using_weights(built.weights):
        shell = build_shell(attached, cfg, _CLASSES, torch.device("cpu"))
        shell.build_model()
    return shell


def recipe_cfg(attached: Any, built: Built) -> Any:
    """Return the host's configuration at the native size of the weights, in float32."""
    from loreal_plugin.students.build import at_size
    from loreal_plugin.weights import clip_sizes

    contract = attached.contract
    facts = clip_sizes(built.weights)
    words = [
        "--trainer",
        contract.trainer,
        "--config-file",
        str(contract.recipe_file(built.recipe, loreal=False)),
        "--dataset-config-file",
        str(built.dataset_file()),
        f"TRAINER.{contract.cfg_node}.PREC",
        "fp32",
    ]
    words += ["MODEL.BACKBONE.NAME", repr(built.weights), "USE_CUDA", "False"]
    return at_size(attached.setup_cfg(words), contract.trainer, facts["resolution"])

"""`loreal doctor`: what is here and what is missing, as a table; exit code 0 only if a run can start."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.errors import LorealError

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pillow": "PIL",
    "safetensors": "safetensors",
    "yacs": "yacs",
    "ftfy": "ftfy",
    "regex": "regex",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "tabulate": "tabulate",
    "tensorboard": "tensorboard",
    "filelock": "filelock",
    "psutil": "psutil",
    "tqdm": "tqdm",
}
OLDEST_PYTHON = (3, 10)


@dataclass(frozen=True)
class Finding:
    """One line of the table; `needed` says whether a run can start without it."""

    what: str
    found: str
    ok: bool
    needed: bool = True

    @property
    def mark(self) -> str:
        """Return `ok`, `MISSING` or, for what a run can do without, `-`."""
        return "ok" if self.ok else ("MISSING" if self.needed else "-")


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    from loreal_plugin.cli.base2new import add_environment_options

    parser = subparsers.add_parser("doctor", help="check Python, packages, host, weights and data", description=__doc__)
    parser.add_argument("--method", default="maple", help="method whose host contract is checked (maple)")
    add_environment_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 if a run can start, else 1."""
    rows = [*machine_findings(), *package_findings()]
    if all(row.ok for row in rows if row.needed):
        rows += project_findings(args)
    # the table must come out where tabulate itself is what is missing
    width = max(len(row.what) for row in rows)
    for row in rows:
        print(f"{row.mark:<8} {row.what:<{width}}  {row.found}")
    wrong = [row.what for row in rows if row.needed and not row.ok]
    print(f"a run cannot start: {', '.join(wrong)}" if wrong else "a run can start")
    return 1 if wrong else 0


def machine_findings() -> list[Finding]:
    """Return Python, processor, memory and disk."""
    python_ok = sys.version_info[:2] >= OLDEST_PYTHON
    rows = [Finding("Python", f"{platform.python_version()} ({sys.executable})", python_ok)]
    rows.append(Finding("processor", f"{os.cpu_count()} cores, {platform.machine()}", True))
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    rows.append(Finding("free disk here", f"{free:.1f} GiB", free > 0.5))
    return rows


def package_findings() -> list[Finding]:
    """Return the packages with their versions, and CUDA."""
    rows = []
    for name, module in PACKAGES.items():
        try:
            importlib.import_module(module)
            rows.append(Finding(name, importlib.metadata.version(name), True))
        except ImportError as error:
            rows.append(Finding(name, f"{error}; pip install {name}", False))
    try:
        import torch

        cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "not available, runs use the processor"
        rows.append(Finding("CUDA", cuda, torch.cuda.is_available(), needed=False))
    except ImportError:
        rows.append(Finding("CUDA", "torch is missing", False, needed=False))
    return rows


def project_findings(args: argparse.Namespace) -> list[Finding]:
    """Return the data folders, clip, the weights, the host's contract and the datasets."""
    weights = args.weights or os.environ.get("CLIP_WEIGHTS") or "demo"
    rows = [
        tried("data folders", bundle),
        tried("clip-anytorch", clip_version),
        tried(f"weights '{weights}'", lambda: weights_facts(weights)),
    ]
    rows += host_findings(args.host or os.environ.get("HOST") or "", args.method)
    rows += dataset_findings(args.data or os.environ.get("DATA") or "")
    return rows


def tried(what: str, call: Callable[[], str], *, needed: bool = True) -> Finding:
    """Return what `call` finds, or the reason why it finds nothing."""
    try:
        return Finding(what, call(), True, needed)
    except (LorealError, OSError, ImportError, ValueError) as error:
        return Finding(what, " ".join(str(error).split()), False, needed)


def bundle() -> str:
    """Return where configs, trainers and the embedded host are."""
    from loreal_plugin.paths import bundle_root

    return str(bundle_root())


def clip_version() -> str:
    """Return the version of clip-anytorch after importing it."""
    from loreal_plugin.weights.package import borrowed_clip

    with borrowed_clip():
        pass
    return importlib.metadata.version("clip-anytorch")


def weights_facts(name: str) -> str:
    """Return the size of the CLIP model behind a weights name or file."""
    from loreal_plugin.weights import describe, load_clip_state_dict

    facts = describe(load_clip_state_dict(name))
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def host_findings(host: str, method: str) -> list[Finding]:
    """Return the host's path, revision and shims, and whether it has the method's trainer."""
    from loreal_plugin.attach import attach_host
    from loreal_plugin.contract import get_contract
    from loreal_plugin.protocols.spec import find_host

    try:
        contract = get_contract(method)
        attached = attach_host(find_host(host), method)
    except LorealError as error:
        return [Finding("host", " ".join(str(error).split()), False)]
    shims = ", ".join(str(getattr(shim, "name", shim)) for shim in attached.shims) or "none"
    return [
        Finding("host", f"{attached.path} (revision {attached.revision})", True),
        Finding("host shims", shims, True, needed=False),
        Finding(f"trainer {contract.trainer}", f"{attached.trainer_class.__module__}", True),
        tried(f"trainer {contract.loreal_trainer}", lambda: registered(method, contract.loreal_trainer)),
    ]


def registered(method: str, trainer: str) -> str:
    """Return the module of our trainer; LorealError where it does not register itself in the host."""
    importlib.import_module(f"trainers.{method}_loreal")
    registry = importlib.import_module("dassl.engine").TRAINER_REGISTRY
    if trainer not in registry.registered_names():
        raise LorealError(f"not in the host's registry ({', '.join(sorted(registry.registered_names()))})")
    return registry.get(trainer).__module__


def dataset_findings(data: str) -> list[Finding]:
    """Return DATA and the benchmark datasets whose folder is there."""
    from loreal_plugin.paths import bundle_root

    names = sorted(path.stem for path in (bundle_root() / "configs" / "datasets").glob("*.yaml"))
    rows = [Finding("dataset demo", "drawn on first use", "demo" in names)]
    if not data:
        return [*rows, Finding("DATA", "not set; needed for every dataset but demo", False, needed=False)]
    path = Path(data).expanduser()
    if not path.is_dir():
        return [*rows, Finding("DATA", f"{path} is no folder", False)]
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    return [*rows, Finding("DATA", f"{path}: {', '.join(inside) or 'empty'}", bool(inside), needed=False)]

"""`loreal doctor`: what is here and what is missing; exit code 0 only if a run can start."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from loreal_plugin.cli.doctor_data import dataset_findings
from loreal_plugin.cli.doctor_host import host_findings
from loreal_plugin.cli.doctor_table import Finding, print_table, tried
from loreal_plugin.devices import device_choice

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


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    from loreal_plugin.cli.run_options import add_environment_options

    parser = subparsers.add_parser(
        "doctor", help="check Python, packages, host, weights and data", description=__doc__
    )
    parser.add_argument(
        "--method", help="method whose host contract is checked (maple, else the first found)"
    )
    parser.add_argument("--dataset", help="dataset that has to be there (any below DATA)")
    add_environment_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 if a run can start, else 1."""
    rows = [*machine_findings(), *package_findings()]
    if all(row.ok for row in rows if row.needed):
        rows += project_findings(args)
    wrong = print_table(rows)
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

        cuda = (
            torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else "not available, runs use the processor"
        )
        rows.append(Finding("CUDA", cuda, torch.cuda.is_available(), needed=False))
    except ImportError:
        rows.append(Finding("CUDA", "torch is missing", False, needed=False))
    rows.append(Finding("a run sees", device_choice(), True))
    return rows


def project_findings(args: argparse.Namespace) -> list[Finding]:
    """Return the data folders, clip, the weights, the host, its contract and the datasets."""
    weights = args.weights or os.environ.get("CLIP_WEIGHTS") or "demo"
    found = tried(f"weights '{weights}'", lambda: weights_facts(weights))
    rows = [tried("data folders", bundle), tried("clip-anytorch", clip_version), found]
    rows.append(tried("shipped weights", shipped_weights))
    data = dataset_findings(args.data or os.environ.get("DATA") or "", args.dataset or "")
    host = args.host or os.environ.get("HOST") or ""
    return [*rows, *host_findings(host, args.method or "", weights if found.ok else ""), *data]


def bundle() -> str:
    """Return where configs, trainers and the embedded host are."""
    from loreal_plugin.paths import bundle_root

    return str(bundle_root())


def shipped_weights() -> str:
    """Return the names of the shipped weights, whose hashes were compared."""
    from loreal_plugin.demo.weights import SHA256, check_shipped

    for name in SHA256:
        check_shipped(name)
    return f"{', '.join(SHA256)}: as shipped (SHA-256)"


def clip_version() -> str:
    """Return the version of clip-anytorch after importing it."""
    from loreal_plugin.weights.package import borrowed_clip

    with borrowed_clip():
        pass
    return importlib.metadata.version("clip-anytorch")


def weights_facts(name: str) -> str:
    """Return the file behind a weights name, and the size of the CLIP model in it."""
    from loreal_plugin.weights import describe, load_clip_state_dict, weights_place

    facts = describe(load_clip_state_dict(name))
    return (
        f"{weights_place(name).resolve()}:"
        f" {', '.join(f'{key} {value}' for key, value in facts.items())}"
    )

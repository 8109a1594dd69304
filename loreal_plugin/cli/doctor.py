"""`loreal doctor`: all that a run needs, checked as the run itself would; exit code 0 only if it
can start. Without words it checks `maple 96` on the demonstration set.
"""

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
from loreal_plugin.cli.doctor_model import Built
from loreal_plugin.cli.doctor_run import asked_run, run_findings
from loreal_plugin.cli.doctor_table import Finding, print_table, tried
from loreal_plugin.devices import device_choice
from loreal_plugin.plain_output import counted
from loreal_plugin.runs.spec import RunSpec

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
WORDS = "the run that is checked, named as loreal base2new names it (maple, 96, demo, 1)"


def add_parser(subparsers: Any) -> None:
    """Add the sub-command."""
    from loreal_plugin.cli.run_options import add_choices

    parser = subparsers.add_parser(
        "doctor",
        usage="loreal doctor [METHOD [PHI [DATASET [SEED]]]] [options] [-- KEY VALUE ...]",
        help="check all that a run needs, as the run itself would",
        description=__doc__,
    )
    parser.add_argument("words", nargs="*", metavar="METHOD PHI DATASET SEED", help=WORDS)
    parser.add_argument("--method", help="the same as METHOD")
    parser.add_argument("--dataset", help="the same as DATASET")
    parser.add_argument("--verbose", action="store_true", help="every part, not twenty lines")
    add_choices(parser)
    parser.set_defaults(run=run, takes_extra=True)


def run(args: argparse.Namespace) -> int:
    """Print the table; 0 if the run can start, else 1."""
    named_dataset = bool(args.dataset or args.words[2:])
    args.phi = args.words[1] if args.words[1:] else None
    args.method = args.words[0] if args.words else args.method
    args.extra = [*args.words[2:], *args.extra]
    rows = [*machine_findings(), *package_findings()]
    asked = ""
    if all(row.ok for row in rows if row.needed):
        spec, line = asked_run(args)
        more = project_findings(args, spec, named_dataset)
        # words that are refused for what is missing are not said twice
        told = spec is None and any(row.mark == "MISSING" for row in more)
        rows = [*([] if told else [line]), *rows, *more]
        asked = f": loreal base2new {spec.method} {spec.phi} {spec.dataset}" if spec else ""
    wrong = print_table(rows, verbose=args.verbose)
    print(f"a run cannot start: {', '.join(wrong)}" if wrong else f"a run can start{asked}")
    return 1 if wrong else 0


def machine_findings() -> list[Finding]:
    """Return Python, processor, memory, and whether the cache can be written."""
    from loreal_plugin.paths import cache_root

    python_ok = sys.version_info[:2] >= OLDEST_PYTHON
    rows = [Finding("Python", f"{platform.python_version()} ({sys.executable})", python_ok)]
    rows.append(
        Finding(
            "machine",
            f"{counted(os.cpu_count() or 1, 'core')}, {platform.machine()}{memory()}",
            True,
        )
    )
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    rows.append(Finding("free disk here", f"{free:.1f} GiB", free > 0.05))
    cache = there = cache_root()
    while not there.exists() and there != there.parent:
        there = there.parent
    writable = there.is_dir() and os.access(there, os.W_OK)
    text = str(cache) if writable else f"{cache} cannot be written; LOREAL_CACHE names another"
    return [*rows, Finding("cache", text, writable, needed=False, detail=writable)]


def memory() -> str:
    """Return how much memory is free, in words; nothing where psutil is missing."""
    try:
        import psutil
    except ImportError:
        return ""
    return f", {psutil.virtual_memory().available / 2**30:.1f} GiB of memory free"


def package_findings() -> list[Finding]:
    """Return the packages with their versions, and CUDA."""
    rows = []
    for name, module in PACKAGES.items():
        try:
            importlib.import_module(module)
            rows.append(Finding(name, importlib.metadata.version(name), True, detail=True))
        except ImportError as error:
            rows.append(Finding(name, f"{error}; pip install {name}", False))
    found = sum(row.ok for row in rows)
    rows.insert(0, Finding("packages", f"{found} of {len(rows)} found", True, needed=False))
    try:
        import torch

        there = torch.cuda.is_available()
        cuda = torch.cuda.get_device_name() if there else "not available, runs use the processor"
        rows.append(Finding("CUDA", cuda, there, needed=False))
    except ImportError:
        rows.append(Finding("CUDA", "torch is missing", False, needed=False, detail=True))
    rows.append(Finding("a run sees", device_choice(), True, detail=True))
    return rows


def project_findings(
    args: argparse.Namespace, spec: RunSpec | None, named_dataset: bool
) -> list[Finding]:
    """Return the data folders, clip, the weights, the host, its contract, the datasets and the run.

    Args:
        spec: the run that is asked for; None where its words are refused.
        named_dataset: a dataset was named; else any of those below DATA will do.
    """
    chosen = args.weights or os.environ.get("CLIP_WEIGHTS") or "demo"
    weights = spec.weights if spec else chosen
    rows = [
        tried("data folders", bundle, detail=True),
        tried("clip-anytorch", clip_version, detail=True),
        found := tried(f"weights '{weights}'", lambda: weights_facts(weights)),
    ]
    data, dataset = args.data or os.environ.get("DATA") or "", ""
    if named_dataset:
        dataset, data = (spec.dataset, str(spec.data)) if spec else (args.extra[0], data)
    host = args.host or os.environ.get("HOST") or ""
    recipe = spec.recipe if spec else "demo"
    usable = weights if found.ok else ""
    # pictures are counted by the embedded host: before another one is attached, which stays
    of_data = dataset_findings(data, dataset)
    names = next((row.classes for row in of_data if row.what == f"dataset {dataset}"), ())
    built = Built(usable, recipe, dataset or "demo", data, names)
    rows += host_findings(host, args.method or "", built)
    rows += of_data
    if spec is None or any(row.mark == "MISSING" for row in rows):
        return rows
    return rows + run_findings(spec)


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
    """Return the file behind a weights name, and the size of the CLIP model in it."""
    from loreal_plugin.weights import clip_sizes, weights_place

    facts = clip_sizes(name)
    return (
        f"{weights_place(name).resolve()}:"
        f" {', '.join(f'{key} {value}' for key, value in facts.items())}"
    )

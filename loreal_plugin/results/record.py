"""`results.json`: written whole or not at all, read back only when it is what we wrote
(docs/RESULTS_SCHEMA.md).
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from loreal_plugin.files import read_json
from loreal_plugin.paths import bundle_root
from loreal_plugin.version import __version__

SCHEMA_VERSION = 2
READABLE = (1, SCHEMA_VERSION)  # version 1 knew base-to-new only
RESULTS = "results.json"
REQUIRED = (
    "schema_version",
    "kind",
    "key",
    "method",
    "host",
    "dataset",
    "phi",
    "seed",
    "shots",
    "config",
)
_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "clip-anytorch")


def read_results(folder: Path) -> dict[str, Any] | None:
    """Return a folder's `results.json`, or None when it is absent, broken, incomplete or of an
    unknown schema.
    """
    record = read_json(folder / RESULTS)
    if record is None or record.get("schema_version") not in READABLE:
        return None
    if missing_fields(record):
        return None
    return {"protocol": "base2new"} | record if record["schema_version"] == 1 else record


def missing_fields(record: dict[str, Any]) -> list[str]:
    """Return the required fields that a record lacks."""
    return [name for name in REQUIRED if name not in record]


def is_complete(folder: Path, key: str) -> bool:
    """Return True when the folder holds the finished stage or evaluation `key`."""
    record = read_results(folder)
    return record is not None and record["key"] == key


def versions() -> dict[str, str]:
    """Return Python's, ours and the packages' versions."""
    found = {"python": platform.python_version()}
    for name in ("loreal-plugin", *_PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["loreal-plugin"] = __version__
    return found


def git_revision() -> str | None:
    """Return the revision of the checkout, with `+changes` where it has uncommitted ones, None
    outside a checkout.
    """
    root = bundle_root()
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + (
            "+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def harmonic_mean(base: float, new: float) -> float:
    """Return the harmonic mean of two accuracies, 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new > 0 else 0.0

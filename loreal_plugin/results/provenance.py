"""What made a result: versions of packages, revision of the checkout."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from loreal_plugin.paths import bundle_root
from loreal_plugin.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "clip-anytorch")


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
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return head + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()

"""Where the project's data folders are: beside the package in a checkout, in a wheel inside it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from loreal_plugin.errors import LorealError

_PACKAGE = Path(__file__).resolve().parent


def bundle_root() -> Path:
    """Return the folder that holds `hosts/`, `configs/`, `trainers/`, `attributes/` and `scripts/`.

    Raises:
        LorealError: neither a checkout nor a complete wheel install is around this package.
    """
    for root in (_PACKAGE.parent, _PACKAGE / "bundle"):
        if (root / "hosts" / "embedded" / "train.py").is_file() and (root / "configs").is_dir():
            return root
    raise LorealError(
        "the project's data folders (hosts/, configs/, ...) were looked for beside and inside"
        f" {_PACKAGE} and not found; install the project again"
    )


def embedded_host() -> Path:
    """Return the folder of the embedded host."""
    return bundle_root() / "hosts" / "embedded"


def cache_root() -> Path:
    """Return the folder for drawn pictures and caches: `LOREAL_CACHE`, or `~/.cache/loreal`."""
    return Path(os.environ.get("LOREAL_CACHE") or Path.home() / ".cache" / "loreal").expanduser()


def typed(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))

"""Looking at a host without importing anything: which files, classes and functions it has."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace
from pathlib import Path

from loreal_plugin.attach.host_sources import top_of
from loreal_plugin.attach.requirements import import_checks
from loreal_plugin.contract import CONTRACTS, HostContract, PartCheck
from loreal_plugin.files import digest_sources

_TRAIN_FUNCTIONS = ("setup_cfg", "main")
_IMPORTED = ("dassl.engine", "dassl.data.datasets")  # what attaching itself imports of a host


@dataclass(frozen=True)
class HostInspection:
    """What a folder holds; `dassl` is where the `dassl` package lies, None if it is installed.

    `others` are further modules at its root (`utils`, ...) that its trainers and data sets import.
    """

    path: Path
    dassl: Path | None
    own_clip: bool
    checks: list[PartCheck]
    others: tuple[str, ...] = ()

    @property
    def dassl_root(self) -> Path | None:
        """Return where the `dassl` package lies, an installed one included; None: nowhere."""
        return self.dassl or installed_dassl()

    @property
    def packages(self) -> dict[str, Path]:
        """Top-level modules that have to come from this host, with the folder each is in."""
        found = dict.fromkeys(("train", "trainers", "datasets", *self.others), self.path)
        if self.own_clip:
            found["clip"] = self.path
        if self.dassl is not None:
            found["dassl"] = self.dassl
        return found


def inspect_host(path: Path, contract: HostContract, dassl: Path | None) -> HostInspection:
    """Look for everything that attaching needs; nothing is imported, read-only.

    Args:
        path: the checkout.
        contract: of the method that is asked for.
        dassl: a Dassl checkout; None means inside the host, then `DASSL`, then an installed one.
    """
    path = path.expanduser().resolve()
    checks = [_check("host folder", str(path), path.is_dir(), "no such folder")]
    if not path.is_dir():
        return HostInspection(path, None, False, checks)
    for name in ("trainers", "datasets"):
        checks.append(_check(f"package {name}", f"{name}/", (path / name).is_dir(), _listing(path)))
    checks += _train_checks(path)
    checks += _trainer_checks(path, contract)
    own_clip = (path / "clip" / "__init__.py").is_file()
    importable = own_clip or importlib.util.find_spec("clip") is not None
    checks.append(_check("package clip", "clip/ in the host, or installed", importable, "neither"))
    root, of_dassl = _find_dassl(path, dassl)
    inspection = HostInspection(path, root, own_clip, [*checks, of_dassl])
    # the first two have checks of their own, and so has a Dassl that is not there
    start = {
        "train": "",
        f"trainers.{contract.module}": "",
        **dict.fromkeys(_IMPORTED if of_dassl.ok else (), "loreal"),
    }
    sources = {
        **inspection.packages,
        **({"dassl": inspection.dassl_root or path} if of_dassl.ok else {}),
    }
    found, others = import_checks(sources, start, path)
    inspection.checks.extend(
        check for check in found if of_dassl.ok or check.role != "package dassl"
    )
    return replace(inspection, others=others)


def methods_of(path: Path) -> list[str]:
    """Return the methods whose trainer a host folder defines."""
    return [
        name
        for name, contract in CONTRACTS.items()
        if all(check.ok for check in _trainer_checks(path, contract))
    ]


def revision_of(inspection: HostInspection) -> str:
    """Return a hash of the host's sources (and of a Dassl that is no installed one).

    Contents, not a git revision: a checkout may be changed, exported, or part of a larger
    repository.
    """
    found = []
    for name, root in sorted(inspection.packages.items()):
        one = root / f"{name}.py"
        files = [one] if one.is_file() else sorted((root / name).rglob("*.py"))
        found += [(root, file) for file in files]
    return digest_sources(found)[:16]


def sources_digest(folder: Path) -> str:
    """Return a hash of a package's Python sources: what `__version__` should say."""
    return digest_sources((folder, file) for file in sorted(folder.rglob("*.py")))[:16]


def _check(role: str, wanted: str, ok: bool, otherwise: str) -> PartCheck:
    return PartCheck(role, wanted, "found" if ok else otherwise, ok)


def _listing(path: Path) -> str:
    names = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    return f"not there (the folder has: {', '.join(names[:10]) or 'nothing'})"


def _top_level(file: Path) -> tuple[frozenset[str], str]:
    """Return the names at the top of a file (defined or imported), and why it could not be read."""
    try:
        return top_of(file).names, ""
    except FileNotFoundError:
        return frozenset(), "no such file"
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        return frozenset(), f"{file.name} cannot be read ({type(error).__name__})"


def _train_checks(path: Path) -> list[PartCheck]:
    names, fault = _top_level(path / "train.py")
    return [
        _check(f"function {name}", f"train.py: {name}", name in names, fault or "no such function")
        for name in _TRAIN_FUNCTIONS
    ]


def _trainer_checks(path: Path, contract: HostContract) -> list[PartCheck]:
    file = f"trainers/{contract.module}.py"
    names, fault = _top_level(path / file)
    wanted = {
        f"trainer class {contract.trainer}": contract.trainer,
        "CLIP loader": "load_clip_to_cpu",
    }
    return [
        _check(role, f"{file}: {name}", name in names, fault or "no such name")
        for role, name in wanted.items()
    ]


def _find_dassl(path: Path, given: Path | None) -> tuple[Path | None, PartCheck]:
    """Return the folder that holds `dassl/` (None: installed) and the check that says so."""
    named = given or (Path(os.environ["DASSL"]) if os.environ.get("DASSL") else None)
    root = (named or path).expanduser().resolve()
    if (root / "dassl" / "__init__.py").is_file():
        return root, _check("Dassl", "dassl/", True, "")
    if named:
        return None, _check("Dassl", f"{named}/dassl/__init__.py", False, "no such file")
    installed = installed_dassl() is not None
    clone = (
        "none of them: git clone https://github.com/KaiyangZhou/Dassl.pytorch, and set DASSL to it"
    )
    return None, _check("Dassl", "dassl/ in the host, DASSL=/path, or installed", installed, clone)


def installed_dassl() -> Path | None:
    """Return the folder that an installed `dassl` package is in, None where there is none."""
    try:
        found = importlib.util.find_spec("dassl")
    except ValueError:  # put into sys.modules by hand
        return None
    return Path(found.origin).resolve().parents[1] if found is not None and found.origin else None

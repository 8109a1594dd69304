"""Write docs/REQUIREMENTS.md, the licences of all requirements, or their pinned versions.

    python scripts/requirements_page.py             # the page, from what is installed
    python scripts/requirements_page.py --pinned    # NAME==VERSION of all that the plug-in brings
    python scripts/requirements_page.py --lowest    # NAME==VERSION of the lowest that it takes

Licences are what each package says of itself in its metadata.
"""

from __future__ import annotations

import argparse
import ast
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "REQUIREMENTS.md"
HEAD = """# Requirements and their licences

Made by `python scripts/requirements_page.py` from `setup.py` and from what the packages say of
themselves. "Versions" is what `setup.py` asks for. What these packages need themselves comes in,
too: `--pinned` lists all of it as it is installed. `bash scripts/supply_chain.sh` looks that list
up in the table of known weaknesses and writes a CycloneDX list of components.
`bash scripts/lowest_versions.sh` runs the tests with the lowest version of each
([TRUST.md](TRUST.md) has the result).
"""
ROW = "| {name} | {versions} | {why} | {licence} |"


def asked_for() -> dict[str, tuple[str, list[str]]]:
    """Return what setup.py asks for: name -> (versions, extras; "always" where none).

    An extra that asks for other versions than the first to name a package says which.
    """
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    lists = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("REQUIRED", "EXTRAS")
    }
    found: dict[str, tuple[str, list[str]]] = {}
    for why, names in {"always": lists["REQUIRED"], **lists["EXTRAS"]}.items():
        for one in map(Requirement, names):
            asked = str(one.specifier) or "any"
            versions, extras = found.setdefault(one.name, (asked, []))
            extras.append(why if asked in (versions, "any") else f"{why} ({asked})")
    return found


def licence(name: str) -> str:
    """Return what an installed package says its licence is, "" where it is not installed."""
    try:
        facts = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classes = facts.get_all("Classifier") or []
    named = [one.split(" :: ")[-1] for one in classes if one.startswith("License :: ")]
    plain = (facts.get("License") or "").strip()
    short = plain if plain != "UNKNOWN" and "\n" not in plain and len(plain) < 60 else ""
    found = facts.get("License-Expression") or short or ", ".join(named)
    return found or first_line(name) or "says none"


def first_line(name: str) -> str:
    """Return the title of a package's licence file, "" where it has none."""
    for path in metadata.files(name) or ():
        if path.name.upper().startswith("LICEN") and path.locate().is_file():
            lines = path.locate().read_text(encoding="utf-8", errors="replace").split("\n")
            return next((line.strip() for line in lines if line.strip()), "")
    return ""


def page(known: dict[str, str]) -> str:
    """Return the page; a package that is not installed keeps the licence of `known`."""
    lines = ["| package | versions | for | licence |", "|---|---|---|---|"]
    for name, (versions, why) in sorted(asked_for().items()):
        found = licence(name) or known.get(name, "not installed")
        lines.append(ROW.format(name=name, versions=versions, why=", ".join(why), licence=found))
    return "\n".join([HEAD, *lines]) + "\n"


def on_page(text: str) -> dict[str, str]:
    """Return the licences that a page has."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[-1] for cells in rows[1:]}


def pinned() -> list[str]:
    """Return NAME==VERSION of every installed package that the plug-in needs, itself or through
    others, extras left out.
    """
    waiting, found = [name for name, (_, why) in asked_for().items() if "always" in why], {}
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system
        found[name] = f"{name}=={package.version.partition('+')[0]}"
        needs = [Requirement(one) for one in package.requires or ()]
        waiting += [
            one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return sorted(found.values())


def lowest() -> list[str]:
    """Return NAME==VERSION of the lowest version that setup.py takes of what is always needed."""
    found = []
    for name, (versions, why) in sorted(asked_for().items()):
        if "always" in why:
            (bound,) = SpecifierSet(versions)
            found.append(f"{name}=={bound.version}")
    return found


def main() -> None:
    """Write the page, or print one of the lists."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pinned", action="store_true", help="print NAME==VERSION lines instead")
    parser.add_argument("--lowest", action="store_true", help="print the lowest versions instead")
    args = parser.parse_args()
    if args.pinned or args.lowest:
        sys.stdout.write("\n".join(pinned() if args.pinned else lowest()) + "\n")
        return
    known = on_page(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    PAGE.write_text(page(known), encoding="utf-8")


if __name__ == "__main__":
    main()

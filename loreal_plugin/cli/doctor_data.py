"""What the doctor finds below DATA: the family's datasets and own folders, with counts and with
what is missing.

What is there is counted by the loaders of the embedded host (`download.inspect`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loreal_plugin.cli.doctor_table import Finding
from loreal_plugin.download.table import datasets
from loreal_plugin.errors import near_name

if TYPE_CHECKING:
    from loreal_plugin.download.inspect import Inspection

_DRAWN = "demo"  # datasets that are drawn on first use begin so


def dataset_findings(data: str, dataset: str) -> list[Finding]:
    """Return a line for each dataset below `data`; for one that is asked for by name, whether it
    can be used.

    Args:
        data: DATA, may be empty.
        dataset: a name that has to be usable; empty: any of those below `data`.
    """
    from loreal_plugin.paths import bundle_root

    names = sorted(path.stem for path in (bundle_root() / "configs" / "datasets").glob("*.yaml"))
    rows = [Finding("dataset demo", "drawn on first use", _DRAWN in names)]
    if dataset.startswith(_DRAWN) and dataset in names:
        return rows
    if not data:
        near = near_name(dataset, [name for name in names if name.startswith(_DRAWN)])
        guess = f"; did you mean '{near}'?" if near else ""
        text = f"not set; needed for every dataset but demo{guess}"
        return [*rows, Finding("DATA", text, False, needed=bool(dataset))]
    path = Path(data).expanduser()
    if not path.is_dir():
        return [*rows, Finding("DATA", f"{path} is no folder", False)]
    found = found_below(
        path, [name for name in names if not name.startswith(_DRAWN) and name != "folder"]
    )
    if dataset:
        found = [replace(row, needed=row.what == f"dataset {dataset}") for row in found]
        if f"dataset {dataset}" not in [row.what for row in found]:
            text = f"not below {path}; {how_to_get(dataset, path)}"
            found.append(Finding(f"dataset {dataset}", text, False))
        return [*rows, *found]
    usable = sum(row.ok for row in found)
    return [*rows, *found, Finding("DATA", f"{path}: {usable} dataset(s) can be used", usable > 0)]


def found_below(path: Path, names: list[str]) -> list[Finding]:
    """Return a line for each benchmark dataset that is there and each folder of one's own."""
    from loreal_plugin.download.inspect import inspecting

    found, taken = {}, set(names)
    inside = sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    with inspecting(path) as inspector:
        for name in names:
            folder = inspector.layout(name).dataset_dir
            taken.add(folder)
            if folder in inside:
                found[name] = inspector.inspect(name)
        for name in (name for name in inside if name not in taken):
            found[name] = inspector.inspect(name, own_folder=True)
    return [
        Finding(
            f"dataset {name}",
            f"{one}{_advice(name, path, one)}",
            not one.fault,
            needed=False,
            classes=one.names,
        )
        for name, one in found.items()
    ]


def _advice(name: str, data: Path, found: Inspection) -> str:
    """Return how a public dataset can be completed; empty for what is whole or one's own."""
    return f"; {how_to_get(name, data)}" if found.fault and name in datasets() else ""


def how_to_get(name: str, data: Path) -> str:
    """Return the sentence that says how a dataset comes below DATA."""
    if name in datasets():
        return f"loreal data get {name} --data {data} brings it"
    return "see docs/DATASETS.md"

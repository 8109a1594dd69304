"""What the doctor finds below DATA: the family's datasets and own folders, with counts and with
what is missing.

The embedded host reads every layout of the family without writing (docs/DATASETS.md), so it is
attached for this, whatever host is checked, and detached again.
"""

from __future__ import annotations

import importlib
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from loreal_plugin.cli.doctor_table import Finding
from loreal_plugin.errors import LorealError, one_line

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
        row = Finding(
            "DATA", "not set; needed for every dataset but demo", False, needed=bool(dataset)
        )
        return [*rows, row]
    path = Path(data).expanduser()
    if not path.is_dir():
        return [*rows, Finding("DATA", f"{path} is no folder", False)]
    found = found_below(
        path, [name for name in names if not name.startswith(_DRAWN) and name != "folder"]
    )
    if dataset:
        found = [
            Finding(r.what, r.found, r.ok, needed=r.what == f"dataset {dataset}") for r in found
        ]
        if f"dataset {dataset}" not in [row.what for row in found]:
            found.append(
                Finding(f"dataset {dataset}", f"not below {path}, see docs/DATASETS.md", False)
            )
        return [*rows, *found]
    usable = sum(row.ok for row in found)
    return [*rows, *found, Finding("DATA", f"{path}: {usable} dataset(s) can be used", usable > 0)]


def found_below(path: Path, names: list[str]) -> list[Finding]:
    """Return a line for each benchmark dataset that is there and each folder of one's own."""
    from loreal_plugin.attach import attach_host, detach_host
    from loreal_plugin.contract import PLAIN_METHOD
    from loreal_plugin.data import dataset_config
    from loreal_plugin.data.storage import saves_held_back
    from loreal_plugin.paths import embedded_host

    rows, taken = [], set(names)
    inside = sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    host = attach_host(embedded_host(), PLAIN_METHOD)
    try:
        with saves_held_back():
            for name in names:
                config = dataset_config(name).config
                folder = folder_of(host, config)
                taken.add(folder)
                if folder in inside:
                    rows.append(counted(host, name, path, config, []))
            for name in (name for name in inside if name not in taken):
                config = dataset_config(name, str(path)).config
                rows.append(counted(host, name, path, config, ["DATASET.FOLDER", repr(name)]))
    finally:
        detach_host()
    return rows


def folder_of(host: Any, config: Path) -> str:
    """Return the name of the folder below DATA that a dataset's YAML stands for."""
    registry = importlib.import_module("dassl.data.datasets").DATASET_REGISTRY
    return registry.get(
        host.setup_cfg(["--dataset-config-file", str(config)]).DATASET.NAME
    ).dataset_dir


def counted(host: Any, name: str, path: Path, config: Path, options: list[str]) -> Finding:
    """Return classes and pictures of one dataset, or what is missing of it; nothing is written.

    Args:
        host: the embedded one, attached.
        path: DATA.
        config: the dataset's YAML, with `options` (KEY VALUE) that go with it.
    """
    datasets = importlib.import_module("dassl.data.datasets")
    words = ["--root", str(path), "--dataset-config-file", str(config), *options]
    try:
        with redirect_stdout(io.StringIO()):
            found = datasets.build_dataset(host.setup_cfg([*words, "DATASET.NUM_SHOTS", "0"]))
    except (LorealError, OSError, ValueError) as error:
        return Finding(f"dataset {name}", f"missing: {one_line(error)}", False, needed=False)
    parts = {"train": found.train_x, "val": found.val or [], "test": found.test}
    counts = ", ".join(f"{part} {len(items)}" for part, items in parts.items())
    total = len({item.impath for items in parts.values() for item in items})
    return Finding(
        f"dataset {name}", f"{found.num_classes} classes, {total} images ({counts})", True
    )

"""`loreal.json`, the description of a package, and the hashes of its files."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loreal_plugin.digests import digest_file
from loreal_plugin.edge.head import Head
from loreal_plugin.edge.layout import (
    CARD,
    ENCODERS,
    FORMAT,
    GOLDEN,
    MANIFEST,
    SCHEMA_VERSION,
    SUMS,
    sums_of,
)
from loreal_plugin.edge.pixels import recipe_of
from loreal_plugin.export.golden import TOLERANCE
from loreal_plugin.export.head_files import OPSET
from loreal_plugin.export.need import TOOLS
from loreal_plugin.export.precision import BATCH_DEPENDENT
from loreal_plugin.files import read_json, write_text
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.results.provenance import git_revision, versions

_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")  # made by whoever looks into a folder
_OF_RUN = ("key", "protocol", "dataset", "seed", "shots", "native_size", "recipe", "git_revision")


def manifest_of(
    deployed: Deployed,
    record: Mapping[str, Any],
    heads: Mapping[str, tuple[Head, Sequence[Path]]],
    precision: str,
    kind: str = "onnx",
) -> dict[str, Any]:
    """Return the description of a package whose files are not counted yet.

    Args:
        record: the run's results.json.
        heads: by name: the head and its files; a device reads the first, the last has the tensors.
        precision: of the encoder.
        kind: format of the encoder, `onnx` or `litert`.
    """
    first = next(iter(heads.values()))[0]
    written = [file for _, files in heads.values() for file in files]
    assert len(set(written)) == len(written), "each head has files of its own"
    contract = deployed.beta.contract
    words = [word if isinstance(word, str) else list(word) for word in deployed.beta.words]
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "method": contract.method,
        "title": f"{contract.title} + LOREAL"
        + (", adapted image side" if deployed.beta.adaptation else ""),
        "phi": deployed.phi,
        "precision": precision,
        **({"opset": OPSET} if kind == "onnx" else {}),
        "mode": first.mode,
        "logit_scale": first.scale,
        "picture": recipe_of(deployed.phi, deployed.beta.cfg.INPUT.INTERPOLATION),
        "encoder": _encoder_facts(first, precision, kind),
        "attributes": words,
        "heads": {name: _head_facts(head, files) for name, (head, files) in heads.items()},
        "golden": {
            "file": GOLDEN,
            "head": next(iter(heads)),
            "tolerance": TOLERANCE[precision],
        },
        "run": _run_facts(deployed, record),
        "accuracy": {"rows": rows_of(record), "check": None},
        "versions": versions() | {name: _version(name) for name in TOOLS[kind]},
        "exporter_revision": git_revision(),
        "files": {},
    }


def _encoder_facts(head: Head, precision: str, kind: str) -> dict[str, Any]:
    # the LiteRT encoder takes one picture; that of ONNX any number
    fixed = {"batch": 1} if kind == "litert" else {}
    return {
        "format": kind,
        "file": ENCODERS[kind],
        "input": "pixels",
        "output": "features",
        "features": head.tensors["weights"].shape[1],
        "rows_independent": kind == "litert" or precision not in BATCH_DEPENDENT,
        **fixed,
    }


def _run_facts(deployed: Deployed, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return which run it was, on what host and weights, with which settings."""
    found = {name: record.get(name) for name in _OF_RUN} | {"key": deployed.facts["key"]}
    found |= {"host": record["host"], "weights": weights_facts(record["weights"])}
    # which row of the run's table the package is
    found |= {"image_side": "adapted" if deployed.beta.adaptation else "the host's"}
    return found | {"correction": deployed.model.options.drift, "loreal": _options(record)}


def _head_facts(head: Head, files: Sequence[Path]) -> dict[str, Any]:
    weights = head.tensors["weights"]
    return {
        "file": f"heads/{files[0].name}",
        "tensors": f"heads/{files[-1].name}",
        "mode": head.mode,
        "labels": list(head.labels),
        # how much each feature of the encoder counts for a class; one row where all are alike
        "fusion": (weights[:1] if (weights == weights[:1]).all() else weights).tolist(),
    }


def _options(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's settings of LOREAL by key."""
    prefix = "TRAINER.LOREAL."
    found = record.get("config") or {}
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def rows_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the run's table: accuracies in percent by test set, without single pictures."""
    rows = []
    for row in record.get("rows") or []:
        scores = row.get("targets") or {n: row[n] for n in ("base", "new") if n in row}
        kept = {name: round(score["accuracy"], 2) for name, score in scores.items()}
        rows.append({"label": row["label"], "accuracy": kept, "hm": row.get("hm")})
    return rows


def weights_facts(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return name, hash and licence of the CLIP weights that an encoder is made of."""
    name = Path(str(weights["name"])).name
    known = {"demo": "MIT, of the LOREAL plug-in", "demo-2": "MIT, of the LOREAL plug-in"}
    openai = "/" in str(weights["name"]) and str(weights["name"]).startswith(("ViT-", "RN"))
    licence = known.get(name, "MIT, of OpenAI's CLIP" if openai else "that of their source")
    shown = str(weights["name"]) if openai else name
    return {"name": shown, "sha256": weights["sha256"], "licence": licence}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def unlisted_files(folder: Path) -> list[str]:
    """Return the files in the folder of a package that its description does not list; none where
    there is no description that can be read.
    """
    listed = (read_json(folder / MANIFEST) or {}).get("files")
    if not isinstance(listed, dict):
        return []
    found = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    names = (path.relative_to(folder).as_posix() for path in found if path.name not in _OF_SYSTEMS)
    return sorted(set(names) - {MANIFEST, SUMS, *listed})


def write_manifest(folder: Path, manifest: dict[str, Any], *, sealed: bool) -> None:
    """Write `loreal.json` and SHA256SUMS of a package; the hashes are taken of what lies there.

    Args:
        sealed: all files are there; else the golden pictures and the card are still to come.
    """
    own = {MANIFEST, SUMS}
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in own)
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {
            "sha256": digest_file(path),
            "bytes": path.stat().st_size,
        }
        for path in files
    }
    assert not sealed or {manifest["encoder"]["file"], GOLDEN, CARD} <= set(manifest["files"])
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / MANIFEST, text)
    write_text(folder / SUMS, sums_of(text.encode("utf-8"), manifest["files"]))

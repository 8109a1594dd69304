"""What a package is on disk: its files, its description `loreal.json`, and whether it is whole.

`loreal.json` has the SHA-256 of every file; `SHA256SUMS` has that of `loreal.json`, too, in the
format that `sha256sum -c` reads. A package is used only where all of them are right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loreal_plugin.digests import digest_bytes, digest_file
from loreal_plugin.errors import CheckpointError
from loreal_plugin.files.schema import fault_of

FORMAT, SCHEMA_VERSION = "loreal-package", 1
MANIFEST, SUMS, CARD = "loreal.json", "SHA256SUMS", "README.md"
ENCODER, GOLDEN = "encoder.onnx", "golden.npz"
ENCODERS = {"onnx": ENCODER, "litert": "encoder.tflite"}  # by format; a package has one of them
HEADS, TEXT, MERGES, WEB = "heads", "text.onnx", "merges.txt.gz", "web"


def schema_file() -> Path:
    """Return the JSON Schema of `loreal.json`."""
    return Path(__file__).with_name("loreal.schema.json")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a package's description, after the check of its own hash.

    Raises:
        CheckpointError: no package, a damaged description, one of another schema version or that is
            not valid under the schema, or one that names a file outside the package or the same
            for two heads.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"no package in {folder}: {MANIFEST} was looked for; make one with loreal export"
        )
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        found = manifest["format"], manifest["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); export or copy it again") from None
    if found != (FORMAT, SCHEMA_VERSION):
        raise CheckpointError(
            f"{path} is '{found[0]}' of schema version {found[1]}; this release reads"
            f" '{FORMAT}' of version {SCHEMA_VERSION}: export the run again, or use the release"
            f" that wrote it ({_release(manifest)})"
        )
    fault = fault_of(manifest, json.loads(schema_file().read_text(encoding="utf-8")), "it")
    if fault:
        raise CheckpointError(
            f"{path} is no description that this release can follow: {fault}; export the run"
            f" again, or use the release that wrote it ({_release(manifest)})"
        )
    try:
        sums = (folder / SUMS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder / SUMS} cannot be read: {error}; copy it again") from None
    if sums != sums_of(content, manifest["files"]).encode():
        raise CheckpointError(
            f"{path} and {SUMS} do not fit each other: one of the two is damaged; export or copy"
            " the package again"
        )
    for name in manifest["files"]:
        inside(folder, name)
    files = [head["file"] for head in manifest["heads"].values()]
    if len(set(files)) < len(files):
        raise CheckpointError(
            f"{path} names one file for several heads, so that some would give the answers of"
            " another; export the run again"
        )
    return manifest


def _release(manifest: Mapping[str, Any]) -> str:
    versions = manifest.get("versions")
    return versions.get("loreal-plugin", "unknown") if isinstance(versions, dict) else "unknown"


def sums_of(manifest: bytes, files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the content of SHA256SUMS for the bytes of `loreal.json` and the files it lists."""
    lines = [f"{facts['sha256']}  {name}" for name, facts in files.items()]
    return "\n".join([f"{digest_bytes(manifest)}  {MANIFEST}", *lines]) + "\n"


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check the hash of every file of a package.

    Raises:
        CheckpointError: one is missing, or its content is not what was exported; it is named.
    """
    for name, facts in manifest["files"].items():
        path = folder / name
        try:
            found = digest_file(path)
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read: {error}; copy the package again"
            ) from None
        if found != facts["sha256"]:
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}; copy the package"
                " again"
            )


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a description names.

    Raises:
        CheckpointError: it would lie outside the package.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder / MANIFEST} names '{name}', which lies outside the package")
    return path

"""New class names on the device: text.onnx turns prompts of token ids into text features.

A prompt is a row of ids: those before the name, those of the name, those after it. Learned context
and the contents of the slots are ids beyond the vocabulary; the prompt's rows are in the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.edge.bpe import BytePairs
from loreal_plugin.edge.head import Head
from loreal_plugin.edge.layout import MANIFEST, check_files, inside, read_manifest
from loreal_plugin.edge.package import session
from loreal_plugin.errors import CheckpointError, ConfigError, one_line


def head_of_names(folder: str | Path, names: Sequence[str], threads: int = 1) -> Head:
    """Return a `static` head of class names, made by a package's text encoder.

    Args:
        folder: a package that was exported with its text encoder.
        names: C class names.

    Raises:
        ConfigError: the package has no text encoder, or a name cannot be a class.
        CheckpointError: no package, or a damaged one.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    facts = manifest.get("text")
    if not facts:
        onnx = manifest["encoder"].get("format", "onnx") == "onnx"
        ways = "export it with --text, or make" if onnx else "it is a LiteRT package; make"
        raise ConfigError(
            f"{folder} has no text encoder: {ways} the head from the run with loreal head"
        )
    encode = BytePairs.read(inside(folder, facts["merges"]))
    run = session(inside(folder, facts["file"]), threads)
    prompts = [prompt_ids(name, encode, facts) for name in checked_names(names)]
    try:
        # one class at a time: rounding of 8-bit activations would else depend on the others
        rows = [run.run(None, {"ids": np.array([ids], np.int64)})[0] for ids in prompts]
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise CheckpointError(
            f"{folder / facts['file']} cannot read the prompts that {MANIFEST} describes"
            f" ({one_line(error)}); export the package again"
        ) from None
    weights = np.tile(np.array(facts["fusion"], np.float32), (len(rows), 1))
    tensors = {"text": np.concatenate(rows), "weights": weights}
    labels = tuple(name.replace("_", " ") for name in names)
    return Head(labels, "static", manifest["logit_scale"], manifest["run"]["key"], tensors)


def checked_names(names: Sequence[str]) -> Sequence[str]:
    """Return class names; ConfigError where there are none, or one twice."""
    plain = [name.replace("_", " ").strip() for name in names]
    if not plain or not all(plain):
        raise ConfigError("at least one class name is needed, and none may be empty")
    twice = sorted({name for name in plain if plain.count(name) > 1})
    if twice:
        raise ConfigError(f"class names are given twice: {', '.join(twice[:5])}")
    return names


def prompt_ids(name: str, encode: BytePairs, facts: Mapping[str, Any]) -> list[int]:
    """Return the prompt of a class as ids (L,).

    Raises:
        ConfigError: the name has no letter, ends in a sign that melts into the full stop, or is
            too long.
    """
    text = name.replace("_", " ").strip()
    ids = encode(text)
    if not ids or not text[-1].isalnum():
        raise ConfigError(
            f"class '{name}' must end in a letter or a digit: a sign melts into what follows it;"
            " make its head from the run with loreal head"
        )
    row = [*facts["before"], *ids, *facts["after"]]
    length = int(facts["length"])
    if len(row) > length:
        raise ConfigError(
            f"class '{name}' is too long: its prompt takes {len(row)} tokens, the text encoder"
            f" reads {length}"
        )
    return row + [0] * (length - len(row))

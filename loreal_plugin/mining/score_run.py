"""Scores a file's words with the CLIP at hand on the few-shot training pictures of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from loreal_plugin.demo import world
from loreal_plugin.errors import ConfigError
from loreal_plugin.mining.answers import class_key
from loreal_plugin.mining.attribute_file import AttributeFile
from loreal_plugin.mining.clip_model import ClipModel
from loreal_plugin.mining.labelled_pictures import open_dataset
from loreal_plugin.mining.score import WordScore, score_words
from loreal_plugin.runs.spec import DEMO_DATASETS
from loreal_plugin.weights import weights_fingerprint


@dataclass(frozen=True)
class Scored:
    """The scores, what each word is, whose classes they are about, and how they were measured."""

    scores: list[WordScore]
    kinds: dict[str, str]
    classnames: list[str]
    how: dict[str, Any]
    headline: str


def score_file(
    file: AttributeFile,
    dataset: str,
    *,
    extra: Sequence[str] = (),
    weights: str | None = None,
    phi: int = 96,
    subset: str = "base",
    shots: int = 16,
    seed: int = 1,
    data: str | None = None,
    descriptions: bool = True,
    values: Mapping[str, Sequence[str]] | None = None,
) -> Scored:
    """Return the scores of a file's attributes, its rejected candidates and `extra` words.

    `values` (word -> values) come on top of the file's own. Only training pictures are read, by
    default of the base classes: new classes are not there to choose on.

    Raises:
        LorealError: dataset, weights or phi that cannot be used.
    """
    if shots < 1:
        raise ConfigError(f"--shots must be at least 1, not {shots}")
    weights = weights or ("demo" if dataset in DEMO_DATASETS else "ViT-B/16")
    found = open_dataset(
        dataset, data=data, subset=subset, shots=shots, seed=seed, weights=weights, phi=phi
    )
    names = [str(name) for name in found.classnames]
    kinds = _kinds(file, extra)
    clip = ClipModel(weights, "cuda" if torch.cuda.is_available() else "cpu")
    paths = [item.impath for item in found.train_x]
    features = {size: _encode(clip, paths, size) for size in (clip.native_size, phi)}
    texts = _descriptions(file, names) if descriptions else None
    scores = score_words(
        list(kinds),
        names,
        native=features[clip.native_size],
        phi=features[phi],
        labels=torch.tensor([item.label for item in found.train_x]),
        encode_texts=clip.encode_texts,
        descriptions=texts,
        values=_values(file, dataset) | dict(values or {}),
    )
    kind_of_texts = "descriptions" if texts else "class prompts"
    drawn = {"phi": phi, "classes": subset, "shots": shots, "seed": seed}
    how = _how(kind_of_texts, weights, clip) | drawn
    pictures = f"{len(paths)} training pictures of {len(names)} {subset} classes"
    headline = f"{dataset}: {pictures}, weights {weights}, texts: {kind_of_texts}"
    return Scored(scores, kinds, names, how, headline)


def _how(texts: str, weights: str, clip: ClipModel) -> dict[str, Any]:
    """Return what is said of a measurement beside the pictures it was made on."""
    return {
        "measured": "see loreal_plugin/mining/score.py",
        "texts": texts,
        "weights": weights_fingerprint(weights),
        "native_size": clip.native_size,
    }


def _kinds(file: AttributeFile, extra: Sequence[str]) -> dict[str, str]:
    """Return word -> `attribute`, `rejected` or `asked`; a word has the first that fits."""
    kinds = dict.fromkeys(file.words.words, "attribute")
    for words, kind in ((file.rejected, "rejected"), (extra, "asked")):
        kinds = dict.fromkeys(words, kind) | kinds
    return kinds


def _values(file: AttributeFile, dataset: str) -> dict[str, Sequence[str]]:
    """Return the values of words; the demonstration world knows its own."""
    return (dict(world.VALUES) if dataset in DEMO_DATASETS else {}) | file.values


def _descriptions(file: AttributeFile, names: Sequence[str]) -> dict[str, str] | None:
    """Return the descriptions by the dataset's spelling, None unless every class has one."""
    known = {class_key(name): text for name, text in file.descriptions.items()}
    if any(class_key(name) not in known for name in names):
        return None
    return {name: known[class_key(name)] for name in names}


def _encode(clip: ClipModel, paths: Sequence[str], size: int) -> torch.Tensor:
    from tqdm import tqdm

    with tqdm(total=len(paths), desc=f"pictures at {size}", file=sys.stderr, disable=None) as bar:
        return clip.encode_pictures(paths, size, bar.update)

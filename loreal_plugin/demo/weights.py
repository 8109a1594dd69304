"""Packs a demonstration CLIP into a small file, and expands that to a full CLIP state dict.

The file holds fp16 tensors under OpenAI's keys. Of the token embedding it has the trained rows
alone, and their token ids. Expanding fills the other rows with fixed random vectors of
the same mean and spread: they let any prompt run, and mean nothing.

Importing this module needs numpy and torch; reading and writing need safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from loreal_plugin.demo import world
from loreal_plugin.files import digest_file

DEMO_WEIGHTS = {"demo": "demo.safetensors", "demo-2": "demo-2.safetensors"}
# a rebuilt file has another hash: `sha256sum` tells it
SHA256 = {
    "demo": "bee142ff1d49d4c6a31b914fc329dddf49e53166cd651ca1b7be95ef63104139",
    "demo-2": "9a98ebc25b3ec8ebd15d9ce364816fdbb77db83f1873312a919036715f04875f",
}
FORMAT_VERSION = 1
MAX_BYTES = 4 * 1024 * 1024
VOCAB_SIZE = 49408
FILLER_SEED = 20_26

_EMBEDDING = "token_embedding.weight"
_ROWS, _IDS = "token_embedding.trained_rows", "token_embedding.trained_ids"


def weights_file(name_or_path: str | Path = "demo") -> Path:
    """Return the file of "demo", "demo-2" or a path.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    shipped = DEMO_WEIGHTS.get(str(name_or_path))
    path = Path(__file__).parent / "weights" / shipped if shipped else Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f"demonstration weights '{name_or_path}': no file {path}; the shipped ones are "
            f"{', '.join(DEMO_WEIGHTS)}, others are made by benchmarks/demo_world of the checkout"
        )
    return path


def pack_state_dict(
    state_dict: dict[str, Tensor], token_ids: list[int], path: Path, metadata: dict
) -> None:
    """Write a state dict whose token embedding has a row per entry of `token_ids`, atomically."""
    from loreal_plugin.files.tensors import write_tensors

    if len(state_dict[_EMBEDDING]) != len(token_ids):
        raise ValueError(
            f"{len(token_ids)} token ids for {len(state_dict[_EMBEDDING])} embedding rows"
        )
    tensors = {
        key: value.half().contiguous() for key, value in state_dict.items() if key != _EMBEDDING
    }
    tensors[_ROWS] = state_dict[_EMBEDDING].half().contiguous()
    tensors[_IDS] = torch.tensor(token_ids, dtype=torch.int32)
    header = {"format_version": FORMAT_VERSION, "world_version": world.WORLD_VERSION, **metadata}
    write_tensors(path, tensors, {"format": "pt", "demo": json.dumps(header, sort_keys=True)})


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a packed file; ValueError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}); fetch or build it again"
        ) from error
    missing = [key for key in (_ROWS, _IDS) if key not in tensors]
    if missing:
        raise ValueError(f"{path} is no demonstration CLIP: it lacks {', '.join(missing)}")
    return tensors


def read_metadata(name_or_path: str | Path = "demo") -> dict:
    """Return what was written beside the weights: seed, steps, versions, settings."""
    from safetensors import safe_open

    with safe_open(weights_file(name_or_path), framework="pt") as stored:
        return json.loads((stored.metadata() or {}).get("demo", "{}"))


def check_shipped(name: str) -> None:
    """Raise ValueError if `name` is "demo" or "demo-2" and its file is not the shipped one.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    wanted = SHA256.get(name)
    if wanted and digest_file(weights_file(name)) != wanted:
        raise ValueError(
            f"{weights_file(name)} is not the file that this release ships: its SHA-256 differs;"
            " install loreal-plugin again"
        )


def _filler(rows: Tensor) -> Tensor:
    """Return VOCAB_SIZE fixed random rows with the mean and the spread of `rows` (V, D)."""
    generator = torch.Generator().manual_seed(FILLER_SEED)
    noise = torch.randn(VOCAB_SIZE, rows.shape[1], generator=generator)
    return rows.mean(0) + noise * rows.std(0)


def expand_demo_state_dict(name_or_path: str | Path = "demo") -> dict[str, Tensor]:
    """Return the full fp32 state dict, with OpenAI's keys, for `clip.model.build_model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, is no packed demonstration CLIP, or bears the name of a
            shipped one and is another.
    """
    check_shipped(str(name_or_path))
    tensors = _read(weights_file(name_or_path))
    rows, ids = tensors.pop(_ROWS).float(), tensors.pop(_IDS).long()
    state_dict = {key: value.float() for key, value in tensors.items()}
    embedding = _filler(rows)
    embedding[ids] = rows
    state_dict[_EMBEDDING] = embedding
    return state_dict


@lru_cache(maxsize=8)
def _trained_tokens(path: Path) -> frozenset[int]:
    """Return the ids of the tokens that were trained."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        return frozenset(stored.get_tensor(_IDS).tolist())


def untrained_tokens(token_ids: Iterable[int], name_or_path: str | Path = "demo") -> list[int]:
    """Return those of `token_ids` (in order, once each, no padding) that the CLIP never saw."""
    trained = _trained_tokens(weights_file(name_or_path))
    return [
        token
        for token in dict.fromkeys(int(token) for token in token_ids)
        if token and token not in trained
    ]

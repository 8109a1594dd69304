"""The embedding cache: what a frozen student says about every picture and view, computed once.

Each student has an entry of its own in the store, so alpha's is used again after a change of phi.

Shapes: N pictures, V views, F features a picture, D_v embedding width.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from loreal_plugin.errors import DataError
from loreal_plugin.files.caches import without_cache
from loreal_plugin.files.locks import shared_lock
from loreal_plugin.files.store import VerifiedStore, store_key
from loreal_plugin.pictures import picture_identity

CACHE_VERSION = 1
ARRAY = "embeddings"


def pictures_digest(items: Sequence[Any]) -> str:
    """Return a hash of what the pictures are, in order (names do not matter, contents do).

    Raises:
        DataError: a picture cannot be read.
    """
    whole = hashlib.sha256()
    for item in items:
        try:
            whole.update(bytes.fromhex(picture_identity(Path(item.impath).read_bytes())))
        except OSError as error:
            raise DataError(f"picture {item.impath} cannot be read: {error}") from error
    return whole.hexdigest()


def cache_key(ingredients: Mapping[str, Any]) -> str:
    """Return the hash of everything that can change an embedding, library versions included."""
    return store_key(_with_versions(ingredients), 32)


class EmbeddingCache:
    """A folder of entries that many runs share; one process builds an entry at a time."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()
        self._store = VerifiedStore(self.folder, "embedding cache")

    def get_or_build(self, ingredients: Mapping[str, Any], build: Callable[[], Tensor]) -> Tensor:
        """Return the (N, V, F, D_v) array of these ingredients, built where no entry is valid.

        A cache that cannot be written is named once; what it holds is read all the same.
        """
        complete = _with_versions(ingredients)
        key = store_key(complete, 32)
        with self._lock(key):
            found = self._store.read(key, complete)
            if found is not None:
                return found[0][ARRAY]
            values = build().detach().cpu().contiguous()
            self._write(key, complete, values)
            return values

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold an entry's lock where the folder can have one: one process at a time builds it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = shared_lock(self.folder / f"{key}.lock")
            lock.acquire()
        except OSError as error:
            without_cache(self.folder, error)
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _write(self, key: str, complete: Mapping[str, Any], values: Tensor) -> None:
        try:
            self._store.write(key, complete, {ARRAY: values}, {"shape": list(values.shape)})
        except OSError as error:
            without_cache(self.folder, error)


@torch.no_grad()
def encode_views(
    encode: Callable[[Tensor], Tensor],
    views: Dataset,
    *,
    batch_size: int,
    num_workers: int = 0,
    device: torch.device | str = "cpu",
    title: str = "",
) -> Tensor:
    """Return the embeddings (N, V, F, D_v) of all views of all pictures.

    Args:
        encode: pictures (n, 3, S, S) -> (n, F, D_v), a frozen student.
        views: gives `((V, 3, S, S), index)` for every picture.
        batch_size: pictures an encoder call, views counted.

    Raises:
        DataError: a picture's embedding is not finite; nothing is kept of it.
    """
    n_views = max(1, getattr(views, "n_views", 1))
    loader = DataLoader(views, batch_size=max(1, batch_size // n_views), num_workers=num_workers)
    rows: dict[int, Tensor] = {}
    for pictures, index in progress(loader, title):
        features = encode(pictures.flatten(0, 1).to(device)).cpu()
        features = features.unflatten(0, pictures.shape[:2])  # (b, V, F, D_v)
        _check_finite(features, index.tolist(), views)
        rows.update(zip(index.tolist(), features, strict=True))
    return torch.stack([rows[i] for i in range(len(rows))])


def _check_finite(features: Tensor, index: Sequence[int], views: Dataset) -> None:
    """Raise DataError where the features (b, V, F, D_v) of pictures have no finite numbers."""
    wrong = [i for i, rows in zip(index, features, strict=True) if not torch.isfinite(rows).all()]
    if wrong:
        items = getattr(views, "items", None)
        names = [str(items[i].impath) if items else f"number {i}" for i in wrong[:3]]
        raise DataError(
            f"the image encoder's embedding of {len(wrong)} picture(s) is not finite:"
            f" {', '.join(names)}; look at them, or compute in full precision (PREC fp32)"
        )


def progress(work: Iterable[Any], title: str) -> Iterator[Any]:
    """Yield from sized work with a bar on a terminal, else with a line every tenth."""
    if sys.stderr.isatty():
        yield from tqdm(work, desc=title, leave=False)
        return
    total, shown = len(work), 0  # type: ignore[arg-type]
    for done, part in enumerate(work, start=1):
        yield part
        if done * 10 // total > shown:
            shown = done * 10 // total
            print(f"{title}: {done}/{total}", flush=True)


def _with_versions(ingredients: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ingredients with the versions that decide about pixels."""
    versions = {
        "cache": CACHE_VERSION,
        "pillow": PIL.__version__,
        "torchvision": torchvision.__version__,
    }
    return {**ingredients, "versions": versions}

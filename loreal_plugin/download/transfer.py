"""One file over HTTP: resumed where it was cut, compared with what was published.

torchvision's `download_url` does not go on where a transfer was cut, and falls back from https to
http; so the standard library's client is used here.
"""

from __future__ import annotations

import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from loreal_plugin.digests import digest, digest_file
from loreal_plugin.download.table import Dataset, Source
from loreal_plugin.errors import TransferError
from loreal_plugin.version import __version__

TRIES = 5  # without a byte of progress
PAUSE = 2.0  # seconds before the next try
TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 1 << 18
_NOT_SATISFIABLE = 416


def fetch(source: Source, folder: Path) -> Path:
    """Return the file of a source in a folder; what an earlier call left is gone on with.

    Raises:
        TransferError: the server does not give it, or it is not the published one.
        OSError: the disk is full; what has arrived stays for the next call.
    """
    if not source.url.startswith(("https://", "http://")):
        raise TransferError(f"{source.url}: only http and https are used")
    target = folder / source.name
    if not target.is_file():
        # two servers may have different files of one name
        part = target.with_name(f"{target.name}.{digest(source.url)[:8]}.part")
        folder.mkdir(parents=True, exist_ok=True)
        _download(source, part)
        part.replace(target)
    try:
        compare(target, source)
    except TransferError:
        target.unlink()
        raise
    return target


def compare(path: Path, source: Source) -> None:
    """Check size and hash of a file, as far as these were published.

    Raises:
        TransferError: the file is not the published one.
    """
    size, kind = path.stat().st_size, source.hash_kind
    what = f"{path.name} is not the published file of {source.url}"
    if source.size and size != source.size:
        raise TransferError(f"{what}: it has {size:,} bytes, not {source.size:,}")
    if kind and (found := digest_file(path, kind)) != source.hash:
        raise TransferError(f"{what}: its {kind} is {found}, not {source.hash}")


def published(row: Dataset, path: Path) -> bool:
    """Return whether a file is one that was published for a dataset under this name."""
    sources = [source for part in row.parts for source in part.sources if source.hash]
    return any(
        source.name == path.name and digest_file(path, source.hash_kind) == source.hash
        for source in sources
    )


def _download(source: Source, part: Path) -> None:
    """Bring the missing bytes of a file; tries again while bytes arrive."""
    tries = 0
    while True:
        have = part.stat().st_size if part.is_file() else 0
        try:
            if _request_rest(source, part, have):
                return
            fault = "the transfer was cut"
        except HTTPError as error:
            if error.code == _NOT_SATISFIABLE and have:
                part.unlink()  # it is longer than the server's file: begin anew
            elif error.code < 500:
                raise TransferError(f"{source.url}: {error.code} {error.reason}") from error
            fault = f"{error.code} {error.reason}"
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            fault = str(getattr(error, "reason", "") or error)
        grown = part.is_file() and part.stat().st_size > have
        tries = 0 if grown else tries + 1
        if tries >= TRIES:
            raise TransferError(f"{source.url}: {fault}")
        time.sleep(0 if grown else PAUSE)


def _request_rest(source: Source, part: Path, have: int) -> bool:
    """Ask for the bytes from `have` on and write them; return whether the file is whole now."""
    headers = {"User-Agent": f"loreal-plugin/{__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urlopen(Request(source.url, headers=headers), timeout=TIMEOUT) as answer:
        if answer.headers.get_content_type() == "text/html":
            raise TransferError(f"{source.url} answers with a web page, not with a file")
        start = have if answer.status == 206 else 0  # a server may send all of it again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else source.size
        _write(answer, part, start, total, source.name)
    return not total or part.stat().st_size >= total


def _write(answer: HTTPResponse, part: Path, start: int, total: int, name: str) -> None:
    """Append what arrives to a file that has `start` bytes, with a bar on a terminal."""
    facts = {"total": total or None, "initial": start, "unit": "B", "unit_scale": True}
    with open(part, "ab" if start else "wb") as file, tqdm(desc=name, disable=None, **facts) as bar:
        while block := answer.read1(_BLOCK):
            file.write(block)
            bar.update(len(block))

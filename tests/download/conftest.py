"""A table of datasets whose only server is a local one, which counts and breaks what it sends."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from miniatures import oxford_pets
from werkzeug import Request, Response

from loreal_plugin.download import table, transfer


class Server:
    """Sends files of a folder; `faults` says for a name how its next answers are broken."""

    def __init__(self, httpserver: Any, folder: Path) -> None:
        self.folder, self.address = folder, httpserver.url_for("").rstrip("/")
        self.asked: list[tuple[str, str]] = []  # names and ranges
        self.faults: dict[str, list[str]] = {}
        httpserver.expect_request(re.compile("/.*")).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2]
        wanted = request.headers.get("Range", "")
        self.asked.append((name, wanted))
        fault = (self.faults.get(name) or [""]).pop(0)
        path = self.folder / name
        if fault == "404" or not path.is_file():
            return Response("gone", 404)
        if fault == "page":
            return Response("<html>sign in</html>", 200, content_type="text/html")
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fault != "all" else 0
        rest = content[start:]
        answer = Response(rest, 206 if start else 200, content_type="application/octet-stream")
        if fault == "cut":
            answer.set_data(rest[: len(rest) // 2])
            answer.headers["Content-Length"] = str(len(rest))
        return answer

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def source(self, name: str, **facts: Any) -> dict[str, Any]:
        """Return a source of the table with the hash of the file that is sent."""
        content = (self.folder / name).read_bytes()
        known = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return {"url": self.url(name), **known, **facts}


def pack(archive: Path, folder: Path, *names: str) -> Path:
    """Write a tar.gz of paths below a folder, with the folder's name in front."""
    with tarfile.open(archive, "w:gz") as packed:
        for name in names or ("",):
            packed.add(folder / name, arcname=f"{folder.name}/{name}".rstrip("/"))
    return archive


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be large: the published sizes are those of whole datasets."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**15, 0, 10**15))


@pytest.fixture
def server(httpserver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Give a server with the three files of a miniature of Oxford Pets."""
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    sent = tmp_path / "sent"
    sent.mkdir()
    mini = oxford_pets(tmp_path / "published")
    pack(sent / "images.tar.gz", mini.folder, "images")
    pack(sent / "annotations.tar.gz", mini.folder, "annotations")
    return Server(httpserver, sent)


@pytest.fixture
def use_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give a function that makes a table of one dataset with these parts."""

    def use(name: str, *parts: dict[str, Any], **facts: Any) -> None:
        row = {
            "title": "Test",
            "page": "https://example.org/",
            "licence": "free",
            "classes": 3,
            "pictures": [24, 6, 15],
            **facts,
            "parts": parts,
        }
        path = tmp_path / "table.json"
        path.write_text(json.dumps({"datasets": {name: row}}))
        monkeypatch.setattr(table, "TABLE", path)
        table.datasets.cache_clear()

    yield use
    table.datasets.cache_clear()


@pytest.fixture
def pets(server: Server, use_table: Callable[..., None], tmp_path: Path) -> Path:
    """Give an empty DATA; the table has Oxford Pets in two archives of the local server."""
    use_table(
        "oxford_pets",
        {"gives": ["images"], "sources": [server.source("images.tar.gz")]},
        {"gives": ["annotations"], "sources": [server.source("annotations.tar.gz")]},
    )
    return tmp_path / "data"

"""A static page that names pictures in the browser, in two forms.

`web/index.html` is served together with its package; `web/single.html` has everything inside and
opens from disk. Both run onnxruntime-web in WebAssembly and ask nothing from anywhere else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loreal_plugin.edge.layout import ENCODER, MANIFEST, WEB
from loreal_plugin.errors import ConfigError
from loreal_plugin.files import write_bytes, write_text

PARTS = Path(__file__).with_name("web")
NPM_NAME = "onnxruntime-web"
# names on the page -> files of the npm package
RUNTIME = {"ort.mjs": "ort.wasm.bundle.min.mjs", "ort.wasm": "ort-wasm-simd-threaded.wasm"}
_SCRIPTS = ("bicubic.js", "page.js")


def find_runtime(folder: str = "") -> dict[str, Path]:
    """Return the files of onnxruntime-web that a page needs.

    Args:
        folder: of the npm package, or one with `node_modules`; empty: the current folder.

    Raises:
        ConfigError: they are not there.
    """
    start = Path(folder or ".").expanduser()
    inside = start / "node_modules" / NPM_NAME
    for place in (start, inside):
        files = {name: place / "dist" / file for name, file in RUNTIME.items()}
        if all(path.is_file() for path in files.values()):
            return files
    raise ConfigError(
        f"--web needs {' and '.join(RUNTIME.values())} of the npm package {NPM_NAME}, looked for in"
        f" {start / 'dist'} and {inside / 'dist'}: run npm install {NPM_NAME} here, or name its"
        " folder with --web FOLDER"
    )


def write_page(folder: Path, manifest: Mapping[str, Any], runtime: Mapping[str, Path]) -> None:
    """Write the served page of a package into its folder `web`.

    Args:
        folder: of the package.
        runtime: from `find_runtime`.

    Raises:
        LorealError: a file cannot be written.
    """
    for name, path in runtime.items():
        write_bytes(folder / WEB / name, path.read_bytes())
    for name in (*_SCRIPTS, "page.css"):
        write_bytes(folder / WEB / name, (PARTS / name).read_bytes())
    own = [MANIFEST, ENCODER, *_heads(manifest)]
    places = {name: name for name in runtime} | {name: f"../{name}" for name in own}
    page = _page(
        style='<link rel="stylesheet" href="page.css">',
        files=_json("places", places),
        scripts="\n".join(f'<script src="{name}"></script>' for name in _SCRIPTS),
    )
    write_text(folder / WEB / "index.html", page)


def write_single(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the page with everything inside.

    The description in it is that of the package before this page was added.

    Raises:
        LorealError: it cannot be written.
    """
    files = {name: folder / WEB / name for name in RUNTIME}
    files |= {name: folder / name for name in (ENCODER, *_heads(manifest))}
    inside = {name: path.read_bytes() for name, path in files.items()}
    inside[MANIFEST] = json.dumps(manifest, ensure_ascii=False).encode("utf-8")
    texts = [
        f'<script type="text/plain" id="file:{name}">{base64.b64encode(value).decode()}</script>'
        for name, value in inside.items()
    ]
    page = _page(
        style=f"<style>\n{_part('page.css')}</style>",
        files="\n".join([_json("places", {}), *texts]),
        scripts="\n".join(f"<script>\n{_part(name)}</script>" for name in _SCRIPTS),
    )
    write_text(folder / WEB / "single.html", page)


def _heads(manifest: Mapping[str, Any]) -> list[str]:
    return [head["file"] for head in manifest["heads"].values()]


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _json(name: str, value: Any) -> str:
    return f'<script type="application/json" id="{name}">{json.dumps(value)}</script>'


def _page(**parts: str) -> str:
    text = _part("index.html")
    for name, value in parts.items():
        text = text.replace(f"@{name.upper()}@", value)
    return text

"""The page: Pillow's resize in JavaScript, and the answers of a real browser.

LOREAL_TEST_ORT_WEB names a folder in which `npm install onnxruntime-web` was run.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from loreal_plugin.edge import Package
from loreal_plugin.edge.pixels import recipe_of, to_pixels
from loreal_plugin.errors import ConfigError
from loreal_plugin.export.export_run import seal
from loreal_plugin.export.web_page import PARTS, RUNTIME, find_runtime, write_page, write_single

SIZES = [(1, 1), (5, 300), (301, 96), (96, 301), (97, 97), (50, 70), (64, 48), (32, 32), (40, 90)]
NODE = """
const { encoderPixels } = require(process.argv[1]);
const cases = JSON.parse(require("fs").readFileSync(0));
const found = cases.map((c) => Array.from(
  encoderPixels(Uint8Array.from(c.rgb), c.width, c.height, c.recipe)));
console.log(JSON.stringify(found));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js: bicubic.js was not run")
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_the_resize_in_javascript_is_pillows_to_the_pixel(resample: str):
    rng, recipe = np.random.default_rng(0), recipe_of(32, resample)
    # tall pictures: the page shrinks columns first, as Pillow does from 13 on
    newest = int(PIL.__version__.split(".")[0]) >= 13
    sizes = [(w, h) for w, h in SIZES if newest or w >= h]
    pictures = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in sizes]
    cases = [
        {"rgb": one.ravel().tolist(), "width": w, "height": h, "recipe": recipe}
        for one, (w, h) in zip(pictures, sizes, strict=True)
    ]
    command = ["node", "-e", NODE, str(PARTS / "bicubic.js")]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for one, found, size in zip(pictures, json.loads(done.stdout), sizes, strict=True):
        wanted = to_pixels(Image.fromarray(one), recipe)
        assert np.array_equal(np.array(found).reshape(wanted.shape), wanted), size


def with_page(source: Path, folder: Path, runtime: dict[str, Path]) -> Path:
    """Return a copy of a package with its pages."""
    shutil.copytree(source, folder)
    manifest = json.loads((folder / "loreal.json").read_text("utf-8"))
    write_page(folder, manifest, runtime)
    write_single(folder, manifest)
    seal(folder, manifest, folder.name)
    return folder


def test_a_page_names_its_files_alone_and_is_part_of_the_package(
    package_of: Callable, tmp_path: Path
):
    dist = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    with pytest.raises(ConfigError, match="npm install onnxruntime-web"):
        find_runtime(str(tmp_path))
    dist.mkdir(parents=True)
    for name in RUNTIME.values():
        (dist / name).write_bytes(b"runtime")
    runtime = find_runtime(str(tmp_path))
    folder = with_page(package_of("maple", "static").folder, tmp_path / "p", runtime)
    for name in ("index.html", "single.html"):
        page = (folder / "web" / name).read_text("utf-8")
        assert not re.search(r"https?://", page) and "@" not in re.sub(r"@media", "", page)
    places = re.search(r'id="places">(.*?)</script>', (folder / "web/index.html").read_text())
    for place in json.loads(places[1]).values():
        assert (folder / "web" / place).is_file()
    files = Package.open(folder).manifest["files"]
    assert {"web/index.html", "web/single.html", "web/ort.wasm"} <= set(files)


def why_no_browser() -> str:
    """Return what a test in a browser lacks here, nothing where it can run."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    if not shutil.which("chromium"):
        return "there is no chromium"
    try:
        find_runtime(os.environ.get("LOREAL_TEST_ORT_WEB", ""))
    except ConfigError:
        return "LOREAL_TEST_ORT_WEB names no folder with onnxruntime-web"
    return ""


@pytest.fixture
def browser() -> Iterator[Any]:
    """Give a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as kit:
        found = kit.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


READ = """() => {
  const canvas = document.getElementById("square");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return Array.from(data);
}"""


@pytest.mark.skipif(bool(why_no_browser()), reason=f"no page was opened: {why_no_browser()}")
def test_a_browser_gives_the_answers_of_the_package(
    package_of: Callable, tmp_path: Path, browser: Any
):
    made = package_of("maple", "static")
    runtime = find_runtime(os.environ.get("LOREAL_TEST_ORT_WEB", ""))
    folder = with_page(made.folder, tmp_path / "p", runtime)
    handler = functools.partial(Silent, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    for url in (f"{home}web/index.html", (folder / "web" / "single.html").as_uri()):
        page = browser.new_page(viewport={"width": 360, "height": 740})
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        assert page.get_attribute("body", "data-ready") == "yes", page.inner_text("#said")
        page.context.set_offline(True)
        check_answers(page, Package.open(folder), made.files)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert all(one.startswith((home, "blob:", "file:", "data:")) for one in asked), asked
        page.close()
    server.shutdown()


def check_answers(page: Any, package: Package, files: list[str]) -> None:
    """Compare pixels, best class and its probability of pictures on an open page."""
    for count, path in enumerate(files[:3], start=1):
        page.set_input_files("#file", path)
        page.wait_for_selector(f"body[data-done='{count}']")
        side = package.size
        seen = np.array(page.evaluate(READ)).reshape(side, side, 4)[..., :3]
        assert np.array_equal(seen, package.pixels(path)), path
        best = package.predict([path])[0][0]
        assert page.inner_text("#classes li:first-child span") == best.classname
        found = float(page.get_attribute("#classes li:first-child", "data-probability"))
        assert found == pytest.approx(best.probability, abs=1e-4)
        assert "ms model" in page.inner_text("#time")

"""Milliseconds that the page of a package shows, in headless Chromium: a table of docs/DEVICE.md.

    python benchmarks/page_times.py PACKAGE [PACKAGE ...] --pictures FOLDER

Each picture is chosen twice; the first six answers do not count. PACKAGE was exported with --web.
Needs playwright (`pip install playwright`) and Chromium. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import importlib
import re
import shutil
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

WARM_UP = 6
ENDINGS = {".jpg", ".jpeg", ".png"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *words: object) -> None:
        """Leave out what was asked for."""


def times(package: Path, pictures: Sequence[Path]) -> list[tuple[float, float]]:
    """Return milliseconds of picture and model, of each answer of a package's page."""
    serve = functools.partial(Quiet, directory=str(package))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = []
    try:
        with importlib.import_module("playwright.sync_api").sync_playwright() as kit:
            browser = kit.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/web/")
            page.wait_for_selector("body[data-ready]", timeout=120_000)
            for count, path in enumerate([*pictures, *pictures], start=1):
                page.set_input_files("#file", path)
                page.wait_for_selector(f"body[data-done='{count}']", timeout=120_000)
                read, model = map(float, re.findall(r"([\d.]+) ms", page.text_content("#time")))
                found.append((read, model))
            browser.close()
    finally:
        server.shutdown()
    return found[WARM_UP:]


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE")
    parser.add_argument("--pictures", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args(words)
    pictures = sorted(p for p in args.pictures.iterdir() if p.suffix.lower() in ENDINGS)
    if 2 * len(pictures) <= WARM_UP:
        parser.error(f"{args.pictures} has {len(pictures)} pictures; more than 3 are needed")
    rows = []
    for package in args.packages:
        read, model = zip(*(found := times(package, pictures)), strict=True)
        whole = statistics.median(a + b for a, b in found)
        medians = statistics.median(read), statistics.median(model)
        rows.append((package.name, *medians, min(model), whole, len(found)))
    heads = ["package", "picture ms", "model ms", "least", "together", "n"]
    print(tabulate(rows, heads, "github", floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

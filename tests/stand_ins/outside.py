"""The package of docs/ADD_A_HOST.md as files, and a host that has the trainer it is for."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory

from stand_ins import write_host

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ADD_A_HOST.md"
METHOD, PACKAGE = "softprompt", "loreal_softprompt"


def write_outside_package(root: Path) -> Path:
    """Write the package that the page shows, with CoOp's recipes as it says; return `root`."""
    text = PAGE.read_text(encoding="utf-8")
    for name, content in re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    recipes = ROOT / "configs" / "trainers" / "CoOp_LOREAL"
    shutil.copytree(recipes, root / PACKAGE / "configs" / "trainers" / "SoftPrompt_LOREAL")
    return root


def write_host_with_its_trainer(root: Path) -> Path:
    """Make a host at `root` with the trainer that the page's row is for; return `root`.

    The row is read from the page, not from where a test may have put the package.
    """
    with TemporaryDirectory() as folder:
        package = write_outside_package(Path(folder)) / PACKAGE / "__init__.py"
        spec = spec_from_file_location("row_of_the_page", package)
        sys.modules[spec.name] = module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            return write_host(root, {module.ROWS[0](): None})
        finally:
            del sys.modules[spec.name]

"""The package of docs/ADD_A_HOST.md as files, and a host that has the trainer it is for."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ADD_A_HOST.md"
METHOD, PACKAGE = "softprompt", "loreal_softprompt"
_TRAINER = '''"""SoftPrompt: CoOp under another name, with a step of its own in the log."""

from dassl.engine import TRAINER_REGISTRY
from trainers._clip import load_clip_to_cpu
from trainers.coop import CoOp


@TRAINER_REGISTRY.register()
class SoftPrompt(CoOp):
    def load_clip(self):
        return load_clip_to_cpu(self.cfg)
'''


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
    """Copy the embedded host to `root` and give it the trainer `SoftPrompt`; return `root`."""
    embedded = ROOT / "hosts" / "embedded"
    shutil.copytree(embedded, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "trainers" / "softprompt.py").write_text(_TRAINER, encoding="utf-8")
    return root

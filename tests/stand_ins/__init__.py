"""Small trainers of the two methods that the embedded host lacks, and a host of them."""

from __future__ import annotations

import shutil
from pathlib import Path

EXTRA_METHODS = ("cocoop", "ivlp")
_EMBEDDED = Path(__file__).resolve().parents[2] / "hosts" / "embedded"
_SECTIONS = """TRAINER_SECTIONS = {
    "COCOOP": {"N_CTX": 16, "CTX_INIT": "", "PREC": "fp16"},
    "IVLP": {
        "N_CTX_VISION": 2, "N_CTX_TEXT": 2, "CTX_INIT": "a photo of a", "PREC": "fp16",
        "PROMPT_DEPTH_VISION": 9, "PROMPT_DEPTH_TEXT": 9,
    },
"""


def write_stand_in_host(root: Path) -> Path:
    """Copy the embedded host to `root` and give it trainers `CoCoOp` and `IVLP`; return `root`."""
    shutil.copytree(_EMBEDDED, root, ignore=shutil.ignore_patterns("__pycache__"))
    for module in ("cocoop", "independentVL"):
        shutil.copy(Path(__file__).with_name(f"{module}.py"), root / "trainers")
    text = (root / "train.py").read_text(encoding="utf-8")
    text = text.replace(
        '"trainers.mmrl")', '"trainers.mmrl", "trainers.cocoop", "trainers.independentVL")'
    )
    text = text.replace("TRAINER_SECTIONS = {\n", _SECTIONS)
    (root / "train.py").write_text(text, encoding="utf-8")
    return root

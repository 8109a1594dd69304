"""A folder of pictures as somebody makes it who never read a page of documentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from loreal_plugin.use.fit import FitPlan, Fitted

CLASSES = ("Größe Nr. 1", "red fox", "UPPER", "日本")


def messy_folder(root: Path, per_class: int = 8) -> Path:
    """Write classes with spaces and other scripts, deeper folders, capital endings, a CMYK and a
    16-bit picture, two files that are no pictures, and an empty folder; return `root`.
    """
    rng = np.random.default_rng(3)
    for name in CLASSES:
        colour = rng.integers(40, 215, 3)
        for index in range(per_class):
            noise = rng.integers(-20, 21, (40, 56, 3))
            picture = Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8))
            deep = "2023 summer" if name == "red fox" and index % 2 else ""
            path = root / name / deep / (f"IMG {index}.JPG" if index % 3 else f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=95)
    first = Image.open(root / "UPPER" / "0.png")
    first.convert("CMYK").save(root / "UPPER" / "print.jpg")
    grey = np.asarray(first.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(root / "UPPER" / "scan.png")
    (root / "UPPER" / "broken.jpeg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (root / "red fox" / "notes.jpg").write_text("no picture at all")
    (root / "empty").mkdir()
    (root / "Thumbs.db").touch()
    return root


@dataclass(frozen=True)
class Trained:
    """A folder that was trained on, with what was asked for and what was said."""

    source: Path
    plan: FitPlan
    fitted: Fitted
    said: str

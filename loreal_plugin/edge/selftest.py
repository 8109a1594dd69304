"""The golden pictures of a package: does this machine give what the exporting machine gave?"""

from __future__ import annotations

import statistics
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.edge.layout import GOLDEN
from loreal_plugin.edge.package import Package
from loreal_plugin.edge.pixels import to_pixels
from loreal_plugin.errors import CheckpointError, DataError, one_line
from loreal_plugin.pictures import as_rgb

_ROUNDS = 5


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found.

    Attributes:
        pictures: how many golden pictures there are.
        pixels: largest difference of pixels, of 255.
        logits: largest difference of logits.
        same_class: pictures whose best class is that of the exporting machine.
        tolerance: what the logits may differ by.
        milliseconds: a picture, from an open picture to its logits; median of pictures alone.
        peak_mib: most memory of the process so far; None where the system does not tell.
    """

    pictures: int
    pixels: int
    logits: float
    same_class: int
    tolerance: float
    milliseconds: float
    peak_mib: float | None

    @property
    def passed(self) -> bool:
        """Whether this machine gives what the package was exported with."""
        return self.pixels == 0 and self.logits <= self.tolerance

    def text(self) -> str:
        """Return the finding in words."""
        memory = "not told by this system" if self.peak_mib is None else f"{self.peak_mib:.0f} MiB"
        pictures = f"{self.pictures} picture{'s' * (self.pictures != 1)}"
        return (
            f"self-test {'passed' if self.passed else 'FAILED'}: {pictures}, pixels"
            f" differ by {self.pixels}, logits by {self.logits:.2g} (at most"
            f" {self.tolerance:.2g}), {self.same_class} of {self.pictures} the same class;"
            f" {self.milliseconds:.1f} ms a picture, peak memory {memory}"
        )


def self_test(package: Package) -> SelfTest:
    """Return what a package does with its golden pictures on this machine; its head is not asked.

    Raises:
        CheckpointError: the golden pictures belong to another head than the one in use, or are
            none.
    """
    facts = package.manifest["golden"]
    head = package.manifest["heads"].get(facts["head"], {})
    if package.labels != tuple(head.get("labels", ())):
        raise CheckpointError(
            f"the golden pictures are for the head '{facts['head']}': open the package with it"
        )
    pictures, wanted, logits = _golden(package.folder / GOLDEN)
    pixels = np.stack([to_pixels(one, package.manifest["picture"]) for one in pictures])
    if pixels.shape != wanted.shape or logits.shape != (len(pixels), len(package.labels)):
        raise CheckpointError(
            f"{package.folder / GOLDEN} has other pictures or classes than the package; export it"
            " again"
        )
    found = package.logits(wanted)
    return SelfTest(
        pictures=len(pictures),
        pixels=int(np.abs(pixels.astype(int) - wanted).max()),
        logits=float(np.abs(found - logits).max()),
        same_class=int((found.argmax(-1) == logits.argmax(-1)).sum()),
        tolerance=float(facts["tolerance"]),
        milliseconds=_milliseconds(package, pictures),
        peak_mib=peak_mib(),
    )


def _golden(path: Path) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Return the golden pictures, their pixels and their logits."""
    from PIL import Image

    try:
        with np.load(path, allow_pickle=False) as golden:
            wanted, logits = golden["pixels"], golden["logits"]
            drawn = [golden[f"picture_{i}"] for i in range(len(logits))]
            if not drawn or logits.dtype.kind != "f":
                raise ValueError("there is none, or no numbers of one")
            pictures = [as_rgb(Image.fromarray(one)) for one in drawn]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, DataError) as error:
        raise CheckpointError(
            f"{path} holds no golden pictures ({one_line(error)}); export the package again"
        ) from None
    return pictures, wanted, logits


def _milliseconds(package: Package, pictures: list) -> float:
    times = []
    for _ in range(_ROUNDS):
        for picture in pictures:
            began = time.perf_counter()
            package.logits(to_pixels(picture, package.manifest["picture"])[None])
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def peak_mib() -> float | None:
    """Return the most memory that this process has held, MiB; None where nothing tells."""
    try:
        # the resource module would also count the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

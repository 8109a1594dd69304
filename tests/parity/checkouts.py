"""Where the real checkouts are, and whether a process left them as they were."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "hosts" / "embedded"
CHECKOUTS = {
    "coop": "CoOp",
    "maple": "multimodal-prompt-learning",
    "mma": "VLM-MultiModalAdapter",
    "mmrl": "MMRL",
}
DASSL = "Dassl.pytorch"


def checkout(name: str) -> Path:
    """Return the folder of a checkout below `LOREAL_TEST_HOSTS`."""
    return Path(os.environ["LOREAL_TEST_HOSTS"]).expanduser().resolve() / name


def state_of(folder: Path) -> tuple[str, str]:
    """Return what git says of a checkout (ignored files too), and a hash of all that is in it."""
    git = ["git", "-C", str(folder), "status", "--porcelain", "--ignored"]
    said = (
        subprocess.run(git, capture_output=True, text=True).stdout
        if (folder / ".git").exists()
        else ""
    )
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if ".git" not in path.relative_to(folder).parts:
            content = path.read_bytes() if path.is_file() else b""
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + content)
    return said, digest.hexdigest()


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process with a real host: of this one's, paths alone."""
    ours = ("HOST", "DASSL", "DATA", "OUT", "SHOTS", "CLIP_WEIGHTS", "RECIPE")
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith("LOREAL_") and k not in ours
    }
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**inherited, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def host_parser_reads(method: str, folder: Path, *words: str) -> float:
    """Return the accuracy that the host's own `parse_test_res.py` reads of a folder of seeds."""
    home = checkout(CHECKOUTS[method])
    command = [sys.executable, "-B", "parse_test_res.py", str(folder), *words]
    env = environment() | {"PYTHONPATH": str(checkout(DASSL))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"\* accuracy: ([\d.]+)% \+- ", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])

"""Patch mode: a host of several methods gets the files of the one that was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from loreal_plugin.cli.main import main
from loreal_plugin.errors import HostError
from loreal_plugin.patch import patch_host, unpatch_host
from loreal_plugin.patch.changes import plan_patch

TRAIN = (
    '"""A host."""\n\n\ndef setup_cfg(args):\n    return args\n\n\n'
    'if __name__ == "__main__":\n    setup_cfg(None)\n'
)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Give a host with the trainers of two methods."""
    root = tmp_path / "host"
    (root / "trainers").mkdir(parents=True)
    (root / "train.py").write_text(TRAIN)
    for name in ("CoOp", "MaPLe"):
        text = f"def load_clip_to_cpu(cfg): ...\n\n\nclass {name}: ...\n"
        (root / "trainers" / f"{name.lower()}.py").write_text(text)
    return root


def files(host: Path) -> list[str]:
    """Return the paths of all that is below a folder."""
    return sorted(path.relative_to(host).as_posix() for path in host.rglob("*"))


def test_a_host_of_several_methods_asks_which(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(host)
    assert main(["patch", str(host)]) == 2 and files(host) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert "has trainers of coop, maple: choose" in line and "--method coop" in line
    assert {"coop", "maple"} <= set(plan_patch(host, copy=False, method="all").methods)
    (host / "trainers/coop.py").unlink()
    assert plan_patch(host, copy=False).methods == ("maple",)


def test_a_chosen_method_brings_its_own_files_alone(host: Path) -> None:
    before = files(host)
    assert main(["patch", str(host), "--method", "maple"]) == 0
    patched = files(host)
    assert "configs/trainers/MaPLe_LOREAL/vit_b16.yaml" in patched
    assert not any("coop_loreal" in path.lower() for path in patched)
    demos = [path for path in patched if path.startswith("configs/datasets/demo")]
    assert demos == ["configs/datasets/demo.yaml"]
    patch_host(host, method="coop")  # another choice takes the place of the first
    assert not any("maple_loreal" in path.lower() for path in files(host))
    with pytest.raises(HostError, match="unknown method 'mmrl'"):
        patch_host(host, method="mmrl")
    unpatch_host(host)
    assert files(host) == before

"""The wheel: only `loreal_plugin`, with all it needs, working from another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from helpers import random_clip_file, tiny_image_folder

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from requirements_page import lowest  # noqa: E402

SOURCES = ("attributes", "configs", "hosts", "loreal_plugin", "scripts", "trainers")
PACKAGE_SUFFIXES = (
    ".py",
    ".typed",
    ".safetensors",
    ".json",
    ".npz",
    ".txt",
    ".yaml",
    ".html",
    ".css",
    ".js",
)
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff")

# one process for all, which imports everything once
IMPORT_ALL_AND_RUN = """
import importlib, json, pkgutil, sys
import loreal_plugin
names = [m.name for m in pkgutil.walk_packages(loreal_plugin.__path__, "loreal_plugin.")]
for name in names:
    if not name.startswith("loreal_plugin.bundle") and not name.endswith("__main__"):
        importlib.import_module(name)
early = sorted({"clip", "dassl", "trainers", "datasets", "train"} & set(sys.modules))
print(len(names), "early:", *early)
from loreal_plugin.cli.main import main
for words in json.loads(sys.argv[1]):
    if code := main(words):
        sys.exit(code)
"""


def run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command without this checkout on its path."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "DATA", "HOST", "OUT")
    }
    done = subprocess.run(
        command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the wheel, built from a copy of the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        shutil.copytree(
            ROOT / name,
            copy / name,
            ignore=shutil.ignore_patterns("__pycache__", "bundle", "*.egg-info"),
        )
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("dist")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "-w", str(out), ".", cwd=copy)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the bin folder of a new environment with the wheel; other packages are lent to it."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(home), cwd=home.parent)
    python = home / "bin" / "python"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "-I",
    )
    run(*pip, str(wheel), cwd=home.parent)
    site = run(
        str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home
    ).stdout.strip()
    lent = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    Path(site, "lent.pth").write_text("\n".join(lent))
    return home / "bin"


# what files of requirements of CoOp, Dassl and MaPLe fix, and setuptools as MaPLe's page does
HOSTS_OWN = {
    "ftfy": "6.1.1",
    "flake8": "3.7.9",
    "yapf": "0.29.0",
    "isort": "4.3.21",
    "wilds": "1.2.2",
    "setuptools": "59.5.0",
}


def note(site: Path, name: str, version: str) -> None:
    """Let a package of this version be installed, as far as pip can see."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    needs = metadata.requires(name) or [] if name == "clip-anytorch" else []
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in needs]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("of_hosts", [False, True], ids=["lowest", "of hosts"])
def test_installing_beside_a_host_replaces_nothing_of_it(
    wheel: Path, tmp_path: Path, of_hosts: bool
) -> None:
    there = dict(line.split("==") for line in lowest())
    there |= HOSTS_OWN if of_hosts else {}
    home, report = tmp_path / "venv", tmp_path / "report.json"
    run(sys.executable, "-m", "venv", "--without-pip", str(home), cwd=tmp_path)
    (site,) = home.glob("lib/*/site-packages")
    for name, version in there.items():
        note(site, name, version)
    pip = (sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install")
    # without an index, anything that had to be replaced or brought in would be an error
    run(*pip, "--no-index", "--dry-run", "--report", str(report), str(wheel), cwd=tmp_path)
    chosen = json.loads(report.read_text())["install"]
    assert [one["metadata"]["name"] for one in chosen] == ["loreal-plugin"]


def test_wheel_installs_one_package_with_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"loreal_plugin"}
    for path in (
        "hosts/embedded/train.py",
        "hosts/embedded/dassl/__init__.py",
        "trainers/maple_loreal.py",
        "configs/trainers/MaPLe_LOREAL/demo.yaml",
        "configs/datasets/demo.yaml",
        "attributes/generic.json",
        "scripts/loreal/base2new_train.sh",
        "scripts/loreal/env.sh",
    ):
        assert f"loreal_plugin/bundle/{path}" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_every_tracked_data_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [
        p.relative_to(ROOT)
        for p in (ROOT / "loreal_plugin").rglob("*")
        if p.suffix in PACKAGE_SUFFIXES
    ]
    wanted = {str(path) for path in files if not {"__pycache__", "bundle"} & set(path.parts)}
    assert {Path(name).suffix for name in wanted} >= {
        ".py",
        ".safetensors",
    }, "code and the demo's weights"
    assert wanted - names == set()


def test_all_modules_import_without_a_host_and_a_run_works_from_another_folder(
    environment: Path, tmp_path: Path
) -> None:
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=4)
    env = {
        "CLIP_WEIGHTS": str(random_clip_file(tmp_path)),
        "LOREAL_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    asked = {**env, "RECIPE": "demo"}
    assert run(str(environment / "loreal"), "--version", cwd=tmp_path).stdout
    words = ("base2new", "coop", "32", "pics", "--data", "data", "--shots", "2")
    both = json.dumps([["doctor"], [*words, "--", "OPTIM.MAX_EPOCH", "1"]])
    program = ("-c", IMPORT_ALL_AND_RUN, both)
    told = run(str(environment / "python"), *program, cwd=tmp_path, **asked).stdout
    first, _, rest = told.partition("\n")
    assert first.endswith("early:") and int(first.split()[0]) > 30
    assert "\na run can start" in rest and str(Path("loreal_plugin", "bundle")) in rest
    assert "+ LOREAL, tested at 32" in rest
    assert list((tmp_path / "output" / "base2new").rglob("results.json"))


def test_wheel_scripts_use_the_environment_they_are_installed_in(
    environment: Path, tmp_path: Path
) -> None:
    code = "from loreal_plugin.paths import bundle_root; print(bundle_root())"
    bundle = run(str(environment / "python"), "-c", code, cwd=tmp_path).stdout.strip()
    script = Path(bundle) / "scripts" / "loreal" / "base2new_train.sh"
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(script), "mapel", "96"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": path}, timeout=300
    )
    assert done.returncode == 2 and done.stderr.startswith(
        "error: unknown method 'mapel'; did you mean 'maple'?"
    )

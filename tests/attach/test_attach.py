"""Attaching looks first, refuses with every mismatch at once, and can be taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_host import write_host
from python_at_once import python_at_once
from tiny_hosts import tiny_cfg

from loreal_plugin.attach import attach_host
from loreal_plugin.attach.arguments import family_parser, with_defaults
from loreal_plugin.attach.clip_source import plain_file
from loreal_plugin.attach.compat import allowed_names
from loreal_plugin.attach.inspect_host import inspect_host, methods_of, revision_of
from loreal_plugin.contract import get_contract
from loreal_plugin.errors import CacheError, ConfigError, HostError
from loreal_plugin.weights import load_clip_state_dict, weights_fingerprint

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run `code` in a process of its own: a process attaches one host."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [python_at_once(), "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def state() -> tuple[list[str], dict[str, int], bool]:
    return (
        list(sys.path),
        {name: id(module) for name, module in sys.modules.items()},
        sys.dont_write_bytecode,
    )


# how a stranger's Dassl reads pictures, and where it is named
READER = {
    "dassl/utils/__init__.py": "from .tools import read_image\n",
    "dassl/utils/tools.py": "def read_image(path): ...\n",
    "dassl/data/__init__.py": "from dassl.utils import read_image\n",
}


def test_attaching_twice_is_attaching_once(embedded):
    one, two = embedded("coop"), embedded("coop")
    assert one.train is two.train and one.trainer_class is two.trainer_class
    assert one.trainers_module.load_clip_to_cpu is two.trainers_module.load_clip_to_cpu


def test_all_methods_of_one_host_are_attached_in_turn(embedded):
    hosts = [embedded(method) for method in ("coop", "maple", "mma", "mmrl")]
    assert [host.trainer_class.__name__ for host in hosts] == [
        host.contract.trainer for host in hosts
    ]
    assert len({id(host.train) for host in hosts}) == 1


def test_embedded_host_needs_no_shim(embedded):
    assert embedded("mmrl").shims == ()


def test_another_host_in_the_same_process_is_refused(embedded, tmp_path):
    embedded("coop")
    before = state()
    with pytest.raises(HostError, match="is attached in this process.*one process a host"):
        attach_host(write_host(tmp_path), "coop")
    assert state() == before


def test_configuration_carries_our_keys_and_the_hosts(embedded, clip_file):
    cfg = tiny_cfg(embedded("mmrl"), clip_file, "TRAINER.LOREAL.PHI", "48", size=96)
    assert cfg.TRAINER.LOREAL.PHI == 48
    assert cfg.TASK == "B2N" and tuple(cfg.INPUT.SIZE) == (96, 96)
    assert cfg.TRAINER.NAME == "MMRL"


def test_unknown_trainer_offers_the_nearest(embedded, clip_file):
    cfg = tiny_cfg(embedded("maple"), clip_file)
    cfg.defrost()
    cfg.TRAINER.NAME = "MaPLee"
    with pytest.raises(ConfigError, match="unknown trainer 'MaPLee'; did you mean 'MaPLe'"):
        embedded("maple").build_trainer(cfg)


def test_loader_resamples_and_says_so(embedded, clip_file):
    host = embedded("coop")
    with host.clips.recorded() as loaded:
        clip_model = host.trainers_module.load_clip_to_cpu(tiny_cfg(host, clip_file, size=96))
    assert loaded == [clip_model]
    assert clip_model.visual.input_resolution == 96
    assert clip_model.visual.positional_embedding.shape[0] == 37
    with pytest.raises(ConfigError, match="CLIP reads squares"):
        host.trainers_module.load_clip_to_cpu(tiny_cfg(host, clip_file, "INPUT.SIZE", "(64, 96)"))


MISMATCHES = {
    "no folder": (None, ["no such folder"]),
    "not a host": (
        {"train.py": None},
        ["function setup_cfg", "function main", "main, found no such file"],
    ),
    "half a checkout": (
        {"trainers/coop.py": "x = 1", "datasets/__init__.py": None},
        [
            "package datasets: looked for",
            "trainers/coop.py: CoOp",
            "load_clip_to_cpu, found no such name",
        ],
    ),
    "broken file": ({"trainers/coop.py": "def ("}, ["coop.py cannot be read (SyntaxError)"]),
    "packages and files": (
        {
            "train.py": (
                "import absent_one, datasets.pets\ndef setup_cfg(a): ...\ndef main(a): ...\n"
            ),
            "trainers/__init__.py": (
                "try:\n    import absent_but_guarded\nexcept ImportError:\n    pass\n"
            ),
            "dassl/data/__init__.py": "from .transforms import x\nimport sklearn_absent.metrics\n",
        },
        [
            (
                "package absent_one: looked for import absent_one (train.py), found not installed;"
                " pip install absent_one"
            ),
            "module datasets.pets: looked for datasets/pets.py (train.py), found no such file",
            (
                "module dassl.data.transforms: looked for dassl/data/transforms.py"
                " (dassl/data/__init__.py)"
            ),
            "package sklearn_absent: looked for import sklearn_absent (dassl/data/__init__.py)",
        ],
    ),
    "half a dassl": (
        {"dassl/engine/__init__.py": None},
        ["module dassl.engine: looked for dassl/engine.py"],
    ),
    "no dassl": (
        {"dassl/__init__.py": None},
        ["Dassl: looked for dassl/ in the host, DASSL=/path"],
    ),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> dict[str, str]:
    """Return the error of each kind of mismatch; one fresh process tries them all."""
    folder = tmp_path_factory.mktemp("mismatches")
    roots = {}
    for number, (kind, (changes, _)) in enumerate(MISMATCHES.items()):
        roots[kind] = str(folder / str(number))
        if changes is not None:
            write_host(Path(roots[kind]), changes)
    train = "raise ImportError('No module named absent_package')\n"
    train += "def setup_cfg(a): ...\ndef main(a): ...\n"
    broken = write_host(folder / "broken", {"train.py": train})
    code = f"""
import json, os, sys, loreal_plugin.attach as attach
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.errors import HostError
rows = list(CONTRACTS.values())  # each is imported when it is first asked for
os.environ.pop("DASSL", None)
found = {{}}
for kind, root in {roots!r}.items():
    before = list(sys.path), dict(sys.modules), sys.dont_write_bytecode
    try:
        attach.attach_host(root, "coop")
    except HostError as error:
        found[kind] = str(error)
    assert (list(sys.path), dict(sys.modules), sys.dont_write_bytecode) == before, kind
path = list(sys.path)
try:
    attach.attach_host({str(broken)!r}, "coop")
except HostError as error:
    found["fails on import"] = str(error)
hosts = ("train", "trainers", "dassl", "datasets")
assert sys.path == path and not [name for name in sys.modules if name.split(".")[0] in hosts]
print(json.dumps(found))
"""
    done = run_python(code, folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", MISMATCHES)
def test_refused_attach_lists_everything_and_leaves_no_trace(refusals, kind):
    assert all(text in refusals[kind] for text in MISMATCHES[kind][1]), refusals[kind]
    assert "absent_but_guarded" not in refusals[kind]
    assert "\n" not in refusals[kind]


def test_a_needed_repair_that_is_switched_off_is_named(tmp_path):
    train = "raise ImportError('No module named wilds')\ndef setup_cfg(a): ...\ndef main(a): ...\n"
    broken = write_host(tmp_path, {"train.py": train})
    code = f"""
import os
from dataclasses import replace
import loreal_plugin.attach.host as attach
from loreal_plugin.errors import HostError
from loreal_plugin.paths import embedded_host
os.environ["LOREAL_COMPAT"] = "-wilds"
wilds = next(shim for shim in attach.SHIMS if shim.name == "wilds")
attach.SHIMS = (replace(wilds, needed=lambda inspection: True),)
try:
    attach.attach_host({str(broken)!r}, "coop")
except HostError as error:
    print(error)
attach.attach_host(embedded_host(), "coop")
"""
    done = run_python(code, tmp_path.parent)
    assert done.returncode == 0, done.stderr
    said = "LOREAL_COMPAT=-wilds switches off what this host needs: wilds"
    assert "No module named wilds" in done.stdout and said in done.stdout
    assert f"warning: {said}" in done.stderr


def test_host_that_fails_on_import_leaves_no_module_behind(refusals):
    # that no module is left was asserted where it failed
    assert "cannot be imported: No module named absent_package" in refusals["fails on import"]


def test_attach_and_detach_change_no_file_and_no_module(tmp_path, clip_file):
    host = write_host(tmp_path / "host", READER)
    before = tree(host)
    code = f"""
import sys, types, loreal_plugin.attach as attach
from loreal_plugin.pictures import read_picture
sys.modules["datasets"] = elsewhere = types.ModuleType("datasets")
path = list(sys.path)
host = attach.attach_host({str(host)!r}, "coop")
import datasets
assert datasets.__file__.startswith({str(host)!r})
cfg = host.setup_cfg(["--trainer", "CoOp", "--seed", "3", "INPUT.SIZE", "(96, 96)"])
assert cfg.SEED == 3 and "LOREAL" in cfg.TRAINER
clip = sys.modules["clip.clip"]
models, download = dict(clip._MODELS), clip._download
model = host.trainers_module.load_clip_to_cpu(cfg)
assert model.visual.positional_embedding.shape[0] == 37 and model.visual.input_resolution == 96
assert clip._MODELS == models and clip._download is download
assert host.build_trainer(cfg).cfg is cfg
loader, module = host.trainers_module.load_clip_to_cpu, host.trainers_module
tools, data = sys.modules["dassl.utils.tools"], sys.modules["dassl.data"]
assert read_picture is tools.read_image is sys.modules["dassl.utils"].read_image is data.read_image
attach.detach_host()
assert module.load_clip_to_cpu is not loader
assert module.load_clip_to_cpu.__module__ == "trainers.coop"
assert data.read_image is tools.read_image is not read_picture
assert sys.modules["datasets"] is elsewhere and "train" not in sys.modules and sys.path == path
attach.detach_host()
"""
    done = run_python(
        code, tmp_path, CLIP_WEIGHTS=str(clip_file), LOREAL_CACHE=str(tmp_path / "cache")
    )
    assert done.returncode == 0, done.stderr
    assert tree(host) == before
    kinds = {path.suffix for path in (tmp_path / "cache" / "clip").iterdir()}
    assert kinds == {".pt", ".json", ".lock"}


def test_host_weights_are_written_once_and_shared(tmp_path, monkeypatch, clip_file):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path))
    path = plain_file(str(clip_file))
    assert path == tmp_path / "clip" / f"{weights_fingerprint(clip_file)}.pt"
    state, expected = torch.load(path, weights_only=True), load_clip_state_dict(clip_file)
    assert state.keys() == expected.keys() and all(
        torch.equal(state[key], expected[key]) for key in state
    )
    written = path.stat().st_mtime_ns
    assert plain_file(str(clip_file)) == path and path.stat().st_mtime_ns == written


def test_truncated_or_unfinished_host_weights_are_written_again(tmp_path, monkeypatch, clip_file):
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path))
    path = plain_file(str(clip_file))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    left = path.with_name(f".{path.name}.0123abcd.part")
    left.write_bytes(b"left by a killed process")
    assert plain_file(str(clip_file)) == path and not left.exists()
    assert torch.load(path, weights_only=True).keys() == load_clip_state_dict(clip_file).keys()


def test_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, clip_file):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LOREAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="LOREAL_CACHE"):
        plain_file(str(clip_file))


def test_dassl_beside_the_host_is_found_by_argument_and_environment(tmp_path, monkeypatch):
    contract, host = get_contract("coop"), write_host(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (host / "dassl").rename(tmp_path / "elsewhere" / "dassl")
    monkeypatch.setenv("DASSL", str(tmp_path / "nothing"))
    assert inspect_host(host, contract, tmp_path / "elsewhere").dassl == tmp_path / "elsewhere"
    bad = [row for row in inspect_host(host, contract, None).checks if not row.ok]
    assert [row.role for row in bad] == ["Dassl"]
    monkeypatch.setenv("DASSL", str(tmp_path / "elsewhere"))
    inspection = inspect_host(host, contract, None)
    assert (
        all(row.ok for row in inspection.checks)
        and inspection.packages["dassl"] == tmp_path / "elsewhere"
    )


def test_revision_follows_the_sources(tmp_path):
    contract, host = get_contract("coop"), write_host(tmp_path)
    one = revision_of(inspect_host(host, contract, None))
    assert one == revision_of(inspect_host(host, contract, None))
    (host / "trainers" / "coop.py").write_text((host / "trainers" / "coop.py").read_text() + "\n")
    assert one != revision_of(inspect_host(host, contract, None))
    assert methods_of(host) == ["coop"]


def test_shims_are_chosen_by_name():
    names = ("wilds", "warmup", "cuda")
    assert allowed_names(names, "") == allowed_names(names, "all") == set(names)
    assert allowed_names(names, "none") == set()
    assert allowed_names(names, "cuda, wilds") == {"cuda", "wilds"}
    assert allowed_names(names, "-cuda") == {"wilds", "warmup"}
    with pytest.raises(ConfigError, match="unknown shim 'wild'; did you mean 'wilds'"):
        allowed_names(names, "wild")
    with pytest.raises(ConfigError, match="mixes"):
        allowed_names(names, "cuda,-wilds")


def test_command_line_of_the_family():
    words = ["--root", "d", "--eval-only", "--load-epoch", "5", "A.B", "1", "C", "x"]
    args = family_parser().parse_args(words)
    assert (args.root, args.eval_only, args.load_epoch, args.opts) == (
        "d",
        True,
        5,
        ["A.B", "1", "C", "x"],
    )
    assert args.source_domains is None and args.seed == -1 and args.resume == ""
    with pytest.raises(ConfigError, match="--seed: invalid int value: 'x'"):
        family_parser().parse_args(["--seed", "x"])
    assert with_defaults(["A", "TASK"], {"TASK": "B2N"}) == ["A", "TASK", "TASK", "B2N"]
    assert with_defaults(["TASK", "FS"], {"TASK": "B2N"}) == ["TASK", "FS"]

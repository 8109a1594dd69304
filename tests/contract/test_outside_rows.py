"""Rows of packages from outside: by entry point or LOREAL_HOSTS, refused by name if broken."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers import random_clip_file, tiny_image_folder
from stand_ins.outside import (
    METHOD,
    PACKAGE,
    PAGE,
    ROOT,
    write_host_with_its_trainer,
    write_outside_package,
)
from tiny_hosts import RECIPES, tiny_student

from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.attach.inspect_host import methods_of
from loreal_plugin.bench.lookup import title_of
from loreal_plugin.cli.main import main
from loreal_plugin.contract import CONTRACTS, HostContract, contract_of, get_contract, registry
from loreal_plugin.contract.facts import HostFacts
from loreal_plugin.contract.maple import MaPLeContract
from loreal_plugin.contract.questions import QUESTIONS
from loreal_plugin.contract.registry import forget_rows
from loreal_plugin.contract.trainer_names import unknown_trainer
from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.patch.changes import plan_patch
from loreal_plugin.results.layout import method_order
from loreal_plugin.results.plots import colour_of
from loreal_plugin.sweep.plan_file import read_plan

OURS = ["coop", "cocoop", "ivlp", "maple", "mma", "mmrl"]


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that Python imports from; its rows and modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("LOREAL_HOSTS", raising=False)
    forget_rows()
    yield tmp_path
    detach_host()
    forget_rows()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def softprompt(on_the_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the page's package on the path, named in LOREAL_HOSTS."""
    write_outside_package(on_the_path)
    monkeypatch.setenv("LOREAL_HOSTS", PACKAGE)
    return on_the_path / PACKAGE


def broken(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    """Return the error for a module with this source in LOREAL_HOSTS."""
    (folder / "faulty_row.py").write_text(source)
    monkeypatch.setenv("LOREAL_HOSTS", "faulty_row")
    with pytest.raises(HostError) as caught:
        list(CONTRACTS.values())
    assert "\n" not in str(caught.value)
    return str(caught.value)


ROW = """
from loreal_plugin.contract import HostContract
class Row(HostContract):
    method, title, trainer, loreal_trainer = "{method}", "X", "{trainer}", "X_LOREAL"
    module, cfg_node, learner, checkpoint = "x", "X", "l", "l"
    def prompt_rows(self, model): ...
    def encode_text(self, model, embeddings, tokens): ...
    {last}
ROWS = (Row,)
"""
LAST = "def image_features(self, model, images): ..."


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import absent_here", "ModuleNotFoundError: No module named 'absent_here'"),
        ("x = 1", "has no attribute 'ROWS'"),
        ("ROWS = (int,)", "<class 'int'> is no subclass of HostContract"),
        (ROW.format(method="x", trainer="X", last=""), "the row Row lacks image_features"),
        ("ROWS = 3", "TypeError: 'int' object is not iterable"),
        (ROW.format(method="VPT", trainer="X", last=LAST), "'VPT' is no name for a method: lower"),
        (ROW.format(method="clip", trainer="X", last=LAST), "'clip' is no name for a method"),
        (ROW.format(method="x", trainer="CoOp", last=LAST), "trainer 'CoOp' has the row 'coop' of"),
        (ROW.format(method="maple", trainer="X", last=LAST), "a row for method 'maple', but the"),
        (
            ROW.format(method="x", trainer="X", last=LAST).replace("cfg_node, learner, ", "a, b, "),
            "the row Row lacks cfg_node, learner",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_named_in_one_line(
    on_the_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
):
    text = broken(on_the_path, monkeypatch, source)
    assert text.startswith("module 'faulty_row' (LOREAL_HOSTS)") and said in text


def point(name: str, load) -> SimpleNamespace:
    """Return an entry point of an installed package."""
    dist = SimpleNamespace(name="loreal-faulty")
    return SimpleNamespace(name=name, value="faulty:Row", dist=dist, load=load)


def fail():
    raise SyntaxError("invalid syntax")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (point("x", fail), "brings no usable host row: SyntaxError: invalid syntax; mend or"),
        (point("coop", fail), "brings a row for method 'coop', but the package loreal_plugin"),
        (point("x", lambda: MaPLeContract), "the row MaPLeContract is for method 'maple'"),
    ],
)
def test_a_broken_package_is_named_on_the_command_line(
    on_the_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, entry: SimpleNamespace, said: str
):
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert main(["doctor", "--weights", "none"]) != 0
    out, err = capsys.readouterr()
    (line,) = [line for line in (out + err).splitlines() if "loreal-faulty" in line]
    assert f"package 'loreal-faulty' (entry point {entry.name} = faulty:Row) " in line
    assert said in " ".join(line.split())


def test_a_package_may_be_installed_and_named_too(softprompt: Path, monkeypatch):
    installed = importlib.import_module(PACKAGE).SoftPromptContract
    monkeypatch.setattr(registry, "entry_points", lambda group: [point(METHOD, lambda: installed)])
    assert list(CONTRACTS) == [*OURS, METHOD] and type(get_contract(METHOD)) is installed


def test_two_packages_with_one_method_are_both_named(softprompt: Path, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [point(METHOD, lambda: int)])
    with pytest.raises(HostError, match="module 'loreal_softprompt'.*package 'loreal-faulty'"):
        list(CONTRACTS)


def test_without_packages_there_are_our_rows_in_the_order_of_tables(on_the_path: Path):
    assert list(CONTRACTS) == OURS and len(CONTRACTS) == len(OURS)


def test_a_row_of_loreal_hosts_is_a_method_everywhere(softprompt: Path, tmp_path: Path):
    assert list(CONTRACTS) == [*OURS, METHOD] and get_contract(METHOD).home == softprompt
    with pytest.raises(ConfigError, match=r"did you mean 'softprompt'.*softprompt\)"):
        get_contract("softpromt")
    assert METHOD in unknown_trainer("method", "softpromt", CONTRACTS, tmp_path)
    assert method_order()[-1] == METHOD and colour_of(METHOD) == "tab:pink"
    assert title_of(METHOD) == "SoftPrompt"
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({"methods": [METHOD], "phis": [96]}))
    assert read_plan(plan).blocks[0].axes["methods"] == (METHOD,)


def test_logits_through_it_are_the_hosts(softprompt: Path, tmp_path: Path, clip_file, monkeypatch):
    monkeypatch.setitem(RECIPES, METHOD, RECIPES["coop"])
    detach_host()
    host = attach_host(write_host_with_its_trainer(tmp_path / "host"), METHOD)
    student = tiny_student(host, clip_file)
    images = torch.randn(2, 3, 64, 64)
    prompts = student.prompts()
    text = student.encode_text(prompts.embeddings, prompts.tokens)
    with torch.no_grad():
        want = student.model(images)
    torch.testing.assert_close(
        student.logits(student.encode_image(images), text), want, rtol=1e-5, atol=1e-4
    )
    trainer = importlib.import_module(host.contract.loreal_module).SoftPrompt_LOREAL
    assert contract_of(trainer) is host.contract  # although CoOp is one of its bases, too


def test_patch_takes_trainer_and_recipes_from_the_package(softprompt: Path, tmp_path: Path):
    host = write_host_with_its_trainer(tmp_path / "host")
    assert METHOD in methods_of(host)
    added = {one.path: one.source for one in plan_patch(host, copy=False, method="all").added}
    assert added["trainers/softprompt_loreal.py"].parent == softprompt / "trainers"
    assert added["configs/trainers/SoftPrompt_LOREAL/demo.yaml"].is_relative_to(softprompt)
    assert added["trainers/coop_loreal.py"] == ROOT / "trainers" / "coop_loreal.py"


def test_a_change_of_the_package_is_another_revision(softprompt: Path):
    row = get_contract(METHOD)
    before = row.revision
    assert len(before) == 16 and get_contract("coop").revision == ""
    file = softprompt / "trainers" / "softprompt_loreal.py"
    file.write_text(file.read_text() + "# changed\n")
    assert row.revision != before


def test_the_page_asks_every_question():
    text = PAGE.read_text(encoding="utf-8").split("## The questions")[1]
    assert [name for name, _ in QUESTIONS if f"`{name}`" not in text] == []


def test_the_page_tells_of_every_fact_and_answer_that_a_row_may_give():
    text = PAGE.read_text(encoding="utf-8").split("## The questions")[1]
    answers = {
        name for row in CONTRACTS.values() for kind in type(row).__mro__ for name in vars(kind)
    }
    answers &= {*HostFacts.__annotations__, *vars(HostContract)}
    # what a row does not override: helpers on top of its answers
    helpers = {"check", "own", "prompts", "token_rows", "encode_image", "unused_tensors"}
    told = {name for name in answers if not name.startswith("_")} - helpers
    assert len(told) > 30 and [name for name in sorted(told) if f"`{name}`" not in text] == []


# ---- installed -----------------------------------------------------------------------------------

END = "-- end of the command --"
IN_TURN = f"""
import json, sys
from loreal_plugin.cli.main import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    print("{END}", flush=True)
    if code:
        sys.exit(code)
"""


def run(*command: str, cwd: Path, **env: str) -> str:
    """Return what a command prints in a process that knows nothing of this one."""
    left_out = ("PYTHONPATH", "DATA", "HOST", "OUT", "LOREAL_HOSTS")
    clean = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the python of a new environment with the page's package, others lent to it."""
    home = tmp_path_factory.mktemp("outside")
    python = str(home / "venv" / "bin" / "python")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=home)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home)
    lent = [ROOT, *dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))]
    Path(site.strip(), "lent.pth").write_text("\n".join(map(str, lent)))
    package = str(write_outside_package(home / "package"))
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", package, cwd=home)
    return Path(python)


def test_an_installed_package_is_checked_and_trained(installed: Path, tmp_path: Path):
    host = write_host_with_its_trainer(tmp_path / "host")
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=4)
    env = {
        "CLIP_WEIGHTS": str(random_clip_file(tmp_path)),
        "LOREAL_CACHE": str(tmp_path / "cache"),
        "HOST": str(host),
        "OMP_NUM_THREADS": "1",
    }
    words = ("base2new", METHOD, "32", "pics", "--data", "data", "--shots", "2", "--recipe", "demo")
    options = ("--", "OPTIM.MAX_EPOCH", "1")
    commands = (
        ("doctor", "--verbose", "--method", METHOD),
        (*words, "--dry-run", *options),
        (*words, *options),
    )
    # one process, which imports what all of them need once
    told = run(str(installed), "-c", IN_TURN, json.dumps(commands), cwd=tmp_path, **env)
    doctor, plan, done = told.split(END)[:-1]
    assert "\na run can start" in doctor and "trainer SoftPrompt_LOREAL" in doctor
    assert f"row of {METHOD}" in doctor and "package 'loreal-softprompt'" in doctor
    assert f"{PACKAGE}/configs/trainers/SoftPrompt_LOREAL/demo.yaml" in plan
    assert "+ LOREAL, tested at 32" in done
    loreal = (str(installed), "-m", "loreal_plugin")
    assert METHOD in run(*loreal, "base2new", "--help", cwd=tmp_path, **env)
    files = list((tmp_path / "output").rglob("SoftPrompt_LOREAL/**/results.json"))
    assert {json.loads(file.read_text())["method"] for file in files} == {METHOD}

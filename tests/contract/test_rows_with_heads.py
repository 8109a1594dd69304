"""A row from outside with a head of the trained classes, unused tensors and settings of others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import whole_runs
from stand_ins import short_run
from stand_ins.heads import METHOD, PACKAGE, write_heads_host, write_row
from tiny_hosts import RECIPES, tiny_student

from loreal_plugin import load_run
from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.attach.inspect_host import inspect_host, revision_of
from loreal_plugin.cli.doctor_model import Built, model_findings
from loreal_plugin.cli.main import main
from loreal_plugin.contract import HostContract, get_contract
from loreal_plugin.contract.registry import forget_rows
from loreal_plugin.errors import CheckpointError, HostError
from loreal_plugin.students.share import share_clip_tensors

BASE = ("DATASET.SUBSAMPLE_CLASSES", "base")
NEW = ("DATASET.SUBSAMPLE_CLASSES", "new")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a host with the trainer; its row is on the path and in LOREAL_HOSTS."""
    folder = tmp_path_factory.mktemp("heads")
    write_row(folder)
    detach_host()  # one of a test before
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("LOREAL_HOSTS", PACKAGE)
        patch.setitem(RECIPES, METHOD, RECIPES["coop"])
        forget_rows()
        yield write_heads_host(folder / "host")
        detach_host()
    forget_rows()
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def test_modules_at_the_root_of_a_checkout_are_its_own(host: Path) -> None:
    found = inspect_host(host, get_contract(METHOD), None)
    assert all(check.ok for check in found.checks) and found.others == ("head_parts",)
    before, file = revision_of(found), host / "head_parts" / "scaling.py"
    text = file.read_text()
    file.write_text(text + "# changed\n")
    assert revision_of(found) != before
    file.write_text(text)
    attach_host(host, METHOD)
    assert sys.modules["head_parts.scaling"].__file__ == str(file)
    detach_host()
    assert not any(name.split(".")[0] == "head_parts" for name in sys.modules)


@pytest.mark.parametrize("subset", [BASE, NEW])
def test_logits_are_the_hosts_with_and_without_the_head(host, clip_file, subset) -> None:
    student = tiny_student(attach_host(host, METHOD), clip_file, *subset)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        want = student.model(images)
    found = student.host_logits(student.encode_image(images))
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-4)


def test_other_classes_take_over_all_but_the_head(host: Path, clip_file: Path) -> None:
    attached = attach_host(host, METHOD)
    trained = tiny_student(attached, clip_file, *BASE)
    of_new = {**trained.learned}
    student = tiny_student(attached, clip_file, *NEW, learned=of_new, names=("ferry", "brain"))
    assert trained.learned.keys() - student.learned.keys() == {"head.weight", "head.bias"}
    del of_new["adapter.bias"]
    with pytest.raises(CheckpointError, match=r"1 differ, first 'adapter.bias'"):
        tiny_student(attached, clip_file, *NEW, learned=of_new)


def test_unused_tensors_may_differ_and_others_are_named(host, clip_file, monkeypatch) -> None:
    attached = attach_host(host, METHOD)
    alpha, beta = (tiny_student(attached, clip_file, size=s, seed=s) for s in (64, 32))
    assert alpha.model.left_over.weight.isnan().all(), "read after all, it would show"
    share_clip_tensors(alpha, beta)
    assert beta.model.left_over.weight.data_ptr() == alpha.model.left_over.weight.data_ptr()
    monkeypatch.setattr(type(attached.contract), "unused", ())
    alpha, beta = (tiny_student(attached, clip_file, size=s, seed=s) for s in (64, 32))
    with pytest.raises(HostError, match=r"tensors differ: left_over.weight, left_over.bias; .*`u"):
        share_clip_tensors(alpha, beta)


WRONG = {
    "both students": ("unused", ()),
    "prediction": ("logits", HostContract.logits),
    "other classes": ("of_trained_classes", ()),
    "text paths": ("block_parts", lambda *_: {}),
    "contract: unused left_out": ("unused", ("left_over", "left_out")),
}


@pytest.mark.parametrize("what", [None, *WRONG])
def test_the_doctor_compares_the_row_with_the_host(host, clip_file, monkeypatch, what) -> None:
    attached = attach_host(host, METHOD)
    if what:
        monkeypatch.setattr(type(attached.contract), *WRONG[what])
    built = Built(str(clip_file), "demo", "demo", "", ("cat", "dog", "cow", "sheep"))
    found = {row.what: row for row in model_findings(attached, built)}
    wrong = {name for name, row in found.items() if not row.ok}
    assert wrong == {what} - {None} or wrong == {what, "contract rows"}
    if what is None:
        assert found["prediction"].found.startswith("as the host's own, to ")
        assert found["other classes"].found == "4 of 6 learned tensors are taken over"


def test_a_run_keeps_settings_of_other_nodes(
    host: Path, tmp_path: Path, clip_file: Path, monkeypatch
) -> None:
    words = short_run(METHOD, host, tmp_path, clip_file, monkeypatch)
    assert main([*words, "TRAINER.HEADS.WEIGHT", "0.9"]) == 0
    (folder,) = whole_runs(tmp_path / "out", "Heads_LOREAL/phi32/*/seed1")
    assert load_run(folder).model.beta.model.weight == 0.9

"""A row from outside whose text encoder gets other rows for each class: checked and trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from stand_ins import short_run
from stand_ins.class_rows import METHOD, PACKAGE, write_class_rows
from tiny_hosts import RECIPES, tiny_student

from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.contract.registry import forget_rows
from loreal_plugin.options import resolve_options
from loreal_plugin.students.student import with_slots


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a host with the trainer; its row is on the path and in LOREAL_HOSTS."""
    detach_host()  # one of a test before, while no row of this one is asked for
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LOREAL_HOSTS", PACKAGE)
    forget_rows()
    yield write_class_rows(tmp_path)
    detach_host()
    forget_rows()
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def test_both_text_paths_are_the_hosts_own(host: Path, clip_file: Path, monkeypatch) -> None:
    monkeypatch.setitem(RECIPES, METHOD, RECIPES["coop"])
    student = tiny_student(attach_host(host, METHOD), clip_file)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        want = student.model(images)
    found = student.host_logits(student.encode_image(images))
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-4)
    plain = student.encode_text(student.prompts().embeddings, student.prompts().tokens)
    assert (plain - student.host_texts).abs().amax(-1).min() > 1e-3, "each class has its rows"
    words = ("color", "shape")
    contents = torch.randn(2, 2, student.token_weight.shape[1]) / 10
    for order in ("class_first", "slots_first"):
        texts = []
        for path in ("prefix", "reference"):
            given = {"n_attributes": 2, "text_path": path, "slot_order": order}
            slotted = with_slots(student, words, resolve_options(given))
            texts.append(slotted.text_path(contents).detach())
        torch.testing.assert_close(*texts, rtol=1e-4, atol=1e-4)


def test_it_is_trained_from_outside(
    host: Path, tmp_path: Path, clip_file: Path, monkeypatch, capsys
) -> None:
    words = short_run(METHOD, host, tmp_path, clip_file, monkeypatch)
    assert main(words) == 0
    assert "+ LOREAL, tested at 32" in capsys.readouterr().out

"""Files and names of a checkout that its trainers reach by its root, and tables of other hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from shims_on_modules import BY_NAME, applied
from torch import nn

from loreal_plugin.attach.inspect_host import HostInspection

OPENS = """
def words(mode="r"):
    with open("texts/words.txt", mode) as file:
        return file.read()
"""


def test_a_relative_file_is_read_from_the_checkout_and_never_written_there(
    fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, work = fake("trainers.opens", OPENS), tmp_path / "work"
    for root, text in ((tmp_path, "of the checkout"), (work, "of the working folder")):
        (root / "texts").mkdir(parents=True)
        (root / "texts" / "words.txt").write_text(text)
    monkeypatch.chdir(work)
    with applied("host-files", tmp_path):
        assert module.words() == "of the working folder"
        (work / "texts" / "words.txt").unlink()
        assert module.words() == "of the checkout"
        with pytest.raises(OSError):
            module.words("r+")
    with pytest.raises(FileNotFoundError):
        module.words()


def test_a_table_without_trainers_is_left_alone(fake, tmp_path: Path) -> None:
    fake("train", "def get_dataset_specified_config(dataset): return [dataset]\n")
    assert not BY_NAME["mmrl-names"].needed(HostInspection(tmp_path, None, False, []))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the repair is for machines without CUDA")
def test_cuda_is_not_called_in_further_modules_of_a_checkout(fake, tmp_path: Path) -> None:
    module = fake("helpers_of_host", "def move(part):\n    return part.cuda()\n")
    inspection = HostInspection(tmp_path, None, False, [], ("helpers_of_host",))
    shim, model = BY_NAME["cuda"], nn.Linear(1, 1)
    assert shim.needed(inspection)
    undo = shim.apply(inspection)
    assert module.move(model) is model
    undo()
    with pytest.raises((AssertionError, RuntimeError)):
        module.move(model)

"""A row from outside with a frozen second image encoder and weights averaged over epochs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import tiny_image_folder, whole_runs
from stand_ins import write_host
from tiny_hosts import RECIPES, tiny_student

from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.cli.main import main
from loreal_plugin.contract import CONTRACTS
from loreal_plugin.contract.registry import forget_rows
from loreal_plugin.results.record import read_results
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.weights.host_checkpoints import read_host_checkpoint

METHOD = "promptsrc"
POSITIONS = (
    "image_encoder.positional_embedding",
    "prompt_learner.ZS_image_encoder.positional_embedding",
)
SHORT = ("DATALOADER.NUM_WORKERS", "0", "TRAINER.PROMPTSRC.PREC", "fp32")
EPOCHS = ("host:OPTIM.MAX_EPOCH", "3", "host:TRAIN.CHECKPOINT_FREQ", "1")
REST = ("loreal:OPTIM.MAX_EPOCH", "1")
FEW = ("TRAINER.LOREAL.ADAPT_VIEWS", "1", "TRAINER.LOREAL.ADAPT_EPOCHS", "1")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a host with stand-ins of PromptSRC and of IVLP, which it is built on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOREAL_HOSTS", "public_rows")
        patch.setitem(RECIPES, METHOD, [*CONTRACTS[METHOD].tiny_options, *SHORT[2:]])
        detach_host()
        rows = {CONTRACTS["ivlp"]: None, CONTRACTS[METHOD]: None}
        yield write_host(tmp_path_factory.mktemp("averaged") / "host", rows)
        detach_host()
    forget_rows()


def test_both_encoders_keep_positions_of_their_own(host: Path, clip_file: Path) -> None:
    attached = attach_host(host, METHOD)
    alpha, beta = (tiny_student(attached, clip_file, size=size) for size in (64, 32))
    report = share_clip_tensors(alpha, beta)
    learned = set(alpha.learned)
    assert set(report.not_shared) == {*learned, *POSITIONS}
    assert not any("ZS_image_encoder" in name for name in learned)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        want = beta.model(images)
    torch.testing.assert_close(
        beta.host_logits(beta.encode_image(images)), want, rtol=1e-5, atol=1e-4
    )


def test_an_average_over_epochs_survives_an_interruption(
    host: Path, tmp_path: Path, clip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stages end, and the learned tensors of a resumed stage 1 equal an undisturbed one's."""
    tiny_image_folder(tmp_path / "data" / "pics", classes=4, per_class=4)
    given = {"DATA": tmp_path / "data", "CLIP_WEIGHTS": clip_file, "HOST": host, "SHOTS": 2}
    given |= {"LOREAL_CACHE": tmp_path / "cache", "RECIPE": "demo"}
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))

    def run(out: str, until: str) -> int:
        words = ["base2new", METHOD, "32", "pics", "--out", str(tmp_path / out), "--until", until]
        return main([*words, "--", *SHORT, *EPOCHS, *REST, *FEW])

    def learned(out: str) -> dict[str, torch.Tensor]:
        (path,) = (tmp_path / out).rglob("PromptSRC/demo*/seed1/*/model.pth.tar-3")
        return read_host_checkpoint(path)["state_dict"]

    assert run("whole", "adapted") == 0
    (folder,) = whole_runs(tmp_path / "whole", "PromptSRC_LOREAL/phi32/*/seed1")
    names = [row["name"] for row in read_results(folder)["rows"]]
    assert names == ["native", "native_at_phi", "phi", "loreal", "adapted"]
    attach_host(host, METHOD)
    trainer = sys.modules["trainers.promptsrc"].PromptSRC
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "before_epoch", _stop_at_last)
        assert run("cut", "alpha") != 0
    assert list((tmp_path / "cut").rglob("model.pth.tar-2"))
    assert run("cut", "alpha") == 0
    want, got = learned("whole"), learned("cut")
    assert want.keys() == got.keys() and all(torch.equal(want[name], got[name]) for name in want)


def _stop_at_last(trainer: object) -> None:
    if trainer.epoch == 2:
        raise KeyboardInterrupt

"""Stage 3 ends by choosing the inference mode that its tests, and all later ones, predict in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from loreal_plugin.inference.choose import read_chosen, write_chosen

L = "TRAINER.LOREAL."
CHOSEN = "chosen-*.json"


@pytest.fixture(scope="module")
def calibrated(family, tmp_path_factory):
    """Give a trainer after a training with INFERENCE calibrated, and its folder."""
    folder = tmp_path_factory.mktemp("calibrated")
    return family.train("coop", folder, f"{L}INFERENCE", "calibrated"), folder


def test_what_was_chosen_is_kept_told_and_used_in_the_final_test(calibrated):
    trainer, folder = calibrated
    (file,) = (folder / "loreal" / "inference").glob(CHOSEN)
    found = json.loads(file.read_text())
    assert f"LOREAL predicts in mode '{found['mode']}'" in trainer.said
    assert found["views"] >= 40 and found["agreement"] >= 99.5
    used = "exact" if trainer.model.mode is None else trainer.model.mode.mode
    assert used == found["mode"]


def test_a_later_test_predicts_in_the_same_mode_on_other_classes_too(calibrated, family, tmp_path):
    trainer, folder = calibrated
    used = None if trainer.model.mode is None else trainer.model.mode.mode
    for subset in ("base", "new"):
        other = family.build("coop", tmp_path, f"{L}INFERENCE", "calibrated", subset=subset)
        other.load_model(str(folder))
        other.stage3.prepare_inference(other.device)
        assert (None if other.model.mode is None else other.model.mode.mode) == used


def test_exact_is_one_key_away_and_chooses_nothing(calibrated, family, tmp_path):
    trainer, folder = calibrated
    exact = family.train("coop", tmp_path, f"{L}INFERENCE", "exact")
    assert not list((tmp_path / "loreal" / "inference").glob(CHOSEN))
    assert exact.model.mode is None
    nets = [one.model.meta_nets.state_dict() for one in (trainer, exact)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def test_where_only_exact_is_possible_nothing_is_chosen(family, tmp_path):
    words = (f"{L}INFERENCE", "calibrated", f"{L}CONDITIONING", "batch")
    trainer = family.train("coop", tmp_path, *words)
    assert trainer.model.mode is None
    assert not list((tmp_path / "loreal" / "inference").glob(CHOSEN))


def test_a_checkpoint_without_a_choice_is_exact(family, tmp_path):
    family.train("coop", tmp_path / "old", f"{L}INFERENCE", "exact")
    later = family.build("coop", tmp_path / "new", f"{L}INFERENCE", "calibrated")
    later.load_model(str(tmp_path / "old"))
    later.stage3.prepare_inference(later.device)
    assert later.model.mode is None


def test_the_mode_is_chosen_for_the_epoch_that_is_tested(family, tmp_path):
    words = ("TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 2)
    trainer = family.train("coop", tmp_path, *words, f"{L}INFERENCE", "calibrated")
    chosen = read_chosen(trainer.stage3.modes(trainer.device), trainer.stage3.options)
    assert trainer.stage3.loaded is not None and chosen is not None
    assert f"mode '{chosen.mode}'" in trainer.said


def test_a_choice_for_other_settings_stands_beside_the_first(calibrated):
    trainer, _ = calibrated
    options, modes = trainer.stage3.options, trainer.stage3.modes(trainer.device)
    first, other = read_chosen(modes, options), replace(options, tangent_rank=3)
    assert first is not None and read_chosen(modes, other) is None
    write_chosen(modes, other, replace(first, mode="exact"))
    assert read_chosen(modes, options) == first and read_chosen(modes, other).mode == "exact"

"""Configuration and registries of the embedded host's dassl."""

from __future__ import annotations

from typing import Any

import dassl_toys  # noqa: F401  (registers ToyTrainer)
import pytest
from dataset_helpers import use_embedded_host

use_embedded_host()

from dassl.config import clean_cfg, get_cfg_default  # noqa: E402  (needs the host on the path)
from dassl.engine import build_trainer  # noqa: E402
from dassl.utils import Registry  # noqa: E402

from loreal_plugin.errors import ConfigError  # noqa: E402

# Dassl 0.6.3's own keys and defaults, as its documentation and the family's YAML files use them
DASSL_DEFAULTS = """
VERSION 1 | OUTPUT_DIR './output' | RESUME '' | SEED -1 | USE_CUDA True | VERBOSE True
INPUT.SIZE (224, 224) | INPUT.INTERPOLATION 'bilinear' | INPUT.TRANSFORMS ()
INPUT.NO_TRANSFORM False
INPUT.PIXEL_MEAN [0.485, 0.456, 0.406] | INPUT.PIXEL_STD [0.229, 0.224, 0.225]
INPUT.CROP_PADDING 4
INPUT.RRCROP_SCALE (0.08, 1.0) | INPUT.CUTOUT_N 1 | INPUT.CUTOUT_LEN 16 | INPUT.GN_MEAN 0.0
INPUT.GN_STD 0.15 | INPUT.RANDAUGMENT_N 2 | INPUT.RANDAUGMENT_M 10 | INPUT.COLORJITTER_B 0.4
INPUT.COLORJITTER_C 0.4 | INPUT.COLORJITTER_S 0.4 | INPUT.COLORJITTER_H 0.1 | INPUT.RGS_P 0.2
INPUT.GB_P 0.5 | INPUT.GB_K 21
DATASET.ROOT '' | DATASET.NAME '' | DATASET.SOURCE_DOMAINS () | DATASET.TARGET_DOMAINS ()
DATASET.NUM_LABELED -1 | DATASET.NUM_SHOTS -1 | DATASET.VAL_PERCENT 0.1 | DATASET.STL10_FOLD -1
DATASET.CIFAR_C_TYPE '' | DATASET.CIFAR_C_LEVEL 1 | DATASET.ALL_AS_UNLABELED False
DATALOADER.NUM_WORKERS 4 | DATALOADER.K_TRANSFORMS 1 | DATALOADER.RETURN_IMG0 False
DATALOADER.TRAIN_X.SAMPLER 'RandomSampler' | DATALOADER.TRAIN_X.BATCH_SIZE 32
DATALOADER.TRAIN_X.N_DOMAIN 0 | DATALOADER.TRAIN_X.N_INS 16 | DATALOADER.TRAIN_U.SAME_AS_X True
DATALOADER.TRAIN_U.SAMPLER 'RandomSampler' | DATALOADER.TRAIN_U.BATCH_SIZE 32
DATALOADER.TRAIN_U.N_DOMAIN 0 | DATALOADER.TRAIN_U.N_INS 16
DATALOADER.TEST.SAMPLER 'SequentialSampler' | DATALOADER.TEST.BATCH_SIZE 32
MODEL.INIT_WEIGHTS '' | MODEL.BACKBONE.NAME '' | MODEL.BACKBONE.PRETRAINED True | MODEL.HEAD.NAME ''
MODEL.HEAD.HIDDEN_LAYERS () | MODEL.HEAD.ACTIVATION 'relu' | MODEL.HEAD.BN True
MODEL.HEAD.DROPOUT 0.0
OPTIM.NAME 'adam' | OPTIM.LR 0.0003 | OPTIM.WEIGHT_DECAY 0.0005 | OPTIM.MOMENTUM 0.9
OPTIM.SGD_DAMPNING 0 | OPTIM.SGD_NESTEROV False | OPTIM.RMSPROP_ALPHA 0.99 | OPTIM.ADAM_BETA1 0.9
OPTIM.ADAM_BETA2 0.999 | OPTIM.STAGED_LR False | OPTIM.NEW_LAYERS () | OPTIM.BASE_LR_MULT 0.1
OPTIM.LR_SCHEDULER 'single_step' | OPTIM.STEPSIZE (-1,) | OPTIM.GAMMA 0.1 | OPTIM.MAX_EPOCH 10
OPTIM.WARMUP_EPOCH -1 | OPTIM.WARMUP_TYPE 'linear' | OPTIM.WARMUP_CONS_LR 1e-05
OPTIM.WARMUP_MIN_LR 1e-05 | OPTIM.WARMUP_RECOUNT True
TRAIN.CHECKPOINT_FREQ 0 | TRAIN.PRINT_FREQ 10 | TRAIN.COUNT_ITER 'train_x'
TEST.EVALUATOR 'Classification' | TEST.PER_CLASS_RESULT False | TEST.COMPUTE_CMAT False
TEST.NO_TEST False | TEST.SPLIT 'test' | TEST.FINAL_MODEL 'last_step' | TRAINER.NAME ''
"""


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def test_every_key_of_dassl_has_its_default() -> None:
    entries = [
        entry.strip() for entry in DASSL_DEFAULTS.replace("\n", "|").split("|") if entry.strip()
    ]
    wanted = dict(entry.split(" ", 1) for entry in entries)
    found = {key: repr(value) for key, value in _flat(get_cfg_default()).items()}
    assert {key: found.get(key) for key in wanted} == wanted
    others = [key for key in found if key not in wanted]
    assert others and all(key.startswith("TRAINER.") for key in others)


def test_two_configurations_share_nothing() -> None:
    first, second = get_cfg_default(), get_cfg_default()
    first.INPUT.PIXEL_MEAN[0] = 7.0
    first.OPTIM.LR = 1.0
    assert second.INPUT.PIXEL_MEAN[0] == 0.485 and second.OPTIM.LR == 0.0003


def test_clean_cfg_keeps_the_trainer_in_use() -> None:
    cfg = get_cfg_default()
    clean_cfg(cfg, "FixMatch")
    assert set(cfg.TRAINER) == {"NAME", "FIXMATCH"}


def test_registry_gives_back_what_was_registered_both_ways() -> None:
    registry = Registry("THING")

    @registry.register()
    class First: ...

    class Second: ...

    registry.register(Second)
    assert registry.get("First") is First and registry.get("Second") is Second
    assert registry.registered_names() == ["First", "Second"]


def test_registry_refuses_a_taken_name_unless_forced() -> None:
    registry = Registry("THING")

    def thing() -> None: ...

    registry.register(thing)
    with pytest.raises(KeyError, match="already in the THING registry"):
        registry.register(thing)
    assert registry.register(force=True)(thing) is thing


def test_registry_names_what_is_missing() -> None:
    with pytest.raises(KeyError, match="'Nobody' is not in the THING registry"):
        Registry("THING").get("Nobody")


def test_unknown_trainer_offers_the_nearest() -> None:
    cfg = get_cfg_default()
    cfg.TRAINER.NAME = "ToyTrainr"
    with pytest.raises(ConfigError, match="unknown trainer 'ToyTrainr'; did you mean 'ToyTrainer'"):
        build_trainer(cfg)

"""Default configuration: one nested table per section, turned into a yacs node on request.

Source: key names and values are those of Dassl 0.6.3, so that any YAML of the family merges.
Tuples stay tuples and lists stay lists: yacs refuses to merge one into the other without a cast.
"""

from __future__ import annotations

import copy

from yacs.config import CfgNode

from .other_trainers import OTHER_TRAINERS

_INPUT = {
    "SIZE": (224, 224),  # height, width in pixels
    "INTERPOLATION": "bilinear",  # bilinear, bicubic, nearest
    "TRANSFORMS": (),  # names of dassl.data.transforms.CHOICES
    "NO_TRANSFORM": False,  # True: data sets give PIL images
    "PIXEL_MEAN": [0.485, 0.456, 0.406],
    "PIXEL_STD": [0.229, 0.224, 0.225],
    "CROP_PADDING": 4,
    "RRCROP_SCALE": (0.08, 1.0),
    "CUTOUT_N": 1,
    "CUTOUT_LEN": 16,
    "GN_MEAN": 0.0,
    "GN_STD": 0.15,
    "RANDAUGMENT_N": 2,
    "RANDAUGMENT_M": 10,
    "COLORJITTER_B": 0.4,
    "COLORJITTER_C": 0.4,
    "COLORJITTER_S": 0.4,
    "COLORJITTER_H": 0.1,
    "RGS_P": 0.2,
    "GB_P": 0.5,
    "GB_K": 21,
}

_DATASET = {
    "ROOT": "",
    "NAME": "",
    "SOURCE_DOMAINS": (),
    "TARGET_DOMAINS": (),
    "NUM_LABELED": -1,
    "NUM_SHOTS": -1,  # training images a class; below 1 means all
    "VAL_PERCENT": 0.1,
    "STL10_FOLD": -1,
    "CIFAR_C_TYPE": "",
    "CIFAR_C_LEVEL": 1,
    "ALL_AS_UNLABELED": False,
}

_TRAIN_LOADER = {"SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16}

_DATALOADER = {
    "NUM_WORKERS": 4,
    "K_TRANSFORMS": 1,  # augmented copies of each training image
    "RETURN_IMG0": False,  # also give the image without augmentation, as "img0"
    "TRAIN_X": dict(_TRAIN_LOADER),
    "TRAIN_U": {"SAME_AS_X": True, **_TRAIN_LOADER},
    "TEST": {"SAMPLER": "SequentialSampler", "BATCH_SIZE": 32},
}

_MODEL = {
    "INIT_WEIGHTS": "",
    "BACKBONE": {"NAME": "", "PRETRAINED": True},
    "HEAD": {"NAME": "", "HIDDEN_LAYERS": (), "ACTIVATION": "relu", "BN": True, "DROPOUT": 0.0},
}

_OPTIM = {
    "NAME": "adam",
    "LR": 0.0003,
    "WEIGHT_DECAY": 5e-4,
    "MOMENTUM": 0.9,
    "SGD_DAMPNING": 0,
    "SGD_NESTEROV": False,
    "RMSPROP_ALPHA": 0.99,
    "ADAM_BETA1": 0.9,
    "ADAM_BETA2": 0.999,
    "STAGED_LR": False,  # children not named in NEW_LAYERS learn at LR * BASE_LR_MULT
    "NEW_LAYERS": (),
    "BASE_LR_MULT": 0.1,
    "LR_SCHEDULER": "single_step",
    "STEPSIZE": (-1,),  # below 1: one step at MAX_EPOCH
    "GAMMA": 0.1,
    "MAX_EPOCH": 10,
    "WARMUP_EPOCH": -1,  # below 1: none
    "WARMUP_TYPE": "linear",  # or constant
    "WARMUP_CONS_LR": 1e-5,
    "WARMUP_MIN_LR": 1e-5,
    "WARMUP_RECOUNT": True,  # the main schedule starts at its own epoch 0 after the warm-up
}

_TEST = {
    "EVALUATOR": "Classification",
    "PER_CLASS_RESULT": False,
    "COMPUTE_CMAT": False,  # write OUTPUT_DIR/cmat.pt
    "NO_TEST": False,
    "SPLIT": "test",
    "FINAL_MODEL": "last_step",  # or best_val
}

_DEFAULTS = {
    "VERSION": 1,
    "OUTPUT_DIR": "./output",
    "RESUME": "",
    "SEED": -1,  # negative: not seeded
    "USE_CUDA": True,
    "VERBOSE": True,
    "INPUT": _INPUT,
    "DATASET": _DATASET,
    "DATALOADER": _DATALOADER,
    "MODEL": _MODEL,
    "OPTIM": _OPTIM,
    "TRAIN": {"CHECKPOINT_FREQ": 0, "PRINT_FREQ": 10, "COUNT_ITER": "train_x"},
    "TEST": _TEST,
    "TRAINER": {"NAME": "", **OTHER_TRAINERS},
}


def get_cfg_default() -> CfgNode:
    """Return a new, unfrozen configuration that holds every default."""
    return CfgNode(copy.deepcopy(_DEFAULTS))


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Drop the sections of all other trainers from `cfg.TRAINER`, in place: a shorter print."""
    keep = {"NAME", trainer.upper()}
    for key in [key for key in cfg.TRAINER if key not in keep]:
        cfg.TRAINER.pop(key)

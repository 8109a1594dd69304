"""Which configuration a finished run is opened with: by the dataset that its classes are of.

MMRL reads two features of a picture where its configuration names ImageNet, or classes that it was
trained on, and words its prompts by the dataset. A run is tested and used with the same of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from loreal_plugin.attach import attach_host, detach_host
from loreal_plugin.options import LorealOptions, options_dict
from loreal_plugin.paths import embedded_host
from loreal_plugin.runs.deployment import Deployment
from loreal_plugin.runs.trained_run import TrainedRun

CATS, PETS = ["tench", "crane"], ["pug", "beagle"]


@pytest.fixture
def host() -> Iterator[Any]:
    """Attach the embedded host for MMRL."""
    detach_host()
    yield attach_host(embedded_host(), "mmrl")
    detach_host()


def opened(host: Any, task: str, subset: str, **known: Any) -> TrainedRun:
    """Return a run of MMRL as its files would say, without a model."""
    settings = {
        "DATASET.NAME": "ImageNet",
        "DATASET.SUBSAMPLE_CLASSES": subset,
        "TASK": task,
        "INPUT.SIZE": (32, 32),
    }
    deployment = Deployment(
        settings,
        known["classnames"],
        known["trained_on"],
        learned=None,
        datasets=known.get("datasets", {}),
    )
    checkpoint = {"options": options_dict(LorealOptions())}
    place = Path("nowhere")
    device = torch.device("cpu")
    return TrainedRun({}, checkpoint, deployment, place, None, host, "demo", device, {}, "loreal")


def fusion(host: Any, run: TrainedRun, names: list[str], of_dataset: str = "") -> tuple[bool, str]:
    """Return whether both features count for these classes, and the template."""
    cfg = run.cfg_for(names, of_dataset)
    return host.contract.use_fusion(cfg), host.contract.prompt_template(cfg)


def test_a_target_is_read_as_the_target_that_it_is(host: Any) -> None:
    run = opened(
        host,
        "CD",
        "all",
        classnames={"imagenet": CATS, "oxford_pets": PETS},
        trained_on="imagenet",
        datasets={"imagenet": "ImageNet", "oxford_pets": "OxfordPets"},
    )
    both, general = fusion(host, run, CATS, "ImageNet")
    one, of_pets = fusion(host, run, PETS, "OxfordPets")
    assert (both, one) == (True, False)
    assert general != of_pets and "pet" in of_pets
    # a target with the source's own names is a target all the same
    assert fusion(host, run, CATS, "ImageNetV2")[0] is False


@pytest.mark.parametrize(("task", "subset"), [("CD", "all"), ("FS", "all"), ("B2N", "base")])
def test_names_that_no_test_set_has_are_read_from_the_class_feature(
    host: Any, task: str, subset: str
) -> None:
    known = {"classnames": {subset: CATS}, "trained_on": subset}
    run = opened(host, task, subset, **known)
    assert fusion(host, run, CATS)[0] is True
    assert fusion(host, run, PETS)[0] is False

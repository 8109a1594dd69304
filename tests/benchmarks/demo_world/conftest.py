"""A tiny pre-training shared by the tests of the demonstration world."""

from __future__ import annotations

import pytest
import torch

from benchmarks.demo_world import pretrain
from benchmarks.demo_world.pool import open_pool


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Runs these tests on one thread, as the shipped weights were made."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_config():
    return pretrain.tiny(pretrain.PretrainConfig(), steps=6)


@pytest.fixture(scope="session")
def tiny_pool(tmp_path_factory, tiny_config):
    return open_pool(tmp_path_factory.mktemp("pool"), tiny_config.pool_size)


@pytest.fixture(scope="session")
def tiny_trainer(tiny_config, tiny_pool):
    """A trainer after its last step."""
    trainer = pretrain.Pretrainer(tiny_config, tiny_pool)
    pretrain.run(trainer)
    return trainer


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory, tiny_trainer):
    from benchmarks.demo_world.build import pack

    return pack(tiny_trainer, tmp_path_factory.mktemp("weights") / "tiny.safetensors")

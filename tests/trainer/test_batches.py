"""Training order and views: functions of seed and epoch, for pictures and cached embeddings."""

from __future__ import annotations

import torch

from loreal_plugin.trainer.step import EpochSampler, FeatureLoader, ViewLoader, view_number


class Views(torch.utils.data.Dataset):
    number = 0

    def __len__(self) -> int:
        return 10

    def set_view(self, number: int) -> None:
        self.number = number

    def __getitem__(self, index: int) -> dict:
        return {"label": index % 3, "index": index, "view": self.number}


def make(n_views: int, batch_size: int = 4, seed: int = 5):
    values = (
        torch.arange(10.0)[:, None, None, None]
        + torch.arange(float(n_views))[None, :, None, None] / 10
    )
    labels = torch.arange(10) % 3
    return (
        ViewLoader(Views(), EpochSampler(10, seed), batch_size, n_views),
        FeatureLoader(values, -values, labels, EpochSampler(10, seed), batch_size),
    )


def test_both_loaders_give_the_same_pictures_and_views_in_the_same_order():
    pictures, features = make(n_views=3)
    orders = []
    for epoch in range(5):
        pictures.set_epoch(epoch)
        features.set_epoch(epoch)
        assert len(pictures) == len(features) == 2
        for seen, cached in zip(pictures, features, strict=True):
            assert torch.equal(seen["index"], cached["index"]) and torch.equal(
                seen["label"], cached["label"]
            )
            expected = seen["index"] + seen["view"] / 10
            assert torch.allclose(cached["features_alpha"].flatten().double(), expected.double())
            assert torch.equal(cached["features_beta"], -cached["features_alpha"])
            assert set(seen["view"].tolist()) == {epoch % 3}
            orders.append(tuple(seen["index"].tolist()))
    assert len(set(orders)) == len(orders)


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int, shuffle: bool = True) -> list[int]:
        sampler = EpochSampler(10, seed, shuffle)
        sampler.epoch = epoch
        torch.rand(epoch + 1)
        return list(sampler)

    assert order(1, 2) == order(1, 2) != order(1, 3) != order(2, 3)
    assert sorted(order(1, 2)) == list(range(10)) == order(1, 2, shuffle=False)


def test_last_incomplete_batch_is_left_out_unless_it_is_the_only_one():
    for batch_size, sizes in ((4, [4, 4]), (16, [10]), (10, [10])):
        for loader in make(1, batch_size):
            assert [len(batch["label"]) for batch in loader] == sizes and len(loader) == len(sizes)


def test_views_repeat_when_cached_and_are_new_otherwise():
    assert [view_number(e, 3) for e in range(5)] == [0, 1, 2, 0, 1]
    assert [view_number(e, 0) for e in range(5)] == [0, 1, 2, 3, 4]

"""The rivals: corrections of low-resolution embeddings against closed forms and naive versions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from loreal_plugin.runs.rival_methods import (
    Embeddings,
    corrections_of,
    embed,
    score_rivals,
    size_of,
    upsampled,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_upsampling_gives_the_encoder_the_native_size() -> None:
    seen = []
    images = torch.rand(2, 3, 32, 32)
    upsampled(lambda x: seen.append(x) or x, 64)(images)
    assert seen[0].shape == (2, 3, 64, 64)
    torch.testing.assert_close(seen[0].mean(), images.mean(), atol=1e-2, rtol=0)


def test_embedding_keeps_order_and_counts_encoder_time() -> None:
    batches = [
        {"img": torch.full((2, 3, 4, 4), float(i)), "label": torch.tensor([i, i])} for i in range(3)
    ]
    found = embed({"mean": lambda x: x.mean((1, 2, 3))[:, None, None]}, iter(batches))["mean"]
    both = embed({"a": lambda x: x[:, :1, 0, :1], "b": lambda x: -x[:, :1, 0, :1]}, iter(batches))
    assert torch.equal(both["b"].features, -both["a"].features)
    assert found.features.flatten().tolist() == [0, 0, 1, 1, 2, 2] == found.labels.tolist()
    assert found.seconds > 0


def test_scores_name_every_correction_and_use_the_right_pictures() -> None:
    labels = torch.arange(80) % 4
    # no class alone tells where the others went, the scatter of its pictures does
    right = F.normalize(F.one_hot(labels, 4)[:, None] + 0.4 * unit(80, 1, 4), dim=-1)
    wrong = right.roll(1, dims=-1)
    train = {"low": Embeddings(wrong, labels, 1.0), "standard": Embeddings(right, labels, 1.0)}
    test = {
        s: {
            "low": Embeddings(wrong, labels, 1.0),
            "up-sampled to 64": Embeddings(right, labels, 3.0),
        }
        for s in ("base", "new")
    }
    rows = score_rivals(
        "beta",
        "host",
        corrections_of(train, test["base"]),
        test=test,
        classify=lambda subset, f: f[:, 0],
        timer=lambda corrections: {name: float(len(name)) for name in corrections},
    )
    assert [row.picture_ms for row in rows] == [0.0, 10.0, 5.0, 16.0]
    assert [size_of(row.kind, 32) for row in rows] == [32, 32, 32, 64]
    assert [row.name for row in rows] == [
        "host",
        "host, mean shift",
        "host, ridge",
        "host, up-sampled to 64",
    ]
    assert {row.model for row in rows} == {"beta"}
    assert [row.correction for row in rows] == ["", "mean shift", "ridge", "up-sampled to 64"]
    plain, _, ridge, enlarged = rows
    assert ridge.label.startswith("host, ridge (penalty ") and plain.label == plain.name
    nothing, everything = "0" * 20, "f" * 20
    for subset in ("base", "new"):
        assert plain.scores[subset] == {
            "accuracy": 0.0,
            "correct": 0,
            "total": 80,
            "hits": nothing,
            "mistaken": " ".join(str((label + 1) % 4) for label in labels.tolist()),
        }
        assert ridge.scores[subset]["accuracy"] == 100.0, "the map back is linear"
        assert enlarged.scores[subset] == {
            "accuracy": 100.0,
            "correct": 80,
            "total": 80,
            "hits": everything,
            "mistaken": "",
        }
    assert enlarged.milliseconds == pytest.approx(37.5, rel=0.05)

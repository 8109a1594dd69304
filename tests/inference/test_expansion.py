"""Expansions of text features: derivatives, fits against a solver, chunks, batches, types."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy_text import CASES, make_prompts, make_text

from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.expansion import Directions, Expansion, principal_directions
from loreal_plugin.inference.fit_expansion import (
    difference_quotients,
    fit,
    forward_derivatives,
    n_samples,
)
from loreal_plugin.text import PrefixTextPath, ReferenceTextPath

H = 12


def activations(n: int = 80, seed: int = 3) -> Tensor:
    """Return activations (n, H) that are not negative and differ most along a few directions."""
    generator = torch.Generator().manual_seed(seed)
    return torch.relu(0.5 + torch.randn(n, H, generator=generator) * torch.linspace(0.6, 0.01, H))


def toy_encode(
    host: str, order: str = "class_first", path: type = PrefixTextPath
) -> Callable[[Tensor], Tensor]:
    """Return activations (n, H) -> features (n, 3, 16) through three contents of a toy host."""
    text = make_text(host)
    up = torch.randn(3, text.table.shape[1], H // 3, generator=torch.Generator().manual_seed(4))
    run = path(make_prompts(text, order), text.blocks() if path is PrefixTextPath else text.encode)
    return lambda h: run(torch.einsum("bks,kts->bkt", h.unflatten(1, (3, H // 3)), up))


@pytest.mark.parametrize(("host", "order"), CASES)
def test_forward_derivatives_are_those_of_the_whole_text_encoder(host: str, order: str):
    directions, _ = principal_directions(activations(), rank=5)
    slow = toy_encode(host, order, ReferenceTextPath)
    jacobian = torch.autograd.functional.jacobian(
        lambda h: slow(h[None])[0], directions.mean
    )  # (C, D_v, H)
    want = torch.einsum("cvh,hr->rcv", jacobian, directions.basis * directions.spread)
    base, slopes = forward_derivatives(toy_encode(host, order), directions, at_once=2)
    assert base.shape == (3, 16) and slopes.shape == (5, 3, 16)
    torch.testing.assert_close(base, slow(directions.mean[None])[0], atol=1e-4, rtol=1e-4)
    assert (slopes - want).norm() < 1e-4 * want.norm()
    near, quotients = difference_quotients(slow, directions, at_once=2)
    torch.testing.assert_close(near, base, atol=1e-4, rtol=1e-4)
    assert (quotients - want).norm() < 0.1 * want.norm()


def test_directions_are_the_principal_ones_in_units_of_their_spread():
    hidden = activations()
    directions, share = principal_directions(hidden, rank=4)
    centred = hidden - hidden.mean(0)
    _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
    cosine = (directions.basis * vectors[:4].T).sum(0).abs()
    torch.testing.assert_close(cosine, torch.ones(4), atol=1e-4, rtol=0)
    assert share == pytest.approx(float((values[:4] ** 2).sum() / (values**2).sum()), abs=1e-5)
    terms = directions(hidden)
    torch.testing.assert_close(terms.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close((terms**2).mean(0), torch.ones(4), atol=1e-4, rtol=0)
    everything, whole = principal_directions(hidden, rank=0)
    assert everything.n_terms == H and whole == pytest.approx(1)


def test_product_terms_are_products_without_their_mean():
    hidden = activations()
    directions, _ = principal_directions(hidden, rank=4, n_products=2)
    terms = directions(hidden)
    assert directions.n_terms == terms.shape[1] == 4 + 3
    z = terms[:, :4]
    wanted = torch.stack([z[:, 0] ** 2 - 1, z[:, 0] * z[:, 1], z[:, 1] ** 2 - 1], dim=1)
    torch.testing.assert_close(terms[:, 4:], wanted)


def test_images_that_do_not_differ_have_one_direction_and_one_image_is_refused():
    same = activations(1).expand(5, -1)
    directions, share = principal_directions(same, rank=8)
    assert (
        directions.basis.shape == (H, 1) and share == 1 and torch.isfinite(directions(same)).all()
    )
    with pytest.raises(ConfigError, match="spread of training images"):
        principal_directions(same[:1], rank=8)


@pytest.mark.parametrize("n_products", [0, 2])
def test_fit_is_the_ridge_solution_whatever_the_batch(n_products: int):
    encode, sample = toy_encode("identity"), activations(60)
    directions, _ = principal_directions(sample, 3, n_products)
    design = torch.cat([torch.ones(60, 1), directions(sample)], dim=1).double()
    wanted = torch.linalg.solve(
        design.T @ design + 0.01 * torch.eye(design.shape[1]).double(),
        design.T @ F.normalize(encode(sample), dim=-1).flatten(1).double(),
    ).unflatten(1, (3, 16))
    for at_once in (1, 7, 60):
        base, table = fit(encode, directions, sample, at_once)
        torch.testing.assert_close(
            torch.cat([base[None], table]).double(), wanted, atol=1e-4, rtol=1e-3
        )


def test_each_step_of_the_series_comes_nearer_to_unseen_images():
    encode, unseen = toy_encode("insert"), activations(40, seed=9)
    plain, _ = principal_directions(activations(200), rank=8)
    more = Directions(plain.mean, plain.basis, plain.spread, n_products=4)
    sample = activations(200)[: n_samples(more)]
    made = [
        forward_derivatives(encode, plain),
        fit(encode, plain, sample),
        fit(encode, more, sample),
    ]
    series = [Expansion(d, *tables) for d, tables in zip((plain, plain, more), made, strict=True)]
    exact = F.normalize(encode(unseen), dim=-1)
    constant = (F.normalize(encode(plain.mean[None]), dim=-1) - exact).norm()
    errors = [(F.normalize(e(unseen), dim=-1) - exact).norm() for e in series]
    assert constant > errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("host", ["identity", "branch"])
def test_features_do_not_depend_on_batch_mates_or_class_chunks(host: str):
    encode, hidden = toy_encode(host), activations(7)
    directions, _ = principal_directions(activations(), rank=6, n_products=2)
    expansion = Expansion(directions, *fit(encode, directions, activations()))
    together = expansion(hidden)
    alone = torch.cat([expansion(hidden[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    terms = directions(hidden)
    for step in (1, 2, 3):
        parts = [expansion.features(terms, slice(at, at + step)) for at in range(0, 3, step)]
        torch.testing.assert_close(torch.cat(parts, dim=1), together, atol=1e-5, rtol=1e-5)
    assert [part.start for part in expansion.chunks(10**9)] == [0, 1, 2] and len(
        expansion.chunks(1)
    ) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tables_stay_near_and_say_what_they_hold(dtype: torch.dtype):
    encode, hidden = toy_encode("identity"), activations(7)
    directions, _ = principal_directions(activations(), rank=6)
    full = Expansion(directions, *forward_derivatives(encode, directions))
    half = full.to("cpu", dtype)
    features = half(hidden)
    assert features.dtype == dtype
    assert F.cosine_similarity(features.float(), full(hidden), dim=-1).min() > 0.999
    assert (
        full.n_bytes == 4 * (7 * 3 * 16 + H + H * 6 + 6)
        and half.n_bytes == full.n_bytes - 2 * 7 * 3 * 16
    )

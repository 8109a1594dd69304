"""Views: the host's own pixels for a box, the same for both students, drawn from numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode
from yacs.config import CfgNode

from loreal_plugin.errors import ConfigError
from loreal_plugin.pictures import read_picture
from loreal_plugin.students.views import (
    PairedViews,
    StudentViews,
    ViewRecipe,
    build_recipe,
    draw_view,
    render_view,
    view_generator,
)

MEAN, STD = (0.48, 0.45, 0.40), (0.26, 0.26, 0.27)
RECIPE = ViewRecipe((0.08, 1.0), True, "bicubic", MEAN, STD)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def items(folder, count: int = 3) -> list:
    paths = [folder / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        picture(50 + 7 * i, 40, i).save(path)
    return [SimpleNamespace(impath=str(path), label=i) for i, path in enumerate(paths)]


def make_cfg(**given) -> CfgNode:
    values = {
        "TRANSFORMS": ["random_resized_crop", "random_flip", "normalize"],
        "SIZE": (64, 64),
        "INTERPOLATION": "bicubic",
        "NO_TRANSFORM": False,
        "RRCROP_SCALE": (0.08, 1.0),
        "PIXEL_MEAN": list(MEAN),
        "PIXEL_STD": list(STD),
    }
    return CfgNode({"INPUT": CfgNode(values | given)})


@pytest.mark.parametrize("size", [224, 96, 48])
@pytest.mark.parametrize("shape", [(80, 60), (300, 20), (20, 300), (97, 96)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_view_equals_torchvision_with_the_same_draws(size, shape, mode):
    image, recipe = picture(*shape), ViewRecipe((0.08, 1.0), True, mode, MEAN, STD)
    crop = T.RandomResizedCrop(
        (size, size), scale=(0.08, 1.0), interpolation=InterpolationMode(mode)
    )
    host = T.Compose([crop, T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])
    for seed in range(6):
        torch.manual_seed(seed)
        expected = host(image)
        view = draw_view(*image.size, recipe, torch.Generator().manual_seed(seed))
        assert torch.equal(render_view(image, view, size, recipe), expected)


def test_without_random_crop_the_whole_picture_is_resized():
    image = picture(80, 60)
    recipe = build_recipe(make_cfg(TRANSFORMS=["normalize"]))
    view = draw_view(80, 60, recipe, torch.Generator().manual_seed(0))
    expected = T.Compose(
        [
            T.Resize((48, 48), interpolation=InterpolationMode.BICUBIC),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )(image)
    assert torch.equal(render_view(image, view, 48, recipe), expected)
    assert (view.flip, view.width, view.height) == (False, 80, 60)


def test_paired_views_share_the_box_and_independent_ones_do_not(tmp_path):
    data = items(tmp_path)
    paired = PairedViews(data, (64, 32), RECIPE, seed=1)
    image = read_picture(data[2].impath)
    sample = paired[2]
    view = draw_view(*image.size, RECIPE, view_generator(1, 2, 0))
    assert torch.equal(sample["img"], render_view(image, view, 64, RECIPE))
    assert torch.equal(sample["img_low"], render_view(image, view, 32, RECIPE))
    assert (sample["label"], sample["index"], sample["view"]) == (2, 2, 0)
    independent = PairedViews(data, (64, 32), RECIPE, seed=1, independent=True)[2]
    assert torch.equal(independent["img"], sample["img"])
    assert not torch.equal(independent["img_low"], sample["img_low"])


def test_views_depend_on_seed_picture_and_number_only(tmp_path):
    data = items(tmp_path)
    first = PairedViews(data, (32, 32), RECIPE, seed=1)
    second = PairedViews(data, (32, 32), RECIPE, seed=1)
    torch.manual_seed(123)
    _ = [second[i] for i in (2, 0, 1)]
    assert torch.equal(first[0]["img"], second[0]["img"])
    second.set_view(1)
    assert not torch.equal(first[0]["img"], second[0]["img"])
    assert not torch.equal(first[0]["img"], PairedViews(data, (32, 32), RECIPE, seed=2)[0]["img"])


def test_cached_views_are_the_paired_views_also_from_workers(tmp_path):
    data = items(tmp_path)
    paired = PairedViews(data, (32, 48), RECIPE, seed=3, independent=True)
    for size, stream, name in ((32, 0, "img"), (48, 1, "img_low")):
        loader = DataLoader(
            StudentViews(data, size, 2, RECIPE, 3, stream), batch_size=2, num_workers=1
        )
        pixels = torch.cat([views for views, _ in loader])
        for number in range(2):
            paired.set_view(number)
            assert all(torch.equal(pixels[i, number], paired[i][name]) for i in range(3))


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"TRANSFORMS": ["random_resized_crop", "colorjitter"]}, "colorjitter"),
        ({"TRANSFORMS": ["random_crop"]}, "random_crop"),
        ({"NO_TRANSFORM": True}, "NO_TRANSFORM"),
        ({"SIZE": (64, 32)}, "not square"),
        ({"INTERPOLATION": "lanczos"}, "lanczos"),
    ],
)
def test_transforms_that_two_resolutions_cannot_share_are_refused(given, part):
    with pytest.raises(ConfigError, match=part):
        build_recipe(make_cfg(**given))
    assert build_recipe(make_cfg()) == RECIPE


def test_a_dassl_without_a_key_for_the_scale_crops_as_torchvision_does() -> None:
    cfg = make_cfg()
    del cfg.INPUT["RRCROP_SCALE"]
    scale = T.RandomResizedCrop(64).scale
    assert build_recipe(cfg).scale == tuple(scale)

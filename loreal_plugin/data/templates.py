"""The hand-made prompt of every benchmark, as CLIP's authors word it; `{}` is the class name."""

from __future__ import annotations

# by the registered name of the dataset
TEMPLATES = {
    "Caltech101": "a photo of a {}.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "Food101": "a photo of {}, a type of food.",
    "ImageNet": "a photo of a {}.",
    "ImageNetA": "a photo of a {}.",
    "ImageNetR": "a photo of a {}.",
    "ImageNetSketch": "a photo of a {}.",
    "ImageNetV2": "a photo of a {}.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "OxfordPets": "a photo of a {}, a type of pet.",
    "StanfordCars": "a photo of a {}.",
    "SUN397": "a photo of a {}.",
    "UCF101": "a photo of a person doing {}.",
}
DEFAULT_TEMPLATE = "a photo of a {}."


def template_of(dataset: str) -> str:
    """Return the template of a registered dataset, the plain one where it has none of its own."""
    return TEMPLATES.get(dataset, DEFAULT_TEMPLATE)

"""Every key of `cfg.TRAINER.LOREAL`, declared once: type, default, help, choices, range.

`loreal_plugin.options` resolves them, and is where other modules import them from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from loreal_plugin.inference_modes import CALIBRATED, CHOICES, modes_help
from loreal_plugin.presets import PRESETS, describe_presets

# Values of SLOT_PARTS: all, those with attribute words, those with contents.
SLOT_PARTS = ("both", "words", "contents", "none")
WITH_WORDS = ("both", "words")
WITH_CONTENTS = ("both", "contents")


def _key(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    later: bool = False,
) -> Any:
    """Return a dataclass field with what a user needs to know and the range of its values.

    Args:
        later: the key came after runs had been made: its default says "as before", and keys of
            stages leave it out then.
    """
    facts = {"help": text, "choices": choices, "low": low, "high": high, "above": above}
    return field(default=default, metadata={**facts, "later": later})


@dataclass(frozen=True)
class LorealOptions:
    """The resolved options of one run; field names are the yacs keys in lower case.

    Source: the paper's section on training for `paper`, the authors' repository for `authors`.
    """

    enabled: bool = _key(True, "False: no slots, the host's own code runs untouched")
    preset: str = _key(
        "default",
        f"where keys that are not given take their value from; {describe_presets()}",
        tuple(PRESETS),
    )
    phi: int = _key(
        96, "side of the low-resolution input in pixels, a multiple of the patch size", low=1
    )
    n_content: int = _key(2, "content tokens in a slot (M)", low=1)
    hidden_dim: int = _key(32, "bottleneck width of a meta-net (D_s)", low=1)
    attributes: str = _key(
        "", "a name in `attributes/`, a path, or empty for the dataset's own file"
    )
    n_attributes: int = _key(5, "attributes in a prompt (K): the first K of the file", low=1)
    bridge: str = _key(
        "self",
        "whose visual embedding fills whose text prompt",
        ("cross", "self", "mix", "alpha_to_beta", "beta_to_alpha"),
    )
    mix_start: float = _key(
        0.5,
        "bridge `mix`: part of training after which beta's own embedding comes in; "
        "0: its weight is MIX_MAX from the first step",
        low=0.0,
        high=1.0,
    )
    mix_max: float = _key(
        1.0, "bridge `mix`: weight of beta's own embedding at the end", low=0.0, high=1.0
    )
    mix_alpha: str = _key("own", "bridge `mix`: what alpha's prompt reads", ("own", "cross"))
    cross_weight: float = _key(0.0, "weight of an extra KL on the pure cross path", low=0.0)
    mix_steps: str = _key(
        "step",
        "bridge `mix`: its weight changes with every training `step`, or once an `epoch`",
        ("step", "epoch"),
        later=True,
    )
    students: str = _key(
        "separate", "`same`: beta is alpha's parameters at phi", ("separate", "same")
    )
    position_resampling: str = _key(
        "bicubic",
        "how the image positional embedding is resampled for phi, in stage 2, too",
        ("bicubic", "bicubic_antialias"),
        later=True,
    )
    hld_weight: float = _key(1.0, "weight of the high-level distillation (lambda 1)", low=0.0)
    lld_weight: float = _key(
        2.0, "weight of the low-level distillation (lambda 2, divided by K)", low=0.0
    )
    hld_direction: str = _key(
        "alpha_to_beta",
        "KL between the students: `alpha_to_beta` detaches alpha",
        ("alpha_to_beta", "mutual", "symmetric"),
    )
    hld_temperature: float = _key(4.0, "softening of the class distributions", above=0.0)
    hld_tau_squared: bool = _key(False, "multiply the high-level loss by the squared temperature")
    lld_temperature: float = _key(4.0, "temperature of the contrast over attributes", above=0.0)
    slot_order: str = _key(
        "class_first",
        "where the slots stand in the prompt",
        ("class_first", "slots_first", "ctx_first"),
    )
    slot_parts: str = _key(
        "both",
        "what a slot holds: contents and words, or (ablations) the attribute `words` alone, "
        "which is one prompt for all images, or the `contents` alone; `none`: no slots, "
        "the host's prompts with the drift correction alone",
        SLOT_PARTS,
    )
    conditioning: str = _key(
        "instance",
        "`batch` averages contents over the batch (ablation only)",
        ("instance", "batch"),
    )
    views: str = _key(
        "paired",
        "`paired`: both students see the same crop; `independent`: two crops",
        ("paired", "independent"),
    )
    cache_views: int = _key(
        4,
        "augmented views per image in the embedding cache, epoch e uses view e mod V; "
        "0 = no cache, a new view every epoch",
        low=0,
    )
    meta_bias: bool = _key(True, "biases in the meta-nets")
    meta_init: str = _key(
        "neutral", "start of the meta-nets' output", ("default", "words", "neutral")
    )
    attribute_scope: str = _key(
        "dataset", "`class`: every class has its own words", ("dataset", "class")
    )
    attr_shuffle_seed: int = _key(
        -1, "seed that shuffles the attributes; -1 keeps the file's order", low=-1
    )
    test_attributes: str = _key(
        "source", "words of the slots when tested on another dataset", ("source", "target")
    )
    drift: str = _key(
        "ridge",
        "correction of beta's embeddings, fitted on training pictures: `mean` shifts them to "
        "alpha's mean, `ridge` also maps them to alpha's; not of the paper",
        ("none", "mean", "ridge"),
    )
    adapt: str = _key(
        "none",
        "what of beta's image encoder learns to see at phi, from alpha's embeddings and without "
        "labels: its `positions`; kernel and positions (`patch`, for few pictures); low-rank "
        "updates of all maps (`lora`); all of these (`patch_lora`, for thousands); not of the "
        "paper",
        ("none", "positions", "patch", "lora", "patch_lora"),
    )
    adapt_rank: int = _key(8, "rank of the low-rank updates", low=1)
    adapt_views: int = _key(32, "augmented views per image", low=1)
    adapt_epochs: int = _key(3, "passes over all views of all images", low=1)
    adapt_lr: float = _key(3e-3, "highest learning rate", above=0.0)
    adapt_batch: int = _key(32, "images a step", low=1)
    adapt_token_weight: float = _key(
        1.0, "weight of the loss on patch tokens, beside that on embeddings", low=0.0
    )
    adapt_enlarge: int = _key(
        0,
        "size to which the adapted image side enlarges images of phi before it reads them, a "
        "multiple of the patch size: more tokens for more accuracy; 0: it reads them as they are",
        low=0,
    )
    adapt_pictures: str = _key(
        "shots", "pictures without labels: the `shots`, or a folder of pictures of any kind"
    )
    mmrl_condition: str = _key(
        "class",
        "MMRL: which visual feature conditions the prompt; `fusion_raw` is the mix of both as it "
        "is, not normalised again",
        ("class", "fusion", "fusion_raw"),
    )
    text_path: str = _key(
        "prefix",
        "`prefix` computes what stands before the slots once a class; "
        "`reference` runs whole prompts",
        ("prefix", "reference"),
    )
    class_chunk: int = _key(
        0, "classes a text pass runs at a time; 0 = as many as the memory budget holds", low=0
    )
    memory_budget_mb: int = _key(
        0,
        "MiB that the activations of a text pass may take, in training and at test; "
        "0 = a fixed number for the device",
        low=0,
        later=True,
    )
    inference: str = _key(
        CALIBRATED,
        f"text features at test: {modes_help()}",
        CHOICES,
    )
    shortlist_k: int = _key(
        5, "classes of an image that `shortlist` runs exactly, and `auto` at most", low=1
    )
    tangent_kind: str = _key(
        "fitted",
        "the series: `fitted` to training images by least squares, or the `jacobian` at their mean",
        ("fitted", "jacobian"),
    )
    tangent_rank: int = _key(
        32, "directions of the training images in the series; 0 = all K * D_s", low=0
    )
    tangent_products: int = _key(
        8, "`fitted`: leading directions whose products are terms, too", low=0
    )
    auto_margin: float = _key(
        -1.0,
        "`auto`: logits below the highest that are still checked; -1 = as loreal calibrate found",
        low=-1.0,
    )
    cache_dir: str = _key("", "folder of the embedding cache; empty = `$LOREAL_CACHE/embeddings`")
    alpha_dir: str = _key("", "output folder of stage 1 (the host trained at the native size)")
    beta_dir: str = _key("", "output folder of stage 2 (the host trained at phi)")
    alpha_epoch: int = _key(0, "epoch of stage 1 to load; 0 = the last", low=0)
    beta_epoch: int = _key(0, "epoch of stage 2 to load; 0 = the last", low=0)
    adapt_dir: str = _key(
        "",
        "output folder of an adaptation: beta is then alpha at phi with that image side; "
        "empty: beta is stage 2's",
    )
    constant_conditioning: bool = _key(
        False, "replace the conditioning embedding by its training mean (ablation)"
    )


# Keys that act after training: they do not decide whether a training is complete.
INFERENCE_ONLY: frozenset[str] = frozenset(
    {"INFERENCE", "SHORTLIST_K", "TANGENT_KIND", "TANGENT_RANK", "TANGENT_PRODUCTS", "AUTO_MARGIN"}
)

# Keys of the adaptation. They act where ADAPT_DIR names one; the adaptation's own stage reads them.
ADAPTATION: frozenset[str] = frozenset(
    f.name.upper() for f in fields(LorealOptions) if f.name.startswith("adapt")
)

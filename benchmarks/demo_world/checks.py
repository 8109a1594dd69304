"""Tests T1 to T6: is the demonstration world a fair place to try a low-resolution method?

They use a frozen CLIP, its words, and small read-outs of `probes`, never the method itself.
"(b)" is a context learned as CoOp does on 16 pictures a base class at 96 pixels, its learning rate
chosen on base `val` pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.demo_world import probes
from benchmarks.demo_world.checker import PHI, RESOLUTIONS, CheckConfig, Checker
from benchmarks.demo_world.probes import accuracy
from loreal_plugin.demo.weights import DEMO_WEIGHTS, weights_file


@dataclass(frozen=True)
class Result:
    """One test: what was asked, what was measured, whether it holds."""

    test: str
    required: bool
    asked: str
    measured: str
    met: bool
    values: dict[str, float]


def check_cliff(c: Checker) -> Result:
    """T1: accuracy falls with the resolution, gently first, and 96 stays above chance."""
    hm = {size: score["hm"] for size, score in c.zero_shot.items()}
    fall = {size: hm[224] - hm[size] for size in RESOLUTIONS[1:]}
    met = 15 <= fall[96] <= 35 and fall[144] <= 2 / 3 * fall[96] and fall[192] <= 4 and hm[96] >= 15
    values = {f"hm_{size}": value for size, value in hm.items()}
    measured = " / ".join(f"{hm[size]:.1f}" for size in RESOLUTIONS)
    asked = (
        "zero-shot HM 224/192/144/96: 96 loses 15 to 35, 144 at most 2/3 of it, 192 at most 4; 96"
        " above 15"
    )
    return Result("T1", True, asked, measured, met, values)


def check_words_and_names(c: Checker) -> Result:
    """T2: telling the true values does not drown the class name."""
    none, true = c.zero_shot[224]["hm"], c.score("test", 224, contents=c.contents("true"))["hm"]
    asked = "HM at 224 with true words at most 2 below no slots"
    return Result(
        "T2",
        True,
        asked,
        f"{true:.1f} against {none:.1f}",
        true >= none - 2,
        {"true": true, "none": none},
    )


def check_headroom(c: Checker) -> list[Result]:
    """T3 and T3b: labels of the classes read more from the 96-pixel features than (b) does."""
    b, every = c.trained_context, c.config.pictures["train"]
    full = c.probe("new", every, c.config.seeds[:1])
    few = {half: c.probe(half, c.config.shots, c.config.seeds) for half in c.halves}
    values = {
        "probe_new": full,
        "b_base": b["base"],
        "b_new": b["new"],
        "b_hm": b["hm"],
        "b_lr": c.context_rate,
    }
    gain = {half: few[half] - b[half] for half in few}
    return [
        Result(
            "T3",
            True,
            f"probe ({every} a class) on new at 96 at least 10 above (b)",
            f"{full:.1f} against {b['new']:.1f} ({full - b['new']:+.1f})",
            full >= b["new"] + 10,
            values,
        ),
        Result(
            "T3b",
            False,
            f"probe ({c.config.shots} a class) at 96 at least 5 above (b), base and new",
            f"base {few['base']:.1f} ({gain['base']:+.1f}), new {few['new']:.1f}"
            f" ({gain['new']:+.1f})",
            min(gain.values()) >= 5,
            {f"probe_few_{half}": few[half] for half in few},
        ),
    ]


def check_right_words(c: Checker) -> Result:
    """T4: the picture's own words help more than those of another picture of its class."""
    true, other = (c.score("test", PHI, contents=c.contents(how)) for how in ("true", "shuffled"))
    b, none = c.trained_context["hm"], c.zero_shot[PHI]["hm"]
    measured = (
        f"true {true['hm']:.1f}, another picture's {other['hm']:.1f}, (b) {b:.1f}, no slots"
        f" {none:.1f}"
    )
    values = {
        "true": true["hm"],
        "shuffled": other["hm"],
        "true_base": true["base"],
        "true_new": true["new"],
    }
    met = true["hm"] >= other["hm"] + 5 and true["hm"] > b
    return Result(
        "T4",
        False,
        "HM at 96 with true words at least 5 above another picture's, and above (b)",
        measured,
        met,
        values,
    )


def check_protocol(c: Checker) -> Result:
    """T5: enough test pictures, few-shot seeds and backbones to tell a difference from noise."""
    shipped = 0
    for name in DEMO_WEIGHTS:
        try:
            shipped += weights_file(name).is_file()
        except FileNotFoundError:
            continue
    values = {
        "test_per_class": c.config.pictures["test"],
        "seeds": len(c.config.seeds),
        "backbones": shipped,
    }
    met = values["test_per_class"] >= 150 and values["seeds"] >= 3 and shipped >= 2
    measured = f"{values['test_per_class']} pictures, {values['seeds']} seeds, {shipped} backbones"
    return Result(
        "T5",
        True,
        "150 test pictures a class, 3 few-shot seeds, 2 backbones",
        measured,
        met,
        values,
    )


def check_reach(c: Checker) -> Result:
    """T6: slots trained on labelled new pictures go beyond a context trained on the same."""
    every, seed, prompts = c.config.pictures["train"], c.config.seeds[0], c.halves["new"]
    features, target = c.shots("new", seed, every)
    rows = c.rows("test", "new")
    test = c.store.features("test", PHI)[rows.index]
    context = c.learned_context("new", seed, every, c.context_rate)
    by_context = accuracy(prompts.predict(test, context), rows.target)
    neutral = c.model.token_embedding(c.table.encode_full([["some"]])[0, 1])
    nets = probes.train_slots(
        prompts, features, target, start=neutral, lr=0.05, steps=c.config.reach_steps, seed=seed
    )
    with torch.no_grad():
        by_slots = accuracy(prompts.predict(test, prompts.plain_context, nets(test)), rows.target)
    measured = f"{by_slots:.1f} against {by_context:.1f} ({by_slots - by_context:+.1f})"
    asked = (
        "slots trained on labelled new pictures at 96 at least 3 above a context trained on the"
        " same"
    )
    return Result(
        "T6",
        False,
        asked,
        measured,
        by_slots >= by_context + 3,
        {"slots": by_slots, "context": by_context},
    )


def iter_checks(weights: str | Path, config: CheckConfig | None = None) -> Iterator[Result]:
    """Yields T1 to T6 of a packed CLIP ("demo", "demo-2" or a path), each once measured."""
    checker = Checker(weights, config or CheckConfig())
    yield check_cliff(checker)
    yield check_words_and_names(checker)
    yield from check_headroom(checker)
    yield check_right_words(checker)
    yield check_protocol(checker)
    yield check_reach(checker)


def as_json(results: list[Result]) -> list[dict]:
    """Returns the results as plain data."""
    return [asdict(result) for result in results]

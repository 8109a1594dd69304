"""What can be wrong with a run beyond its words, found before anything is written or trained."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loreal_plugin.adapt.settings import check_enlarge
from loreal_plugin.config import flatten, is_method_key
from loreal_plugin.contract.text import name_places, tokenise_attributes
from loreal_plugin.data.demo import without_drawing
from loreal_plugin.errors import ConfigError, DataError, LorealError
from loreal_plugin.method.slots import check_length, slot_length
from loreal_plugin.options import WITH_CONTENTS, WITH_WORDS
from loreal_plugin.paths import embedded_host
from loreal_plugin.plain_output import shown
from loreal_plugin.runs.check_values import check_classes, check_training
from loreal_plugin.runs.engine import Engine

CONTEXT_LENGTH = 77
# how a picture becomes numbers; the rest of INPUT is augmentation, which stages may choose for
# themselves
STUDENT_INPUT = ("INPUT.INTERPOLATION", "INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD", "INPUT.NO_TRANSFORM")


def check_dry_run(engine: Engine) -> None:
    """Check what a run would refuse, as far as it is found without drawing or writing anything.

    A stranger's code may write into the data folder when it lists pictures, so it is not asked for
    them; what that leaves out is said.

    Raises:
        LorealError: as in `check_run`.
    """
    ours = engine.host.path == embedded_host()
    with without_drawing():
        check_run(engine, lists=ours)
    if not ours:
        engine.say("not looked at on a stranger's host: pictures, prompts and attribute words")


def check_run(engine: Engine, *, lists: bool = True) -> None:
    """Check configs, options, attributes and prompts.

    Args:
        lists: also what the lists of pictures and class names are needed for.

    Raises:
        ConfigError: stage 3 would build other students than stages 1 and 2 trained; a config that
            the host or LOREAL refuses; LOREAL switched off; a slot order that the method cannot
            take; a prompt of more than 77 tokens.
        DataError: the dataset to train on is test-only, or has one class to test on.
        AttributeFileError: the attribute file is unusable, or has no words for a class.
    """
    if lists:
        check_source(engine)
        check_classes(engine.plan, engine.identity, engine.say)
    if not engine.identity.options.enabled:
        phi = engine.plan.spec.phi
        raise ConfigError(
            "TRAINER.LOREAL.ENABLED False is the host alone, which the row 'trained and tested at"
            f" {phi}' shows already; leave it out (loreal train runs it)"
        )
    check_students(engine)
    for name, cfg in engine.cfgs.items():
        check_trainer(engine.host, cfg)
        check_training(cfg, name)
    tell_authors(engine)
    if lists:
        check_slots(engine)


def tell_authors(engine: Engine) -> None:
    """Say so where a preset of the authors meets students that are not theirs."""
    row, preset = engine.host.contract, engine.identity.options.preset
    node = engine.cfgs["loreal"].TRAINER[row.cfg_node]
    other = {key: v for key, v in row.authors_options.items() if node[key] != v}
    if preset.split("-")[0] == "authors" and other:
        theirs = ", ".join(f"{key} {value!r}" for key, value in other.items())
        engine.say(
            f"preset {preset}: the authors' students have {theirs}, here it is"
            f" {', '.join(repr(node[key]) for key in other)}; RECIPE=authors is their recipe"
        )


def check_weights(engine: Engine, facts: Mapping[str, Any]) -> None:
    """Raise ConfigError where settings name layers, or a size, that the CLIP does not have.

    Some hosts fail on a layer inside `build_model`, others silently leave it out.

    Args:
        facts: what `weights.describe` says of the CLIP.
    """
    layers = min(facts["layers"], facts["text_layers"])
    if "adapt" in engine.plan.stages:
        enlarge = engine.identity.options_of("adapt").adapt_enlarge
        check_enlarge(enlarge, engine.plan.spec.phi, facts["patch"])
    for cfg in engine.cfgs.values():
        for key, numbers in engine.host.contract.layers_used(cfg).items():
            if max(numbers, default=0) > layers:
                raise ConfigError(
                    f"{key} names layer {max(numbers)}, but a tower of the CLIP weights"
                    f" '{engine.plan.spec.weights}' has {layers}; add -- {key} with layers up to"
                    f" {layers}, or choose other weights"
                )


def check_source(engine: Engine) -> None:
    """Raise DataError where the pictures to train on are those that are tested (ImageNet's
    variants, for one).
    """
    dataset = engine.identity.dataset(engine.plan.source)
    both = {item.impath for item in dataset.train_x} & {item.impath for item in dataset.test}
    if both:
        raise DataError(
            f"dataset '{engine.plan.spec.dataset}' cannot be trained on: {len(both)} of its"
            " training pictures are test pictures (a test-only dataset?); train on another one and"
            " name this one in TARGETS of xd.sh or dg.sh"
        )


def check_students(engine: Engine) -> None:
    """Raise ConfigError unless stage 3 and the adaptation describe the students as the stages did
    whose parameters they read.
    """
    for name, title in (
        ("loreal", "stage 3"),
        ("adapt", "stage 'adapt'"),
        ("adapted", "stage 'adapted'"),
    ):
        if name in engine.plan.stages:
            for parent in ("alpha", "beta") if name == "loreal" else ("alpha",):
                _check_student(engine, name, title, parent)


def _check_student(engine: Engine, name: str, title: str, parent: str) -> None:
    """Raise ConfigError unless a stage describes a student as the stage that trained it did."""
    node = engine.host.contract.counted_node
    ours, theirs = (student_facts(engine.cfgs[stage], node) for stage in (name, parent))
    other = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if other:
        values = ", ".join(
            f"{key} is {theirs.get(key)!r} in stage '{parent}', {ours.get(key)!r} in {title}"
            for key in other
        )
        raise ConfigError(
            f"{title} would build other students than were trained: {values}; make them equal"
        )


def student_facts(cfg: Any, node: str | None) -> dict[str, Any]:
    """Return the settings that say what a host's model is and reads; `node` is the method's own
    under TRAINER; None: every one.
    """
    flat = flatten(cfg)
    facts = {
        k: v
        for k, v in flat.items()
        if is_method_key(k, node) or k.startswith("MODEL.") or k in STUDENT_INPUT
    }
    return facts | {"INPUT.TRANSFORMS normalize": "normalize" in flat.get("INPUT.TRANSFORMS", ())}


def check_trainer(host: Any, cfg: Any) -> None:
    """Run the trainer's own check of its config, without building it.

    Raises:
        ConfigError: the host has no such trainer, or the check refuses.
    """
    if cfg.TRAINER.NAME == host.contract.loreal_trainer:
        importlib.import_module(host.contract.loreal_module)
    registry = importlib.import_module("dassl.engine").TRAINER_REGISTRY
    if cfg.TRAINER.NAME not in registry.registered_names():
        return  # building it names the ones there are
    kind = registry.get(cfg.TRAINER.NAME)
    try:
        kind.check_cfg(kind.__new__(kind), cfg)
    except LorealError:
        raise
    except (AssertionError, AttributeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{cfg.TRAINER.NAME} refuses its configuration: {error or 'an assertion failed'}"
        ) from error


def check_slots(engine: Engine) -> None:
    """Raise unless every prompt of the classes that are tested takes the slots.

    An attribute that tokenises to nothing, or a class without words, is an error here and not after
    two stages.
    """
    if engine.identity.attribute_file().fallback:
        engine.say(
            f"no attribute file for dataset '{engine.plan.spec.dataset}': the generic words are"
            " used"
        )
    for stage in ("loreal", "adapted"):
        if stage == "loreal" or _has_slots(engine, stage):
            check_slots_of(engine, stage)


def _has_slots(engine: Engine, stage: str) -> bool:
    """Return whether the run has a stage, and that stage has slots."""
    return stage in engine.cfgs and engine.identity.options_of(stage).slot_parts != "none"


def check_slots_of(engine: Engine, stage: str) -> None:
    """Raise unless every prompt of the classes that are tested takes the slots of a stage."""
    options, encode = engine.identity.options_of(stage), tokenizer()
    source = engine.identity.attribute_file(stage).source
    parts = {
        "words": options.slot_parts in WITH_WORDS,
        "contents": options.slot_parts in WITH_CONTENTS,
    }
    for name, words, prompt in host_prompts(engine, stage):
        attributes = tokenise_attributes(words, encode, source)
        slots = slot_length(
            attributes, order=options.slot_order, n_content=options.n_content, **parts
        )
        start, end, tokens = 1, 1, encode(prompt)
        check_name(name, prompt, tokens, encode)
        check_length(name, len(words), start + len(tokens) + slots + end, CONTEXT_LENGTH)


def check_name(
    name: str, prompt: str, tokens: list[int], encode: Callable[[str], list[int]]
) -> None:
    """Raise DataError where a class name is no line of text, or has other tokens in its prompt
    than alone: signs, emoji among them, are one word with the full stop behind them.
    """
    if shown(name) != name or any(character in name for character in "\t\n\r"):
        raise DataError(
            f"class name {ascii(name)} has a control character, which no text shows; write its name"
            " in letters (a class of a folder has the folder's name)"
        )
    if not name_places([0, *tokens], encode(name.replace("_", " "))):
        raise DataError(
            f"class name '{name}' has other tokens in its prompt '{prompt}' than alone, because it"
            " ends in signs that CLIP reads as one with the full stop; write its name in letters"
        )


def tokenizer() -> Callable[[str], list[int]]:
    """Return CLIP's tokenizer: text -> ids without start and end."""
    from loreal_plugin.weights import import_clip

    return import_clip().clip._tokenizer.encode


def host_prompts(engine: Engine, stage: str = "loreal") -> Iterator[tuple[str, list[str], str]]:
    """Give class name, its K words in the slots of a stage, and the text of the host's own prompt,
    of all classes that are tested.
    """
    cfg = engine.cfgs[stage]
    template = engine.host.contract.prompt_template(cfg)
    for subset in engine.plan.tests:
        names = list(engine.identity.dataset(subset).classnames)
        words = engine.identity.words_on(subset, names, stage)
        for index, name in enumerate(names):
            own = words if isinstance(words[0], str) else words[index]
            yield name, own, template.format(name.replace("_", " "))

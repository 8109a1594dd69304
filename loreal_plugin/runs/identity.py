"""The keys of one plan's stages and evaluations, from its resolved configs, weights, pictures and
attributes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from copy import copy
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from loreal_plugin.attributes import AttributeSet, dataset_of, load_attributes
from loreal_plugin.config import with_settings
from loreal_plugin.files import digest
from loreal_plugin.options import (
    LorealOptions,
    changed_positions,
    position_resampling,
    resolve_options,
)
from loreal_plugin.paths import embedded_host
from loreal_plugin.results.protocols import TARGET
from loreal_plugin.runs.adaptation_facts import facts_of_adaptation, other_pictures
from loreal_plugin.runs.keys import (
    METHOD_VERSION,
    as_meant,
    dataset_items,
    images_digest,
    preset_filled,
    stage_config,
    stage_key,
)
from loreal_plugin.runs.logs import quietly
from loreal_plugin.runs.mode_facts import mode_facts
from loreal_plugin.runs.picture_index import PictureIndex
from loreal_plugin.runs.plan import Plan, family_argv


class Identity:
    """Keys by stage name; dataset lists are read once, when the first key is asked for.

    Args:
        host: an `AttachedHost`.
        plan: the run.
        cfgs: resolved config by stage name.
        weights: fingerprint of the CLIP weights.
        say: prints one line of progress.
    """

    def __init__(
        self,
        host: Any,
        plan: Plan,
        cfgs: dict[str, Any],
        weights: str,
        say: Callable[[str], None] = print,
    ) -> None:
        self._host, self._plan, self._cfgs = host, plan, cfgs
        self.weights = weights
        self._datasets: dict[str, Any] = {}
        self._images: dict[str, str] = {}
        self._pictures = PictureIndex(say)

    def for_plan(self, plan: Plan, cfgs: dict[str, Any]) -> Identity:
        """Return the keys of a plan that has more stages; datasets and pictures are shared."""
        found = copy(self)
        found._plan, found._cfgs = plan, cfgs
        return found

    @cached_property
    def options(self) -> LorealOptions:
        """Return stage 3's resolved options; ConfigError with every fault."""
        return self.options_of("loreal")

    def options_of(self, stage: str) -> LorealOptions:
        """Return the resolved options of a stage after 2; ConfigError with every fault."""
        return resolve_options(self._cfgs[stage].TRAINER.LOREAL)

    def attribute_file(self, stage: str = "loreal") -> AttributeSet:
        """Return the attribute file of a stage after 2; AttributeFileError: it is unusable."""
        cfg = self._cfgs[stage]
        return load_attributes(self.options_of(stage).attributes, dataset_of(cfg))

    def words_on(self, subset: str, classnames: list[str], stage: str = "loreal") -> list[Any]:
        """Return the words of a stage's slots when `subset` is tested: on a target, by
        TEST_ATTRIBUTES, its own.

        Words of a class (ATTRIBUTE_SCOPE) are always those of the classes at hand.
        """
        return self._words_file(subset, stage).select_for(self.options_of(stage), classnames)

    def attributes_on(self, subset: str, stage: str = "loreal") -> list[str]:
        """Return what keys and records hold of a stage's attributes when `subset` is tested: the
        words, or the file's hash where classes have words of their own.
        """
        file, options = self._words_file(subset, stage), self.options_of(stage)
        if options.attribute_scope == "class":
            return [f"per class: {file.sha256}"]
        return file.select_for(options, [])

    def _words_file(self, subset: str, stage: str) -> AttributeSet:
        """Return the attribute file of what is tested: the target's own where its words are asked
        for.
        """
        test, o = self._plan.tests.get(subset), self.options_of(stage)
        if (
            test is None
            or test.role != TARGET
            or (o.attribute_scope == "dataset" and o.test_attributes == "source")
        ):
            return self.attribute_file(stage)
        return load_attributes(o.attributes, dataset_of(self._dataset_cfg(subset)))

    def _dataset_cfg(self, subset: str) -> Any:
        """Return the config of a test set, or of the source's classes `subset`."""
        plan = self._plan
        if subset in plan.tests and plan.tests[subset].role == TARGET:
            alpha = plan.stages["alpha"]
            argv = family_argv(plan, alpha, folder=alpha.folder, size=alpha.size, subset=subset)
            return self._host.setup_cfg(argv)
        classes = plan.tests[subset].classes if subset in plan.tests else subset
        return with_settings(self._cfgs["alpha"], {"DATASET.SUBSAMPLE_CLASSES": classes})

    def dataset_name(self, subset: str) -> str:
        """Return the host's name of the dataset that a test set of the plan is of."""
        return str(self._dataset_cfg(subset).DATASET.NAME)

    def dataset(self, subset: str) -> Any:
        """Return the host's dataset of a test set of the plan, or of the source's classes `subset`.

        The seed is set first, as train.py does it: hosts that draw their few-shot subset from the
        global random state then draw the one that the training will see.
        """
        if subset not in self._datasets:
            cfg = self._dataset_cfg(subset)
            importlib.import_module("dassl.utils").set_random_seed(cfg.SEED)
            build = importlib.import_module("dassl.data.datasets").build_dataset
            self._datasets[subset] = quietly(lambda: build(cfg))
        return self._datasets[subset]

    def images(self, subset: str) -> str:
        """Return the hash of a subset's image list; DataError where a picture cannot be read."""
        if subset not in self._images:
            dataset = self.dataset(subset)
            self._pictures.check(
                item.impath for items in dataset_items(dataset).values() for item in items
            )
            self._images[subset] = images_digest(dataset, self._pictures.sha256)
        return self._images[subset]

    def check_pictures(self, subsets: Iterable[str]) -> None:
        """Read the pictures of all subsets in one go; DataError where one cannot be read."""
        subsets = list(subsets)
        parts = [dataset_items(self.dataset(name)).values() for name in subsets]
        self._pictures.check(item.impath for part in parts for items in part for item in items)
        for name in subsets:
            self.images(name)

    def test_images(self, subset: str) -> str:
        """Return the hash of the test part alone, which no number of shots and no seed changes."""
        self.images(subset)  # reads and checks every picture
        part = SimpleNamespace(train_x=None, val=None, test=self.dataset(subset).test)
        return images_digest(part, self._pictures.sha256)

    def config(self, name: str, cfg: Any) -> dict[str, Any]:
        """Return the settings of a config that can change stage `name`; stage 3 with its preset
        filled in.
        """
        loreal = self._plan.stages[name].loreal
        flat = stage_config(cfg, host_node=self._host.contract.counted_node, loreal=loreal)
        flat = {key: value for key, value in flat.items() if key not in self._plan.protocol.at_test}
        if loreal:
            return preset_filled(flat, self.options_of(name))
        sizes = self._plan.stages[name].sizes
        if sizes or cfg.INPUT.SIZE[0] != self._plan.native_size:
            flat |= changed_positions(position_resampling(cfg))
        return flat | ({"INPUT.RANDOM_SIZES": list(sizes)} if sizes else {})

    def stage_key(self, name: str) -> str:
        """Return the key of a stage."""
        if name == "adapt":
            return digest([self.adaptation_facts(), METHOD_VERSION])
        loreal = self._plan.stages[name].loreal
        return stage_key(
            as_meant(self.config(name, self._cfgs[name])),
            weights=self.weights,
            images=self.images(self._plan.source),
            host=self._code(loreal),
            parents={parent: self.stage_key(parent) for parent in self._plan.stages[name].parents},
            attributes=self._words_in(name) if loreal else None,
        )

    def _words_in(self, name: str) -> list[str] | None:
        """Return what a key holds of the words in the slots of a stage; None: it has no slots."""
        if name == "loreal":
            return self.attributes_on(self._plan.source)
        options = self.options_of(name)
        if options.slot_parts == "none":
            return None
        return [options.attributes, *self.attributes_on(self._plan.source, name)]

    def adaptation_facts(self) -> dict[str, Any]:
        """Return everything that can change an adaptation, in JSON's types."""
        parents = self._plan.stages["adapt"].parents
        return {
            **facts_of_adaptation(self._host.contract, self._plan, self._cfgs["adapt"]),
            "weights": self.weights,
            "pictures": self._adaptation_pictures(),
            "host": self._code(loreal=False),
            "parents": {parent: self.stage_key(parent) for parent in parents},
        }

    def _adaptation_pictures(self) -> str:
        """Return the hash of the pictures of an adaptation; DataError: one cannot be read."""
        files = other_pictures(self.options_of("adapt"))
        if files is None:
            return self.images(self._plan.source)
        self._pictures.check(files)
        return digest([self._pictures.sha256(path) for path in files])

    def evaluation_key(self, name: str, cfg: Any, subset: str) -> str:
        """Return the key of testing stage `name` with config `cfg` on `subset`."""
        parts = [self.stage_key(name), as_meant(self.config(name, cfg)), self.images(subset)]
        # what came later than the first keys stands in a key only where it says something
        if self._plan.stages[name].loreal and self._plan.tests[subset].role == TARGET:
            parts.append(self.attributes_on(subset, name))
        inference = self.inference(name)
        return digest(parts if inference is None else [*parts, inference])

    def inference(self, name: str) -> dict[str, Any] | None:
        """Return how stage 3 predicts, with all that can change a prediction; None where it is
        exact.
        """
        if not self._plan.stages[name].loreal:
            return None
        return mode_facts(self.options_of(name), self._plan.stages[name].folder)

    def _code(self, loreal: bool) -> str:
        """Return the identity of the code of a stage; a row from outside is part of stage 3's."""
        code, row = self.host_facts()["code"], self._host.contract
        return f"{code} {row.method}@{row.revision}" if loreal and row.revision else code

    def host_facts(self) -> dict[str, Any]:
        """Return which host this is; `code` is what keys depend on.

        The embedded host changes with the project, whose `METHOD_VERSION` says when results change.
        """
        embedded = self._host.path == embedded_host()
        name = "embedded" if embedded else self._host.path.name
        revision = getattr(self._host, "revision", None)
        shims = sorted(str(getattr(s, "name", s)) for s in getattr(self._host, "shims", []))
        code = name if embedded else f"{name}@{revision} {' '.join(shims)}".strip()
        return {"name": name, "revision": revision, "code": code, "shims": shims}

"""What a finished run says of itself: options, sizes, class names, attribute words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from loreal_plugin.attributes import load_attributes
from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.options import INFERENCE_ONLY, LorealOptions
from loreal_plugin.results.protocols import EVERY_CLASS, HALVES
from loreal_plugin.runs.deployment import Deployment


@dataclass(eq=False)
class RunFacts:
    """The files of a finished run, read.

    Attributes:
        record: the run's results.json.
        checkpoint: the record of stage 3's checkpoint.
        deployment: what else a prediction needs.
    """

    record: dict[str, Any]
    checkpoint: dict[str, Any]
    deployment: Deployment

    @cached_property
    def options(self) -> LorealOptions:
        """The options that stage 3 was trained with."""
        known = {f.name for f in dataclasses.fields(LorealOptions)}
        stored = self.checkpoint["options"]
        return LorealOptions(**{name: value for name, value in stored.items() if name in known})

    @property
    def tested_options(self) -> LorealOptions:
        """The options, with the inference mode and TEST_ATTRIBUTES of the run's tests."""
        if self.options.adapt_dir:  # the record tells of LOREAL's own row
            return self.options
        tested = self.record.get("inference") or {"INFERENCE": "exact"}
        settings = {key.lower(): v for key, v in tested.items() if key in INFERENCE_ONLY}
        for _, key, value in self.record.get("overrides") or ():
            if key == "TRAINER.LOREAL.TEST_ATTRIBUTES":
                settings["test_attributes"] = value
        return dataclasses.replace(self.options, **settings)

    @property
    def phi(self) -> int:
        """Side of the low-resolution input in pixels."""
        return int(self.checkpoint["phi"])

    @property
    def native_size(self) -> int:
        """Side of the standard input in pixels."""
        return int(self.record["native_size"])

    def names_of(self, classes: str | Sequence[str]) -> list[str]:
        """Return class names: of a test set of the run, or the given ones.

        Raises:
            ConfigError: no such test set, or no class name.
        """
        known = self.deployment.classnames
        if not isinstance(classes, str):
            if not classes:
                raise ConfigError("classes: at least one class name is needed, got none")
            return list(classes)
        name = classes or self.deployment.trained_on
        if name not in known:
            raise ConfigError(unknown_name("test set of the run", name, known))
        return list(known[name])

    def dataset_of(self, classes: str | Sequence[str]) -> str:
        """Return the target dataset that a test set of the run is of; "" for classes at home."""
        home = (*HALVES, EVERY_CLASS, self.record["dataset"])
        return classes if isinstance(classes, str) and classes not in home else ""

    def words_for(self, classnames: Sequence[str], dataset: str = "") -> list[Any]:
        """Return the attributes in the slots, K for all classes or K for every class.

        Args:
            dataset: whose classes these are, where they are another dataset's than the run's.
        """
        o, elsewhere = self.tested_options, dataset not in ("", self.record["dataset"])
        at_home = list(classnames) == self.checkpoint["classnames"] and not elsewhere
        own = o.attribute_scope == "class" or (elsewhere and o.test_attributes == "target")
        if at_home or not own:
            return self.checkpoint["words"]
        found = load_attributes(o.attributes, dataset if elsewhere else self.checkpoint["dataset"])
        return found.select_for(o, classnames)

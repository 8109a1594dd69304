"""The keys of one plan's stages and evaluations, from its resolved configs, weights, pictures and attributes."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property
from typing import Any

from loreal_plugin.attributes import AttributeSet, dataset_of, load_attributes
from loreal_plugin.options import INFERENCE_ONLY, LorealOptions, options_dict, resolve_options
from loreal_plugin.paths import embedded_host
from loreal_plugin.protocols.keys import dataset_items, digest, images_digest, stage_config, stage_key
from loreal_plugin.protocols.pictures import PictureIndex
from loreal_plugin.protocols.plan import Plan
from loreal_plugin.protocols.records import read_json
from loreal_plugin.trainer.checkpoint import NAME
from loreal_plugin.trainer.inference import CALIBRATION
from loreal_plugin.trainer.tables import FOLDER


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
        self, host: Any, plan: Plan, cfgs: dict[str, Any], weights: str, say: Callable[[str], None] = print
    ) -> None:
        self._host, self._plan, self._cfgs = host, plan, cfgs
        self.weights = weights
        self._datasets: dict[str, Any] = {}
        self._images: dict[str, str] = {}
        self._pictures = PictureIndex(say)

    @cached_property
    def options(self) -> LorealOptions:
        """Return stage 3's resolved options; ConfigError with every fault."""
        return resolve_options(self._cfgs["loreal"].TRAINER.LOREAL)

    @cached_property
    def attributes(self) -> list[str]:
        """Return what keys and records hold of the attributes: the words, or the file's hash where classes differ."""
        if self.options.attribute_scope == "class":
            return [f"per class: {self.attribute_file.sha256}"]
        return self.words([])

    @cached_property
    def attribute_file(self) -> AttributeSet:
        """Return the attribute file of stage 3; AttributeFileError where it is unusable."""
        return load_attributes(self.options.attributes, dataset_of(self._cfgs["loreal"]))

    def words(self, classnames: list[str]) -> list[Any]:
        """Return the K words of stage 3's slots, or K for every class; AttributeFileError where there are fewer."""
        o = self.options
        if o.attribute_scope == "class":
            return self.attribute_file.select_per_class(classnames, o.n_attributes, o.attr_shuffle_seed)
        return self.attribute_file.select(o.n_attributes, o.attr_shuffle_seed)

    def dataset(self, subset: str) -> Any:
        """Return the host's dataset of the classes `subset` (`base` or `new`).

        The seed is set first, as train.py does it: hosts that draw their few-shot subset from the global random
        state then draw the one that the training will see.
        """
        if subset not in self._datasets:
            cfg = self._cfgs["alpha"].clone()
            cfg.defrost()
            cfg.DATASET.SUBSAMPLE_CLASSES = subset
            cfg.freeze()
            importlib.import_module("dassl.utils").set_random_seed(cfg.SEED)
            with redirect_stdout(io.StringIO()):
                self._datasets[subset] = importlib.import_module("dassl.data.datasets").build_dataset(cfg)
        return self._datasets[subset]

    def images(self, subset: str) -> str:
        """Return the hash of the image list of the classes `subset`; DataError where a picture cannot be read."""
        if subset not in self._images:
            dataset = self.dataset(subset)
            self._pictures.check(item.impath for items in dataset_items(dataset).values() for item in items)
            self._images[subset] = images_digest(dataset, self._pictures.sha256)
        return self._images[subset]

    def config(self, name: str, cfg: Any) -> dict[str, Any]:
        """Return the settings of a config that can change stage `name`; stage 3 with its preset filled in."""
        loreal = name == "loreal"
        flat = stage_config(cfg, host_node=self._host.contract.cfg_node, loreal=loreal)
        if loreal:
            filled = {f"TRAINER.LOREAL.{k}": v for k, v in options_dict(self.options).items()}
            flat |= {key: filled[key] for key in flat if key in filled}
        return flat

    def stage_key(self, name: str) -> str:
        """Return the key of a stage."""
        loreal = name == "loreal"
        return stage_key(
            self.config(name, self._cfgs[name]),
            weights=self.weights,
            images=self.images("base"),
            host=self.host_facts()["code"],
            parents={parent: self.stage_key(parent) for parent in self._plan.stages[name].parents},
            attributes=self.attributes if loreal else None,
        )

    def evaluation_key(self, name: str, cfg: Any, subset: str) -> str:
        """Return the key of testing stage `name` with config `cfg` on the classes `subset`."""
        tested = [self.stage_key(name), self.config(name, cfg), self.images(subset)]
        inference = self.inference(name)
        return digest(tested if inference is None else [*tested, inference])

    def inference(self, name: str) -> dict[str, Any] | None:
        """Return how stage 3 predicts, with all that can change a prediction; None where it is exact."""
        if name != "loreal" or self.options.inference == "exact":
            return None
        found = {key: value for key, value in options_dict(self.options).items() if key in INFERENCE_ONLY}
        if self.options.inference == "auto" and self.options.auto_margin < 0:
            path = self._plan.stages[name].folder / NAME / FOLDER / CALIBRATION
            found["calibration"] = (read_json(path) or {}).get("margin")
        return found

    def host_facts(self) -> dict[str, Any]:
        """Return which host this is; `code` is what keys depend on.

        The embedded host changes with the project, whose `METHOD_VERSION` says when results change.
        """
        embedded = self._host.path == embedded_host()
        revision = getattr(self._host, "revision", None)
        shims = sorted(str(getattr(s, "name", s)) for s in getattr(self._host, "shims", []))
        return {
            "name": "embedded" if embedded else self._host.path.name,
            "revision": revision,
            "code": "embedded" if embedded else f"{self._host.path.name}@{revision} {' '.join(shims)}".strip(),
            "shims": shims,
        }

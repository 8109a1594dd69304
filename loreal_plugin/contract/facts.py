"""What a row says of its method before any model is built: names, files, keys, prompts as text."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from loreal_plugin.errors import ConfigError, unknown_name
from loreal_plugin.files import digest_sources
from loreal_plugin.method.slots import SLOT_ORDERS
from loreal_plugin.paths import bundle_root


class HostFacts:
    """The facts of one method; a row fills in those that have no value here."""

    method: ClassVar[str]  # the name on our command line
    title: ClassVar[str]  # the name that people read in tables and plots
    trainer: ClassVar[str]  # registered name of the host's trainer
    loreal_trainer: ClassVar[str]  # registered name of ours
    module: ClassVar[str]  # trainers.<module>
    cfg_node: ClassVar[str]  # cfg.TRAINER.<cfg_node>
    learner: ClassVar[str]  # attribute of trainer.model
    checkpoint: ClassVar[str]  # registered model: folder of a checkpoint
    # True: the registered model is the whole CustomCLIP, not the learner
    whole_model: ClassVar[bool] = False
    n_features: ClassVar[int] = 1
    # False: its image encoder is CLIP's own, whatever the method learns
    learns_images: ClassVar[bool] = True
    slot_orders: ClassVar[tuple[str, ...]] = SLOT_ORDERS
    # options that the host wants on its command line
    cli_defaults: ClassVar[dict[str, str]] = {}
    # attributes of the trainer that it needs to resume and that its checkpoints lack
    kept_state: ClassVar[tuple[str, ...]] = ()
    # keys of its node that number layers, 1 being the first block
    layer_options: ClassVar[tuple[str, ...]] = ()
    # further parts: role -> dotted path below trainer.model
    parts: ClassVar[dict[str, str]] = {}
    # tensors of the model, or modules, that no forward in eval mode reads and that no CLIP file has
    unused: ClassVar[tuple[str, ...]] = ()
    # learned tensors, or modules, that a model of other classes than the trained ones lacks
    of_trained_classes: ClassVar[tuple[str, ...]] = ()
    # True: without slots a prompt is the same for every image
    static_prompts: ClassVar[bool] = True
    # where the trainer is found, if not in a host of its own
    repositories: ClassVar[tuple[str, ...]] = ()
    # KEY VALUE pairs that make the recipes fit a CLIP of three layers, width 64
    tiny_options: ClassVar[tuple[str, ...]] = ()
    # keys of its node with which the untrained model is zero-shot CLIP; empty: it never is
    zero_shot_options: ClassVar[dict[str, Any]] = {}
    # keys of its node that the students of LOREAL's authors had
    authors_options: ClassVar[dict[str, Any]] = {}
    colour: ClassVar[str] = "black"  # matplotlib's name, in plots that compare methods

    # ---- files -----------------------------------------------------------------------------------

    @property
    def is_ours(self) -> bool:
        """Return whether the row belongs to this package, and not to one from outside."""
        return type(self).__module__.startswith("loreal_plugin.")

    @property
    def counted_node(self) -> str | None:
        """Return the node under TRAINER that its models depend on; None: any may be one.

        Trainers of other repositories read nodes beside their own: of a row from outside all count.
        """
        return self.cfg_node if self.is_ours else None

    @property
    def home(self) -> Path:
        """Return the folder with the row's `trainers/` and `configs/`; outside: beside its file."""
        return bundle_root() if self.is_ours else Path(inspect.getfile(type(self))).resolve().parent

    @property
    def trainer_file(self) -> Path:
        """Return the file that defines our trainer, below `home`."""
        return self.home / "trainers" / f"{self.method}_loreal.py"

    @property
    def loreal_module(self) -> str:
        """Return the module of our trainer, as an attached host finds it."""
        return f"trainers.{self.trainer_file.stem}"

    @property
    def recipes(self) -> Path:
        """Return the folder of the recipes."""
        return self.home / "configs" / "trainers" / self.loreal_trainer

    def recipe_file(self, recipe: str, *, loreal: bool) -> Path:
        """Return the YAML of a recipe: `<recipe>.yaml` for stage 3, else `host_<recipe>.yaml`.

        Raises:
            ConfigError: there is none of that name.
        """
        path = self.recipes / (f"{recipe}.yaml" if loreal else f"host_{recipe}.yaml")
        if not path.is_file():
            files = [file.stem for file in self.recipes.glob("*.yaml")]
            known = [name for name in files if not name.startswith("host_")]
            fault = unknown_name(f"recipe of {self.loreal_trainer}", recipe, known)
            raise ConfigError(f"{fault}; looked for {path}")
        return path

    @property
    def revision(self) -> str:
        """Return a hash of a row from outside: its package's sources, or its one file; ours: "".

        What changes there can change results, so it is part of stage 3's key. Our own rows are
        covered by METHOD_VERSION.
        """
        if self.is_ours:
            return ""
        file = Path(inspect.getfile(type(self))).resolve()
        in_package = (file.parent / "__init__.py").is_file()
        files = sorted(file.parent.rglob("*.py")) if in_package else [file, self.trainer_file]
        return digest_sources((file.parent, one) for one in files if one.is_file())[:16]

    # ---- what a configuration says ---------------------------------------------------------------

    def layers_used(self, cfg: Any) -> dict[str, list[int]]:
        """Return the layer numbers that a configuration names, by key.

        The caller compares them with the CLIP: some hosts silently leave out a layer it lacks.
        """
        node = cfg.TRAINER[self.cfg_node]
        found = {f"TRAINER.{self.cfg_node}.{name}": node[name] for name in self.layer_options}
        return {
            key: [int(n) for n in (value if isinstance(value, (list, tuple)) else [value])]
            for key, value in found.items()
        }

    def prompt_template(self, cfg: Any) -> str:
        """Return the text that the host makes its prompts of, with `{}` for the class name."""
        node = cfg.TRAINER[self.cfg_node]
        return context_template(node.get("CTX_INIT", ""), node.get("N_CTX", 0))

    def use_fusion(self, cfg: Any, training: bool = False) -> bool:
        """Return whether the host predicts from the mix of its features under `cfg`."""
        return False


def context_template(words: str, n_ctx: int) -> str:
    """Return `<context> {}.`; learned context without words is one "X" a token, as in hosts."""
    context = words.replace("_", " ") or " ".join(["X"] * n_ctx)
    return "{} {{}}.".format(context.replace("{", "").replace("}", ""))


def is_named(name: str, among: Iterable[str]) -> bool:
    """Return whether a tensor's name, or that of a module it is in, is among the given names."""
    return any(name == one or name.startswith(f"{one}.") for one in among)


def missing_facts(row: type[HostFacts]) -> list[str]:
    """Return the names of the facts that a row has to give and does not."""
    return [name for name in HostFacts.__annotations__ if not hasattr(row, name)]

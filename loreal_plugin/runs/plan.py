"""The stages and evaluations of a run, and the family's command line for each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loreal_plugin.contract import get_contract
from loreal_plugin.results.protocols import BASE2NEW, TARGET, Protocol
from loreal_plugin.runs.folders import config_label, run_folder, with_targets
from loreal_plugin.runs.protocol import TestSet, test_sets
from loreal_plugin.runs.resampling import RESAMPLING, resampling_of
from loreal_plugin.runs.spec import PUBLISHED, RunSpec
from loreal_plugin.weights.positions import grid_size_of

# The adapted student as evidence says it is best: the host's own prompts, no map of its embeddings.
# So it has the host's graph and costs what the host costs. `adapted:KEY VALUE` puts slots on it.
_ADAPTED = (
    *("TRAINER.LOREAL.SLOT_PARTS", "none"),
    *("TRAINER.LOREAL.DRIFT", "none"),
    *("OPTIM.MAX_EPOCH", "1"),
)


RANDOM = "random"  # stage 2 at random sizes, a rival's: no run has it


@dataclass(frozen=True)
class Stage:
    """One training: `name` is one of `spec.STAGES` or `RANDOM`; `size` is the host's input size.

    `sizes`: each step sees its pictures at one of these instead; none: all see them at `size`.
    """

    name: str
    title: str
    trainer: str
    recipe: Path
    size: int
    folder: Path
    opts: tuple[str, ...]
    parents: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def loreal(self) -> bool:
        """Return whether this is a training of stage 3, on whichever beta."""
        return self.name in ("loreal", "adapted")

    @property
    def published(self) -> bool:
        """Return whether this is one of the paper's three stages."""
        return self.name in PUBLISHED


@dataclass(frozen=True)
class Row:
    """One row of the table: a trained stage, tested at `size`; `folders` by what is tested."""

    name: str
    label: str
    stage: str
    size: int
    folders: dict[str, Path]


@dataclass(frozen=True)
class Plan:
    """Everything a run will do, before anything is done.

    `record` is the folder of the whole run's results: in base-to-new stage 3's own, another where
    stage 3 does not predict exactly, its adaptation is another than the default, or targets are
    named. `tests` are what is tested, by name; the first is what the stages are trained on.
    """

    spec: RunSpec
    native_size: int
    patch_size: int
    dataset_yaml: Path
    dataset_opts: tuple[str, ...]
    stages: dict[str, Stage]
    rows: tuple[Row, ...]
    record: Path
    protocol: Protocol = BASE2NEW
    tests: dict[str, TestSet] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Return the name of the test set whose classes the stages are trained on."""
        return next(iter(self.tests))

    def tokens(self, size: int) -> int:
        """Return how many tokens the image encoder reads of a picture: its patches, and the class
        token.
        """
        return (size // self.patch_size) ** 2 + 1

    def row(self, name: str) -> Row:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)


def without_adaptation(plan: Plan) -> Plan:
    """Return the plan with the paper's stages and rows alone."""
    stages = {name: stage for name, stage in plan.stages.items() if stage.published}
    rows = tuple(row for row in plan.rows if row.stage in stages)
    return replace(plan, stages=stages, rows=rows)


def build_plan(
    spec: RunSpec, *, native_size: int, patch_size: int, protocol: Protocol = BASE2NEW
) -> Plan:
    """Return the stages and rows of a run; `without_adaptation` leaves out those of ours.

    Args:
        native_size: input size of the CLIP weights in pixels.
        patch_size: their patch size in pixels.

    Raises:
        ConfigError: phi does not fit the patch size, or there is no such recipe.
        DataError: no such dataset.
    """
    grid_size_of(spec.phi, patch_size, "PHI")
    sets = test_sets(spec, protocol)
    ours = get_contract(spec.method).loreal_trainer
    label = config_label(spec, "loreal", testing=True, whole_run=True)
    label = with_targets(label, protocol, spec.dataset)
    record = run_folder(
        spec, protocol.record, ours, label, f"phi{spec.phi}", protocol=protocol.name
    )
    source = next(iter(sets.values()))
    return Plan(
        spec=spec,
        native_size=native_size,
        patch_size=patch_size,
        dataset_yaml=source.config,
        dataset_opts=source.options,
        stages={stage.name: stage for stage in _stages(spec, native_size, protocol)},
        rows=_rows(spec, native_size, protocol, sets),
        record=record,
        protocol=protocol,
        tests=sets,
    )


def _stages(spec: RunSpec, native_size: int, protocol: Protocol) -> tuple[Stage, ...]:
    """Return the stages in the order of training."""
    contract = get_contract(spec.method)
    trainer, ours, phi = contract.trainer, contract.loreal_trainer, f"phi{spec.phi}"

    def stage(
        name: str, title: str, size: int, variant: str, parents: tuple[str, ...] = ()
    ) -> Stage:
        third = name not in ("alpha", "beta")
        registered = ours if third else trainer
        resampled = size != native_size
        label = config_label(spec, name, at_test=protocol.at_test, resampled=resampled)
        # where nothing of the method enters the image side, its adaptation is that of all methods
        shared = name == "adapt" and not contract.learns_images
        where = "CLIP" if shared else registered
        folder = run_folder(spec, protocol.train, where, label, variant, protocol=protocol.home)
        recipe = contract.recipe_file(spec.recipe, loreal=third)
        opts = _options(spec, name)
        return Stage(name, title, registered, recipe, size, folder, opts, parents)

    return (
        stage("alpha", f"{trainer} at {native_size}", native_size, ""),
        stage("beta", f"{trainer} at {spec.phi}", spec.phi, phi),
        stage("loreal", f"{ours} at {spec.phi}", native_size, phi, ("alpha", "beta")),
        stage(
            "adapt",
            f"image side of alpha at {spec.phi}",
            native_size,
            f"adapt_{phi}",
            ("alpha",) if contract.learns_images else (),
        ),
        stage(
            "adapted",
            f"{ours} on the adapted image side",
            native_size,
            f"adapted_{phi}",
            ("alpha", "adapt"),
        ),
    )


def _options(spec: RunSpec, name: str) -> tuple[str, ...]:
    """Return a stage's overrides as words KEY VALUE ...; of two with one key the last one counts.

    So on the adapted student its usual settings stand before what `adapted:KEY` asks for.
    """
    given = spec.overrides_for(name)
    own = [o for o in given if o.scope == "adapted"]
    rest = [o for o in given if o.scope != "adapted"]
    words = [[word for o in some for word in (o.key, o.value)] for some in (rest, own)]
    return (*words[0], *(_adapted_options(spec) if name == "adapted" else ()), *words[1])


def _adapted_options(spec: RunSpec) -> tuple[str, ...]:
    """Return the settings of an adapted student; text features are made once where prompts are the
    same for every image.
    """
    static = get_contract(spec.method).static_prompts
    return (*_ADAPTED, "TRAINER.LOREAL.INFERENCE", "static" if static else "exact")


def _rows(
    spec: RunSpec, native_size: int, protocol: Protocol, sets: dict[str, TestSet]
) -> tuple[Row, ...]:
    """Return the rows in the order of the table."""
    contract = get_contract(spec.method)
    trainer, ours, phi = contract.trainer, contract.loreal_trainer, f"phi{spec.phi}"

    def row(name: str, text: str, of: str, size: int, variant: str) -> Row:
        label = config_label(spec, of, testing=True, resampled=size != native_size)
        where = (ours if of in ("loreal", "adapted") else trainer, label, variant)
        folders = {s: _test_folder(spec, protocol, one, *where) for s, one in sets.items()}
        return Row(name, text, of, size, folders)

    only_at_phi = f"{trainer}, trained at {native_size}, tested at {spec.phi}"
    changed = [f"{o.key} {o.value}" for o in spec.overrides if o.scope == "beta"]
    own = f" with {', '.join(changed)}" if changed else ""
    return (
        row("native", f"{trainer}, trained and tested at {native_size}", "alpha", native_size, ""),
        row("native_at_phi", only_at_phi, "alpha", spec.phi, f"at_{phi}"),
        row("phi", f"{trainer}, trained and tested at {spec.phi}{own}", "beta", spec.phi, phi),
        row("loreal", f"+ LOREAL, tested at {spec.phi}", "loreal", native_size, phi),
        row(
            "adapted",
            f"+ adapted image side, tested at {spec.phi}",
            "adapted",
            native_size,
            f"adapted_{phi}",
        ),
    )


def _test_folder(
    spec: RunSpec, protocol: Protocol, test: TestSet, trainer: str, label: str, variant: str
) -> Path:
    """Return where an evaluation lies; tests on the source belong to the protocol that trained on
    it.
    """
    name = protocol.name if test.role == TARGET else protocol.home
    split = f"test_{test.classes}" if protocol.halves else "test"
    target = test.dataset if protocol.names_target else ""
    return run_folder(spec, split, trainer, label, variant, protocol=name, target=target)


def family_argv(plan: Plan, stage: Stage, *, folder: Path, size: int, subset: str) -> list[str]:
    """Return the command line that the family's `train.py` would get for this training or
    evaluation.

    Args:
        subset: a name of `plan.tests`; any other: these classes (`all`, `base`, `new`) of the
            source.
    """
    spec, test = plan.spec, plan.tests.get(subset)
    yaml, options = (test.config, test.options) if test else (plan.dataset_yaml, plan.dataset_opts)
    argv = ["--root", str(spec.data), "--seed", str(spec.seed), "--trainer", stage.trainer]
    argv += ["--dataset-config-file", str(yaml), "--config-file", str(stage.recipe)]
    argv += ["--output-dir", str(folder), *options]
    words = get_contract(spec.method).cli_defaults
    settings: dict[str, Any] = {
        **words,
        **({"TASK": plan.protocol.task} if "TASK" in words else {}),
        # train.py takes --seed 0 for "no seed"
        "SEED": spec.seed,
        "DATASET.NUM_SHOTS": spec.shots,
        "DATASET.SUBSAMPLE_CLASSES": test.classes if test else subset,
        "INPUT.SIZE": f"({size}, {size})",
        # quoted: yacs would read a text like 2024 as a number
        "MODEL.BACKBONE.NAME": repr(spec.weights),
    }
    # one value for all stages: beta is trained with the positions that stage 3 gives it
    settings[f"TRAINER.LOREAL.{RESAMPLING}"] = resampling_of(spec)
    if stage.loreal:
        settings["TRAINER.LOREAL.PHI"] = spec.phi
        settings["TRAINER.LOREAL.ALPHA_DIR"] = repr(str(plan.stages["alpha"].folder))
        settings["TRAINER.LOREAL.BETA_DIR"] = repr(str(plan.stages["beta"].folder))
    if stage.name == "adapted":
        settings["TRAINER.LOREAL.ADAPT_DIR"] = repr(str(plan.stages["adapt"].folder))
    return [*argv, *(str(word) for pair in settings.items() for word in pair), *stage.opts]

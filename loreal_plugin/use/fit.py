"""From a folder of pictures to a trained run that has been measured."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from loreal_plugin.contract import DEFAULT_METHOD
from loreal_plugin.data.names import dataset_config
from loreal_plugin.errors import DataError, WeightsError
from loreal_plugin.files import write_json
from loreal_plugin.paths import typed
from loreal_plugin.pictures import read_picture
from loreal_plugin.plain_output import Say, counted
from loreal_plugin.results.per_class import Measured
from loreal_plugin.results.protocols import FIT
from loreal_plugin.runs.folders import folder_name
from loreal_plugin.runs.run import run_protocol
from loreal_plugin.runs.spec import DEMO_WEIGHTS, RunSpec, build_spec
from loreal_plugin.use.models import Model, open_model
from loreal_plugin.use.predict import Tally, answers
from loreal_plugin.use.sources import Source
from loreal_plugin.use.staging import Staged, stage

MEASURED = "measured.json"
_WEIGHTS_ADVICE = (
    "--weights says it here, too; --weights demo only tries the commands out: its accuracy means"
    " nothing on photographs"
)
_SHOWN = 5


@dataclass(frozen=True)
class FitPlan:
    """How a folder is trained on.

    Attributes:
        hold_out: share of each class that measures.
        name: of the dataset; empty: the folder's.
        opts: KEY VALUE pairs for the recipes.
    """

    method: str = DEFAULT_METHOD
    phi: str = "96"
    seed: str = "1"
    shots: str = "32"
    hold_out: float = 0.25
    name: str = ""
    out: str | None = None
    weights: str | None = None
    host: str | None = None
    recipe: str | None = None
    opts: tuple[str, ...] = ()
    verbose: bool = False


@dataclass(frozen=True)
class Fitted:
    """A trained run, and how good it is.

    Attributes:
        folder: of the run's record; `loreal predict` opens it.
        measured: on the pictures that did not train.
        data: folder that holds the dataset of links.
    """

    folder: Path
    measured: Measured
    data: Path


def fit_folder(folder: str | Path, plan: FitPlan, say: Say = print) -> Fitted:
    """Train on all classes of a folder and measure on pictures that were held out.

    What is there already is not trained again; an interrupted training goes on.

    Args:
        folder: has a folder of pictures for each class, or train/ and test/ with these.
        say: prints one line of progress.

    Raises:
        LorealError: a folder, weights or settings that cannot be used.
    """
    folder = Path(folder).expanduser().resolve()
    spec = _spec(folder, plan)
    staged = stage(folder, spec.data, spec.dataset, plan.hold_out, say)
    say(_summary(folder, staged, spec.shots))
    try:
        outcome = run_protocol(spec, FIT, say=say, verbose=plan.verbose)
    except WeightsError as error:
        raise WeightsError(f"{error}. {_WEIGHTS_ADVICE}") from error
    measured = _measure(outcome.folder, staged, spec)
    write_json(outcome.folder / MEASURED, measured.facts())
    say("")
    say(measured.text())
    say(next_steps(outcome.folder, spec, folder, _given(plan)))
    return Fitted(outcome.folder, measured, spec.data)


def _spec(folder: Path, plan: FitPlan) -> RunSpec:
    """Return the run; its dataset lies in the output folder."""
    name = plan.name or folder.name or "pictures"
    try:
        dataset_config(name)
        name = f"{name}-folder"  # a benchmark's name means the benchmark
    except DataError:
        pass
    spec = build_spec(
        plan.method,
        plan.phi,
        name,
        plan.seed,
        host=plan.host,
        data=str(folder.parent),
        out=plan.out,
        shots=plan.shots,
        weights=plan.weights,
        recipe=plan.recipe,
        opts=plan.opts,
    )
    # the dataset of links is made in the output folder
    return replace(spec, data=spec.out / FIT.name / "pictures")


def _summary(folder: Path, staged: Staged, shots: int) -> str:
    """Return what was found in the folder."""
    split, names = staged.split, staged.classnames
    each = [sum(item.label == label for item in split.train) for label in range(len(names))]
    train = sum(min(count, shots) for count in each)
    most = f", at most {shots} a class (--shots)" if max(each) > shots else ""
    pictures = len(split.train) + len(split.test)
    found = f"{folder}: {counted(len(names), 'class')}, {counted(pictures, 'picture')}"
    lines = [f"{found}; {train} train{most}, {len(split.test)} measure"]
    for path, fault in list(staged.broken.items())[:_SHOWN]:
        lines.append(f"left out: {path} ({fault})")
    if len(staged.broken) > _SHOWN:
        lines.append(f"left out: {len(staged.broken) - _SHOWN} more that cannot be read")
    if staged.left_out:
        lines.append(f"no picture in: {', '.join(staged.left_out[:_SHOWN])}")
    return "\n".join(lines)


def _measure(run: Path, staged: Staged, spec: RunSpec) -> Measured:
    """Return what the run calls the pictures that did not train."""
    model: Model = open_model(str(run), host=str(spec.host), weights=spec.weights)
    names, items = staged.classnames, staged.split.test
    plain = {name.replace("_", " "): label for label, name in enumerate(names)}
    sources = (Source(item.path, partial(read_picture, item.path)) for item in items)
    found = answers(model, sources, Tally(), top=1)
    predicted = [plain[one.classes[0].classname] for one in found]
    return Measured(names, [item.label for item in items], predicted)


def _given(plan: FitPlan) -> list[str]:
    """Return what was chosen beside the folder, PHI and weights, as words of a command."""
    usual, words = FitPlan(), list[str]()
    for name in ("method", "seed", "shots", "name", "out", "host", "recipe"):
        if getattr(plan, name) not in (getattr(usual, name), None):
            words += [f"--{name}", str(getattr(plan, name))]
    if plan.hold_out != usual.hold_out:
        words += ["--hold-out", f"{100 * plan.hold_out:g}"]
    return [*words, *(("--", *plan.opts) if plan.opts else ())]


def next_steps(run: Path, spec: RunSpec, folder: Path, given: Sequence[str] = ()) -> str:
    """Return the commands for what comes next, to be copied.

    Args:
        folder: what was trained on; it is worth real weights where it was tried without.
        given: further words of the command that trained.
    """
    model, package = typed(run), f"{folder_name(spec.dataset)}-{spec.phi}"
    commands = [
        (f"loreal predict {model} PICTURES...", "name pictures"),
        (
            f"loreal export {model} --out {shlex.quote(package)} --data {typed(spec.data)}",
            "put it on a device",
        ),
        (f"loreal explain PICTURES... --run {model}", "see where it looks"),
    ]
    if spec.weights in DEMO_WEIGHTS:
        again = f"loreal fit {typed(folder)} --phi {spec.phi} --weights ViT-B/16"
        again = " ".join([again, *map(shlex.quote, given)])
        commands.append((again, "photographs: with weights that know them (a name or a file)"))
    return "\n".join(["", "Next:", *(f"  {command}    # {what}" for command, what in commands)])

"""What the doctor computes on a host's own model: its parts, both students, a prediction.

What a row says wrongly shows here, before hours of training. The learned tensors are random, so
that each of them matters; no picture is read.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loreal_plugin.cli.doctor_table import Finding, tried
from loreal_plugin.errors import HostError, LorealError, one_line

_CLASSES = ("cat", "dog", "cow", "sea lion", "bird")  # a model needs class names
_SUBSET = "DATASET.SUBSAMPLE_CLASSES"
_CLOSE = 1e-3  # of the largest value, in float32


@dataclass(frozen=True)
class Built:
    """What the host's model is built of; no picture of the dataset is read.

    Attributes:
        weights: CLIP weights, empty where they cannot be read.
        recipe: name of the recipe.
        dataset, data: a dataset and the folder that holds it: hosts keep tables of prompts by
            dataset, and texts by class.
        names: of the dataset's classes; empty: not known.
    """

    weights: str
    recipe: str
    dataset: str
    data: str
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return a few classes of the dataset that are trained, and a few others."""
        known = self.names if len(self.names) > 1 else _CLASSES
        return known[:2], known[-3:]

    def dataset_file(self) -> Path:
        """Return the YAML of the dataset; the demonstration's where that is not found: another
        line of the table says so.
        """
        from loreal_plugin.data import dataset_config

        try:
            return dataset_config(self.dataset, self.data).config
        except LorealError:
            return dataset_config("demo").config


def check_finding(of: str, check: Any) -> Finding:
    """Return a line of the table for one check of a host's files, or of its built model."""
    return Finding(f"{of}: {check.role}", f"{check.wanted}: {check.found}", check.ok, detail=True)


def model_findings(attached: Any, built: Built) -> list[Finding]:
    """Return the contract's rows on the host's own model, and what its students compute."""
    from loreal_plugin.attach.clip_source import using_weights

    try:
        # what the host says meanwhile (progress bars, deprecations) is no part of the table
        with (
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            using_weights(built.weights),
        ):
            cfg = recipe_cfg(attached, built)
            shell = built_shell(attached, cfg, built.classes[0])
            checks = attached.contract.part_checks(shell)
            whole = all(check.ok for check in checks)
            more = student_findings(attached, cfg, shell, built) if whole else []
    except (
        Exception
    ) as error:  # a host's build_model is a stranger's code; whatever it raises is the finding
        return [
            Finding(
                "host model", f"cannot be built: {type(error).__name__}: {one_line(error)}", False
            )
        ]
    found = sum(check.ok for check in checks)
    return [
        *[check_finding("contract", check) for check in checks],
        Finding("contract rows", f"{found} of {len(checks)} found", found == len(checks)),
        *more,
    ]


def student_findings(attached: Any, cfg: Any, shell: Any, built: Built) -> list[Finding]:
    """Return what two students share, and whether what they compute is what the host does.

    Args:
        shell: the host's trainer with a model of its own.
    """
    made: list[Any] = []
    trained, others = built.classes

    def both() -> str:
        made.extend(_students(attached, cfg, trained))
        return _shared(*made)

    found = [tried("both students", both)]
    if found[0].ok:
        beta = made[1]
        _randomise(beta)
        found += [
            tried("prediction", lambda: _prediction(shell, beta), detail=True),
            tried("text paths", lambda: _text_paths(beta), detail=True),
            tried(
                "other classes", lambda: _other_classes(attached, cfg, beta, others), detail=True
            ),
        ]
    return found


def built_shell(attached: Any, cfg: Any, classes: tuple[str, ...]) -> Any:
    """Return the host's trainer with its model, on the CPU."""
    import torch

    from loreal_plugin.students.build import build_shell

    shell = build_shell(attached, cfg, classes, torch.device("cpu"))
    shell.build_model()
    return shell


def recipe_cfg(attached: Any, built: Built) -> Any:
    """Return the host's configuration at the native size of the weights, in float32."""
    from loreal_plugin.students.build import at_size
    from loreal_plugin.weights import clip_sizes

    contract = attached.contract
    facts = clip_sizes(built.weights)
    words = [
        "--trainer",
        contract.trainer,
        "--config-file",
        str(contract.recipe_file(built.recipe, loreal=False)),
        "--dataset-config-file",
        str(built.dataset_file()),
        f"TRAINER.{contract.cfg_node}.PREC",
        "fp32",
        _SUBSET,
        "base",
    ]
    words += ["MODEL.BACKBONE.NAME", repr(built.weights), "USE_CUDA", "False"]
    return at_size(attached.setup_cfg(words), contract.trainer, facts["resolution"])


def _students(attached: Any, cfg: Any, classes: tuple[str, ...]) -> tuple[Any, Any]:
    """Return two students, one at the size of `cfg` and one at about half of it, as stage 3 has."""
    from loreal_plugin.students.build import build_student
    from loreal_plugin.weights import clip_sizes

    native, patch = cfg.INPUT.SIZE[0], clip_sizes(cfg.MODEL.BACKBONE.NAME)["patch"]
    sizes = (native, max(2, native // patch // 2) * patch)
    alpha, beta = (build_student(attached, cfg, classes, "cpu", input_size=s) for s in sizes)
    return alpha, beta


def _shared(alpha: Any, beta: Any) -> str:
    """Return what they share; LorealError: they differ in more than what was learned."""
    from loreal_plugin.students.share import share_clip_tensors

    report = share_clip_tensors(alpha, beta)
    return f"share {report.n_shared} tensors (tried at {alpha.input_size} and about half of it)"


def _randomise(student: Any) -> None:
    """Change what was learned: at a start of zero it could be left out and nobody would see it."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for value in student.learned.values():
        value.add_(0.1 * torch.randn(value.shape, generator=generator).to(value))
    student.contract.reset(student.model)


def _other_classes(attached: Any, cfg: Any, beta: Any, classes: tuple[str, ...]) -> str:
    """Return that a student of classes which were not trained takes what was learned."""
    from loreal_plugin.config import with_settings
    from loreal_plugin.students.build import build_student

    cfg = with_settings(cfg, {_SUBSET: "new"})
    given = {"input_size": beta.input_size, "learned": beta.learned}
    student = build_student(attached, cfg, classes, "cpu", **given)
    return f"{len(student.learned)} of {len(beta.learned)} learned tensors are taken over"


def _prediction(shell: Any, student: Any) -> str:
    """Return how far the row's logits are from what the host itself makes of the same images.

    Raises:
        HostError: they are others, or no finite numbers.
    """
    import torch

    size = student.input_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    shell.model = student.model
    with torch.no_grad():
        ours = student.host_logits(student.encode_image(images))
        theirs = shell.model_inference(images)
    if not bool(ours.isfinite().all()):
        raise HostError(
            "the row's logits of an image are no finite numbers; does it call a tensor `unused`"
            " that is read?"
        )
    if not isinstance(theirs, torch.Tensor) or theirs.shape != ours.shape:
        return f"logits are finite; not compared: the host gives a {type(theirs).__name__}"
    return _difference(
        ours, theirs, "the row's logits of an image", "the host's own (model_inference)"
    )


def _text_paths(student: Any) -> str:
    """Return how far the prefix path's text features are from those of the host's text encoder.

    Raises:
        HostError: they are others, or no finite numbers.
    """
    import torch
    import torch.nn.functional as F

    from loreal_plugin.options import resolve_options
    from loreal_plugin.students.student import with_slots

    row = student.contract
    if not row.static_prompts:
        return "prompts depend on the image: TEXT_PATH reference alone"
    generator = torch.Generator().manual_seed(0)
    contents = torch.randn(2, 2, student.token_weight.shape[1], generator=generator) / 10
    said = ""
    for order in row.slot_orders:
        of_paths = []
        for path in ("prefix", "reference"):
            given = {"n_attributes": 2, "text_path": path, "slot_order": order}
            slotted = with_slots(student, ("color", "shape"), resolve_options(given))
            with torch.no_grad():
                of_paths.append(F.normalize(slotted.text_path(contents), dim=-1))
        names = f"text features by TEXT_PATH prefix, SLOT_ORDER {order},", "by TEXT_PATH reference"
        said = _difference(*of_paths, *names)
    return said


def _difference(found: Any, wanted: Any, what: str, of: str) -> str:
    """Return the largest difference as a share of the largest value; HostError: it is too large."""
    share = float((found - wanted).abs().max() / wanted.abs().max())
    if not share <= _CLOSE:  # no number is neither
        raise HostError(
            f"{what} differ from those {of} by {share:.1e} of the largest; the row says something"
            " else than the host does (docs/ADD_A_HOST.md, The questions)"
        )
    return f"as the host's own, to {share:.0e}"

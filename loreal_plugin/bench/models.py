"""The models and inputs of one cell: host trainer, students, meta-nets, pictures.

Each part is built once, when it is first asked for.

Shapes: B images, C classes, F features an image, D_v joint width.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from loreal_plugin.adapt.settings import AdaptSettings
from loreal_plugin.adapt.tower import adapt
from loreal_plugin.attach import attach_host
from loreal_plugin.attach.clip_source import using_weights
from loreal_plugin.attributes import load_attributes
from loreal_plugin.bench.cells import Cell
from loreal_plugin.bench.sizes import N_ATTRIBUTES, N_CONTENT, class_names, get_size, weights_file
from loreal_plugin.errors import ConfigError
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.method.loreal import Loreal
from loreal_plugin.options import LorealOptions, resolve_options
from loreal_plugin.paths import bundle_root
from loreal_plugin.students.build import at_size, build_shell, build_student, start_meta_nets
from loreal_plugin.students.share import share_clip_tensors
from loreal_plugin.students.student import Student, with_slots

DATASET = "Caltech101"  # whose templates and attributes are used; no picture is read
SEED = 1


class CellModels:
    """The models and inputs of one cell, with random weights.

    Args:
        cell: what is measured.
        host: root of a CoOp-family checkout.
    """

    def __init__(self, cell: Cell, host: Path) -> None:
        self.cell, self.size = cell, get_size(cell.size)
        self.device = torch.device(cell.device)
        self.host = attach_host(host, cell.method)
        self.contract = self.host.contract
        self.deployed: Deployed | None = None  # whose predictions are measured
        self.words = list(cell.words) or load_attributes("", DATASET).select(N_ATTRIBUTES)
        torch.manual_seed(SEED)

    # ---- models ----------------------------------------------------------------------------------

    @cached_property
    def cfg(self) -> Any:
        """The host's configuration: its recipe with the weights and precision of the cell."""
        c = self.contract
        argv = ["--trainer", c.trainer]
        argv += [
            "--config-file",
            str(c.recipe_file(self.size.recipe, loreal=False)),
        ]
        settings = {
            "MODEL.BACKBONE.NAME": repr(str(weights_file(self.size))),
            "DATASET.NAME": DATASET,
            "INPUT.SIZE": f"({self.size.native}, {self.size.native})",
            f"TRAINER.{c.cfg_node}.PREC": self.cell.precision,
            "USE_CUDA": self.device.type == "cuda",
        }
        words = [str(word) for pair in settings.items() for word in pair]
        return self.host.setup_cfg([*argv, *words, *(c.tiny_options if self.size.tiny else ())])

    @cached_property
    def classnames(self) -> list[str]:
        """C class names."""
        return class_names(self.cell.n_classes)

    @cached_property
    def alpha(self) -> Student:
        """The student at the native size, sharing beta's CLIP."""
        student = self.student_at(self.size.native)
        share_clip_tensors(self.beta, student)
        return student

    @cached_property
    def beta(self) -> Student:
        """The student at phi."""
        return self.student_at(self.cell.phi)

    @cached_property
    def adapted(self) -> Student:
        """The student at phi with an adapted image side: random updates, merged."""
        student = self.student_at(self.cell.phi)
        adaptation = adapt(student, AdaptSettings())
        generator = torch.Generator().manual_seed(SEED)
        for part in adaptation.parameters():
            part.data = 0.01 * torch.randn(part.shape, generator=generator).to(part)
        student.adaptation = {k: v.clone() for k, v in adaptation.state().items()}
        adaptation.merge()
        return student

    def student_at(self, input_size: int) -> Student:
        """Return a student with the host's initial values."""
        with self._quiet():
            return build_student(
                self.host,
                self.cfg,
                self.classnames,
                self.device,
                input_size=input_size,
            )

    @cached_property
    def trainer(self) -> Any:
        """The host's own trainer at phi, ready for `forward_backward`."""
        with self._quiet():
            cfg = at_size(self.cfg, self.contract.trainer, self.cell.phi)
            shell = build_shell(self.host, cfg, self.classnames, self.device)
            shell.build_model()
        shell.set_model_mode("train")
        # never the last batch, so that no step of the schedule is taken
        shell.batch_idx, shell.num_batches = 0, 10**9
        return shell

    @cached_property
    def nets(self) -> Any:
        """The meta-nets, started such that contents depend on the image."""
        options = self.options("class_first")
        beta = with_slots(self.beta, self.words, options)
        return start_meta_nets(beta, self.visual_dim, options, SEED)

    @cached_property
    def visual_dim(self) -> int:
        """D_v."""
        return self.features["beta"].shape[-1]

    @cached_property
    def fusion(self) -> bool:
        """Whether the host predicts from a mix of features."""
        return self.contract.use_fusion(self.cfg)

    def options(self, order: str, mode: str = "exact") -> LorealOptions:
        """Return LOREAL's default options with a slot order and an inference mode."""
        values = {
            "phi": self.cell.phi,
            "slot_order": order,
            "meta_init": "default",
            "inference": mode,
            "n_attributes": N_ATTRIBUTES,
            "n_content": N_CONTENT,
        }
        return resolve_options(values)

    def model(self, order: str, mode: str = "exact") -> Loreal:
        """Return LOREAL on the students (beta alone where it only predicts)."""
        options = self.options(order, mode)
        alpha = with_slots(self.alpha, self.words, options) if self.cell.trains else None
        beta = with_slots(self.beta, self.words, options)
        beta.mean = self.features["beta"].float().mean(0).cpu()
        return Loreal(alpha, beta, self.nets, options, fusion=self.fusion)

    # ---- inputs ----------------------------------------------------------------------------------

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """Random pictures (B, 3, S, S) for the students that the cell has, by student."""
        sides = {"beta": self.cell.phi} | ({"alpha": self.size.native} if self.cell.trains else {})
        return {name: self.random_pictures(side) for name, side in sides.items()}

    @cached_property
    def labels(self) -> Tensor:
        """Labels (B,)."""
        return (torch.arange(self.cell.batch) % self.cell.n_classes).to(self.device)

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """The students' embeddings (B, F, D_v) of their pictures."""
        return {
            name: getattr(self, name).encode_image(batch) for name, batch in self.pictures.items()
        }

    def random_pictures(self, side: int) -> Tensor:
        """Return random normalised pictures (B, 3, side, side)."""
        generator = torch.Generator().manual_seed(SEED)
        return torch.randn(self.cell.batch, 3, side, side, generator=generator).to(self.device)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep the host's print-outs away, and its CLIP the random one."""
        with using_weights(str(weights_file(self.size))), redirect_stdout(io.StringIO()):
            yield


def published_module() -> ModuleType:
    """Return benchmarks/published.py of the checkout.

    Raises:
        ConfigError: the project was installed without its benchmarks.
    """
    path = bundle_root() / "benchmarks" / "published.py"
    if not path.is_file():
        raise ConfigError(
            f"the published formulation was looked for in {path} and not found: it is part of a"
            " checkout, not of an installed package; leave the versus cells out (--cells)"
        )
    spec = importlib.util.spec_from_file_location("loreal_published_formulation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

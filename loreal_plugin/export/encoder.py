"""The encoder as one ONNX graph: uint8 pixels in, normalised features out.

Pixel normalisation, the host's frozen prompts, whatever changes its image tower, and the
correction are in the graph.

Shapes: B pictures, S side in pixels, F features a picture, D_v width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.export.attention import short_attention
from loreal_plugin.export.head_files import IR_VERSION, OPSET
from loreal_plugin.export.need import need
from loreal_plugin.export.unread_rows import drop_unread_rows
from loreal_plugin.inference.deployed import Deployed
from loreal_plugin.students.student import Student

BATCH = "batch"
OLDEST_TORCH = (2, 6)  # as setup.py has it for the extra `export`


class PixelEncoder(nn.Module):
    """Pixels (B, S, S, 3) uint8 -> features (B, F, D_v) float32, as the model gives them."""

    # not `mean`: PyTorch up to 2.6 gives what a host's `.mean()` returns the same name in the graph
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.deployed = deployed
        mean, std = normalisation(deployed.beta.cfg)
        self.register_buffer("pixel_mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("pixel_std", torch.tensor(std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features."""
        colours = pixels.permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        return self.deployed.model.embed((colours - self.pixel_mean) / self.pixel_std).float()


def normalisation(cfg: Any) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of the colours that a configuration normalises with.

    Raises:
        ConfigError: its pictures are prepared in a way that a package does not have.
    """
    given = cfg.INPUT
    if "instance_norm" in given.TRANSFORMS or given.NO_TRANSFORM:
        raise ConfigError(
            "INPUT.TRANSFORMS instance_norm and INPUT.NO_TRANSFORM cannot be exported: a package"
            " normalises colours with a fixed mean"
        )
    if "normalize" not in given.TRANSFORMS:
        return [0.0] * 3, [1.0] * 3
    return [float(v) for v in given.PIXEL_MEAN], [float(v) for v in given.PIXEL_STD]


@contextmanager
def frozen_learner(student: Student) -> Iterator[None]:
    """Let the host's prompt learner answer with what it gives now, as fixed tensors.

    Its layers, through which prompts of one tower become those of the other, then do not have to
    be exported: only what they give does.
    """
    learner = student.contract.own(student.model)
    with torch.no_grad():
        given = _fixed(learner())
    learner.forward = lambda: given  # an attribute of the object hides the method of its class
    try:
        yield
    finally:
        del learner.forward


def _fixed(value: Any) -> Any:
    """Return a learner's output with tensors that belong to nothing."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (tuple, list, nn.ParameterList)):
        return tuple(_fixed(part) for part in value)
    return value


def export_encoder(deployed: Deployed) -> Any:
    """Return the encoder of a model as an ONNX model in float32, for any number of pictures.

    Raises:
        HostError: torch cannot export the host's encoder, or only for one number of pictures.
        ConfigError: onnx or onnxscript is not installed.
    """
    module, side = PixelEncoder(deployed).eval(), deployed.phi
    pixels = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    return to_onnx(module, pixels, "pixels", "image encoder", deployed.beta)


def to_onnx(module: nn.Module, example: Tensor, name: str, what: str, student: Student) -> Any:
    """Return a module as an ONNX model in float32 that gives `features`, for any length of a batch.

    Args:
        example: two inputs.
        name: of the input.
        what: it is, for messages.
        student: whose prompt learner is frozen meanwhile.

    Raises:
        HostError: torch cannot export it, or only for one length of a batch.
        ConfigError: onnx or onnxscript is not installed.
    """
    need("onnxscript")
    free = {name: {0: torch.export.Dim(BATCH, min=1, max=4096)}}
    short = short_attention(student.model)
    with torch.no_grad(), frozen_learner(student), short, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's exporter
        try:
            # torch.export refuses a fixed batch, which torch.onnx.export alone writes in silence
            program = torch.export.export(module, (example,), dynamic_shapes=free, strict=False)
        except Exception as error:  # of many kinds, all of them torch's own
            said = str(error).strip() or type(error).__name__
            raise HostError(
                f"the {what} of {student.contract.trainer} cannot be exported for any length of a"
                f" batch: {said.splitlines()[0]}{too_old()}"
            ) from error
        found = torch.onnx.export(
            program,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[name],
            output_names=["features"],
            verbose=False,
        )
    assert found is not None, "with dynamo torch returns the program"
    return tidy(drop_unread_rows(found.model_proto))


def too_old() -> str:
    """Return in words that this PyTorch is older than exports ask for; else nothing."""
    if tuple(map(int, torch.__version__.split(".")[:2])) >= OLDEST_TORCH:
        return ""
    return (
        f"; PyTorch {torch.__version__} cannot export every host: pip install"
        " 'loreal-plugin[export]' brings 2.6 or newer"
    )


def tidy(model: Any) -> Any:
    """Return an exported model without notes on where its nodes come from, its batch named.

    Raises:
        HostError: the number of pictures is fixed.
    """
    graph = model.graph
    for value in (*graph.input, *graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise HostError(
                f"the exported encoder takes a batch of {first.dim_value} and no other; the host"
                " reads a shape with len(): use .shape[0]"
            )
        first.dim_param = BATCH
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for node in graph.node:
        node.ClearField("doc_string")
    model.ir_version = min(model.ir_version, IR_VERSION)
    return model

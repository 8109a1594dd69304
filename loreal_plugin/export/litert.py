"""The encoder as a LiteRT (TensorFlow Lite) model: uint8 pixels in, normalised features out.

What is in the ONNX graph is in this model, too. It takes one picture: on a phone there is one at a
time, and a fixed shape is what the accelerators of phones ask for.

- `fp16`: weights are stored in half precision and computed with in float32.
- `int8`: weights have 8 bits, a scale an output channel; activations are scaled as they come.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import torch

from loreal_plugin.errors import ConfigError, HostError
from loreal_plugin.export.encoder import PixelEncoder, frozen_learner
from loreal_plugin.export.need import need
from loreal_plugin.inference.deployed import Deployed

LITERT_PRECISIONS = ("fp32", "fp16", "int8")


def check_litert(precision: str, *, text: bool, web: bool) -> None:
    """Check that a package with a LiteRT encoder can be what is asked for.

    Raises:
        ConfigError: it cannot.
    """
    if precision not in LITERT_PRECISIONS:
        raise ConfigError(
            f"--precision {precision} is for --format onnx; --format litert has"
            f" {', '.join(LITERT_PRECISIONS)}"
        )
    for asked, option, what in ((text, "--text", "text encoder"), (web, "--web", "page")):
        if asked:
            raise ConfigError(
                f"{option} is for --format onnx: the {what} runs in onnxruntime; leave one of the"
                " two options out"
            )


def export_litert(deployed: Deployed, precision: str) -> bytes:
    """Return the encoder of a model as the content of a `.tflite` file, for one picture.

    Args:
        precision: one of `LITERT_PRECISIONS`.

    Raises:
        HostError: the converter cannot convert the host's encoder.
        ConfigError: litert-torch is not installed.
    """
    converter, side = need("litert_torch", "litert"), deployed.phi
    module = PixelEncoder(deployed).eval()
    given = {"pixels": torch.zeros(1, side, side, 3, dtype=torch.uint8)}
    with torch.no_grad(), frozen_learner(deployed.beta), _quietly():
        try:
            made = converter.convert(module, sample_kwargs=given)
        except Exception as error:  # of many kinds, all of them the converter's own
            said = f"{type(error).__name__} {str(error).strip()}".splitlines()[0]
            raise HostError(
                f"the image encoder of {deployed.beta.contract.trainer} cannot be converted to"
                f" LiteRT ({said.strip()}); --format onnx does not need that"
            ) from error
        return in_precision(bytes(made.model_content()), precision)


def in_precision(model: bytes, precision: str) -> bytes:
    """Return a model in float32, as the content of a file, in a precision.

    Args:
        precision: one of `LITERT_PRECISIONS`.

    Raises:
        ConfigError: ai-edge-quantizer, which litert-torch brings, is not installed.
    """
    if precision == "fp32":
        return model
    tools = need("ai_edge_quantizer", "litert")
    quantizer, kinds = tools.quantizer.Quantizer(bytearray(model)), tools.qtyping.TFLOperationName
    cast = tools.algorithm_manager.AlgorithmName.FLOAT_CASTING
    quantizer.add_weight_only_config(".*", kinds.ALL_SUPPORTED, 16, algorithm_key=cast)
    if precision == "int8":  # all but the patch embedding
        quantizer.add_dynamic_config(".*", kinds.FULLY_CONNECTED, 8)
    made = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)


@contextlib.contextmanager
def _quietly() -> Any:
    """Keep the converter's progress and torch's deprecations off the screen."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

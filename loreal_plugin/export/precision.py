"""Smaller numbers in an encoder: half precision, 8 bits and 4 bits.

- `fp16`: weights are stored in half precision and computed with in float32.
- `int8`: weights have 7 bits of 8, a scale an output channel; activations are scaled as they come,
  over all pictures of a batch. A package therefore runs such an encoder one picture at a time.
- `int8-static`: the same, but activations have fixed scales, found on calibration pictures.
- `int4`: weights have 4 bits, a scale for each block of 32; activations are not rounded together.

Why 7 bits: onnxruntime adds two products of 8 bits in 16, which overflow on x86 processors that
have AVX2 without VNNI; with 7 bits they do not.

Patch embedding, norms, the softmax, and the maps after the last block are computed in float32.
Those maps read one token a picture, so they cost next to nothing, and rounding the projection alone
made most of the error.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.errors import ConfigError
from loreal_plugin.export.need import need

PRECISIONS = ("fp32", "fp16", "int8", "int8-static", "int4")
CALIBRATED = ("int8-static",)  # these need pictures
BATCH_DEPENDENT = ("int8",)  # these round a picture by what else is in its batch
BLOCK = 32
_SMALL = 256  # tensors of fewer elements are not worth a conversion


def convert(model: Any, precision: str, pictures: np.ndarray | None) -> Any:
    """Return an encoder in another precision.

    Args:
        model: ONNX model in float32; it may be changed.
        precision: one of `PRECISIONS`.
        pictures: pixels (N, S, S, 3) uint8 to calibrate on; only `int8-static` asks for them.

    Raises:
        ConfigError: `int8-static` without pictures; onnxruntime is not installed.
    """
    if precision == "fp32":
        return model
    if precision == "fp16":
        return half_weights(model)
    if precision == "int8":
        return half_weights(_dynamic(model))
    if precision == "int8-static":
        if pictures is None or not len(pictures):
            raise ConfigError(
                "--precision int8-static is calibrated on training pictures and there are none;"
                " name some with --pictures, or choose int8"
            )
        return half_weights(_static(model, pictures))
    return half_weights(_four_bits(model))


def half_weights(model: Any) -> Any:
    """Return the model with its larger float32 tensors in half precision, cast where it is read.

    Scales of quantised weights stay: half precision has too few exponents for them.
    """
    onnx = need("onnx")
    quantised = [node for node in model.graph.node if "Quantize" in node.op_type]
    quantised += [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    kept = {name for node in quantised for name in node.input}
    casts = []
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        too_small = value.ndim < 2 or value.size < _SMALL
        if value.dtype != np.float32 or too_small or tensor.name in kept:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
        kind = onnx.TensorProto.FLOAT
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=kind))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def gemm_to_matmul(model: Any) -> Any:
    """Return the model with each Gemm on a constant matrix as a MatMul and an Add.

    The quantisers for blocks of weights look at MatMul alone.
    """
    onnx = need("onnx")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    nodes = []
    for node in model.graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0
        constant = node.op_type == "Gemm" and node.input[1] in tensors
        if not (constant and plain and not given.get("transA") and len(node.input) == 3):
            nodes.append(node)
            continue
        x, name, bias = node.input
        if given.get("transB"):
            if readers.count(name) > 1:  # somebody else reads the matrix as it is
                nodes.append(node)
                continue
            turned = np.ascontiguousarray(onnx.numpy_helper.to_array(tensors[name]).T)
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(turned, name))
        product = f"{node.output[0]}.product"
        nodes.append(onnx.helper.make_node("MatMul", [x, name], [product], name=product))
        nodes.append(onnx.helper.make_node("Add", [product, bias], node.output, name=node.name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def constant_maps(model: Any) -> set[str]:
    """Return the names of products with a constant matrix; those of attention have none."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return {n.name for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constant}


def maps_of_tokens(model: Any) -> set[str]:
    """Return all of them but those after the last block, where a picture is one token.

    The input of those has two axes, and no map with three comes later: inside a block an input may
    have two as well, with pictures and tokens in one axis.
    """
    graph = need("onnx").shape_inference.infer_shapes(model).graph
    axes = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    maps, found = constant_maps(model), set()
    read_later: set[str] = set()  # tensors from which such a map is reached
    for node in reversed(graph.node):
        later = not read_later.isdisjoint(node.output)
        if node.name in maps and (later or axes.get(node.input[0]) != 2):
            found.add(node.name)
            later = True
        if later:
            read_later.update(node.input)
    return found


def _dynamic(model: Any) -> Any:
    quantization = need("onnxruntime.quantization")
    model = gemm_to_matmul(model)
    with _model_files(model) as (source, target):
        quantization.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=sorted(constant_maps(model) - maps_of_tokens(model)),
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return need("onnx").load(target)


def _static(model: Any, pictures: np.ndarray) -> Any:
    quantization = need("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        """Calibration pictures, one at a time."""

        def __init__(self) -> None:
            self.rest = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next input, None after the last."""
            one = next(self.rest, None)
            return None if one is None else {"pixels": one[None]}

    model = gemm_to_matmul(model)
    with _model_files(model) as (source, target):
        quantization.quantize_static(
            source,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=sorted(maps_of_tokens(model)),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return need("onnx").load(target)


def _four_bits(model: Any) -> Any:
    blocks = need("onnxruntime.quantization.matmul_nbits_quantizer")
    model = gemm_to_matmul(model)
    # four bits is what it takes by itself; onnxruntime up to 1.23 has no word for it
    quantizer = blocks.MatMulNBitsQuantizer(
        model,
        block_size=BLOCK,
        is_symmetric=True,
        accuracy_level=4,
        nodes_to_exclude=sorted(constant_maps(model) - maps_of_tokens(model)),
    )
    quantizer.process()
    return quantizer.model.model


@contextmanager
def _model_files(model: Any) -> Iterator[tuple[str, str]]:
    """Yield the file of a model, and the name of a file for what is made of it."""
    silenced = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice to run a step that changes nothing here
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
            need("onnx").save(model, str(source))
            yield str(source), str(target)
    finally:
        logging.disable(silenced)

"""Rounded encoders: what is rounded, and that no processor's sums overflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from loreal_plugin.export.precision import constant_maps, convert, maps_of_tokens

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

METHODS = ("coop", "maple", "mma", "mmrl")
ROUNDED = ("int8", "int8-static", "int4")


def linear_map(weights: np.ndarray, tokens: int) -> Any:
    """Return an ONNX model of one map of (1, tokens, D) pixels."""
    helper, kinds = onnx.helper, onnx.TensorProto
    shapes = [(1, tokens, n) for n in weights.shape]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=kinds.FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["features"], name="map"),
    ]
    graph = helper.make_graph(
        nodes,
        "map",
        [helper.make_tensor_value_info("pixels", kinds.UINT8, shapes[0])],
        [helper.make_tensor_value_info("features", kinds.FLOAT, shapes[1])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def run(model: Any, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"pixels": pixels})[0]


def rounded_by_hand(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the map with weights of 7 bits, a scale a column, summed in 64 bits.

    Pixels from 0 to 255 are what activations are rounded to, so that these stay as they are.
    """
    scales = np.abs(weights).max(0) / 64
    whole = np.rint(weights / scales).astype(np.int64)
    assert np.abs(whole).max() == 64
    return (pixels.astype(np.int64) @ whole) * scales


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_int8_do_not_overflow(sign: int) -> None:
    rng = np.random.default_rng(0)
    weights = (sign * rng.uniform(0.9, 1.0, (256, 64))).astype(np.float32)
    pixels = np.full((1, 16, 256), 255, np.uint8)  # the largest products that there are
    pixels[0, 0, 0] = 0
    found = run(convert(linear_map(weights, 16), "int8", None), pixels)
    np.testing.assert_allclose(found, rounded_by_hand(pixels, weights), rtol=1e-5)


def test_a_map_inside_a_block_is_one_of_tokens_with_two_axes_as_well() -> None:
    helper, kinds = onnx.helper, onnx.TensorProto
    names = ("two", "three", "last")
    nodes = [
        helper.make_node("Reshape", ["pixels", "flat"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="two"),
        helper.make_node("Reshape", ["y", "apart"], ["z"]),
        helper.make_node("MatMul", ["z", "w"], ["u"], name="three"),
        helper.make_node("Gather", ["u", "first"], ["v"], axis=1),
        helper.make_node("MatMul", ["v", "w"], ["features"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("pixels", kinds.FLOAT, (2, 3, 8))],
        [helper.make_tensor_value_info("features", kinds.FLOAT, (2, 8))],
        [
            onnx.numpy_helper.from_array(np.array(value), name)
            for name, value in (("flat", [6, 8]), ("apart", [2, 3, 8]), ("first", 0))
        ]
        + [onnx.numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert constant_maps(model) == set(names)
    assert maps_of_tokens(model) == {"two", "three"}


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("method", METHODS)
def test_maps_after_the_last_block_are_not_rounded(
    package_of: Callable, pixels: np.ndarray, method: str, precision: str
) -> None:
    whole = onnx.load(package_of(method, "static").folder / "encoder.onnx")
    of_tokens, all_maps = maps_of_tokens(whole), constant_maps(whole)
    left = len(all_maps) - len(of_tokens)
    assert left == (2 if method == "mmrl" else 1) and len(of_tokens) > 10
    rounded = convert(whole, precision, pixels)
    assert len(constant_maps(as_float(rounded))) == left


def as_float(model: Any) -> Any:
    """Return a model whose half-precision tensors are named as what they are cast to."""
    casts = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "Cast"}
    for tensor in model.graph.initializer:
        tensor.name = casts.get(tensor.name, tensor.name)
    return model

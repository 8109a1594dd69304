"""A head as files: an ONNX graph, built by hand, and the same tensors as safetensors.

Shapes: B pictures, C classes, F features a picture, D width, H activations, R directions, T terms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from loreal_plugin.edge.head import NOTE, Head
from loreal_plugin.export.need import need
from loreal_plugin.files import write_bytes

OPSET = 20
IR_VERSION = 9  # what opset 20 came with; runtimes refuse files of a later one
_LARGE = ("text", "table", "base", "down", "basis")  # kept in half precision on request


def in_half(head: Head) -> Head:
    """Return a head whose large tensors are in half precision: half the file."""
    tensors = {
        name: value.astype(np.float16) if name in _LARGE else value
        for name, value in head.tensors.items()
    }
    return Head(head.labels, head.mode, head.scale, head.source, tensors)


def write_head(head: Head, path: Path) -> list[Path]:
    """Write a head as `<path>.onnx` and `<path>.safetensors`; return both paths.

    Args:
        path: a dot in its name stays: `birds.v1` is no ending.

    Raises:
        ConfigError: onnx is not installed.
        LorealError: a file cannot be written.
    """
    graph = path.with_name(f"{path.name}.onnx")
    write_bytes(graph, head_graph(head).SerializeToString())
    return [graph, *write_tensors(head, path)]


def write_tensors(head: Head, path: Path) -> list[Path]:
    """Write a head as `<path>.safetensors` alone; return that path in a list.

    Raises:
        LorealError: the file cannot be written.
    """
    from safetensors.numpy import save

    file = path.with_name(f"{path.name}.safetensors")
    plain = {name: np.ascontiguousarray(value) for name, value in head.tensors.items()}
    write_bytes(file, save(plain, {NOTE: head.note}))
    return [file]


def head_graph(head: Head) -> Any:
    """Return a head as an ONNX model, features (B, F, D) -> logits (B, C).

    Raises:
        ConfigError: onnx is not installed.
    """
    graph = _Graph()
    logits = _static(graph, head) if head.mode == "static" else _tangent(graph, head)
    width = head.tensors["text" if head.mode == "static" else "base"].shape[1]
    n_classes, count = head.tensors["weights"].shape
    return graph.model(logits, (count, width), n_classes, head.note)


class _Graph:
    """Nodes and tensors of a graph that grows."""

    def __init__(self) -> None:
        self.onnx = need("onnx")
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return its output's name."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(
            self.onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        )
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a fixed tensor; return the name under which nodes read it, cast where it is half."""
        self.tensors.append(self.onnx.numpy_helper.from_array(np.array(value, order="C"), name))
        if value.dtype == np.float16:
            return self.add("Cast", name, to=self.onnx.TensorProto.FLOAT)
        return name

    def model(self, logits: str, features: tuple[int, int], n_classes: int, note: str) -> Any:
        """Return the finished model; the number of pictures is free."""
        h, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        self.nodes.append(h.make_node("Identity", [logits], ["logits"], name="logits"))
        graph = h.make_graph(
            self.nodes,
            "head",
            [h.make_tensor_value_info("features", kind, ["batch", *features])],
            [h.make_tensor_value_info("logits", kind, ["batch", n_classes])],
            self.tensors,
        )
        opset = [h.make_opsetid("", OPSET)]
        model = h.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        h.set_model_props(model, {NOTE: note})
        self.onnx.checker.check_model(model)
        return model


def _static(g: _Graph, head: Head) -> str:
    """Add one product: the weights of the features and the scale are in the table."""
    text, weights = head.tensors["text"], head.tensors["weights"]
    scaled = np.float32(head.scale) * np.einsum("cf,cd->fdc", weights, text.astype(np.float32))
    if not weights[:, 1:].any():  # later features count for nothing: one product is enough
        first = g.add("Gather", "features", g.constant("first", np.array(0, np.int64)), axis=1)
        return g.add("MatMul", first, g.constant("table", scaled[0].astype(text.dtype)))
    flat = g.add("Flatten", "features", axis=1)  # (B, F * D)
    table = scaled.reshape(-1, len(weights)).astype(text.dtype)
    return g.add("MatMul", flat, g.constant("table", table))


def _tangent(g: _Graph, head: Head) -> str:
    """Add the series: terms of a picture, its text features, cosines with its image features."""
    t = head.tensors
    text = _text(g, head, _terms(g, head))  # (B, C, D)
    cosines = g.add("MatMul", text, g.add("Transpose", "features", perm=[0, 2, 1]))  # (B, C, F)
    share = np.float32(head.scale) * t["weights"].astype(np.float32)[None]
    weighted = g.add("Mul", cosines, g.constant("weights", share))
    axes = g.constant("last", np.array([-1], np.int64))
    total = g.add("ReduceSum", weighted, axes, keepdims=0)  # (B, C)
    return g.add("Div", total, _length(g, text, axes, keepdims=0))


def _terms(g: _Graph, head: Head) -> str:
    """Add what the meta-nets read, their activations and the terms (B, T)."""
    t = head.tensors
    if len(t["mix"]) == 1:
        seen = g.add("Gather", "features", g.constant("first", np.array(0, np.int64)), axis=1)
    else:
        mixed = g.add("Mul", "features", g.constant("mix", t["mix"][None, :, None]))
        seen = g.add("ReduceSum", mixed, g.constant("middle", np.array([1], np.int64)), keepdims=0)
        ends = g.constant("end", np.array([-1], np.int64))
        seen = g.add("Div", seen, _length(g, seen, ends, keepdims=1))  # (B, D)
    hidden = g.add(
        "Add", g.add("MatMul", seen, g.constant("down", t["down"])), g.constant("b", t["bias"])
    )
    along = g.add("MatMul", g.add("Relu", hidden), g.constant("basis", t["basis"]))
    z = g.add("Sub", along, g.constant("shift", t["shift"]))  # (B, R)
    i, j = t["pairs"]
    if not len(i):
        return z
    left = g.add("Gather", z, g.constant("i", i), axis=1)
    product = g.add("Mul", left, g.add("Gather", z, g.constant("j", j), axis=1))
    centred = g.add("Sub", product, g.constant("same", (i == j).astype(np.float32)))
    return g.add("Concat", z, centred, axis=1)


def _text(g: _Graph, head: Head, terms: str) -> str:
    """Add the text features (B, C, D) of terms (B, T), not normalised."""
    base, table = head.tensors["base"], head.tensors["table"]
    flat = g.add("MatMul", terms, g.constant("table", table.reshape(len(table), -1)))
    moved = g.add("Add", flat, g.constant("base", base.reshape(1, -1)))
    return g.add("Reshape", moved, g.constant("shape", np.array([-1, *base.shape], np.int64)))


def _length(g: _Graph, x: str, axes: str, keepdims: int) -> str:
    length = g.add("ReduceL2", x, axes, keepdims=keepdims)
    return g.add("Max", length, g.constant(f"tiny_{len(g.nodes)}", np.array(1e-12, np.float32)))

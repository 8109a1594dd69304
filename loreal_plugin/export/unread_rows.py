"""Rows of an encoder that no feature is made of are not computed.

Of the last block only the class token is read (of MMRL's also the tokens behind it), and MaPLe's
deep prompts are replaced in the next block. A graph says so with a selection behind the block.
Here it moves up, through operators that keep rows apart, to where the other rows are read: to the
keys and values of attention. What lies between works on the selected rows alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from loreal_plugin.export.need import need

Shape = tuple[int | None, ...]  # None where a length is free, as that of the batch


class Part(NamedTuple):
    """The first `length` entries along `axis` of a tensor."""

    axis: int
    length: int


class Tensors:
    """What a graph says of its tensors: shapes, and values of constants of whole numbers."""

    def __init__(self, graph: Any) -> None:
        onnx = need("onnx")
        self.shapes: dict[str, Shape] = {}
        self.numbers: dict[str, list[int]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            lengths = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(
                one.dim_value if one.HasField("dim_value") else None for one in lengths
            )
        for tensor in graph.initializer:
            self.shapes[tensor.name] = tuple(tensor.dims)
            if tensor.data_type == onnx.TensorProto.INT64:
                found = onnx.numpy_helper.to_array(tensor)
                self.numbers[tensor.name] = found.reshape(-1).tolist()

    def length(self, name: str, axis: int) -> int | None:
        """Return a tensor's length along an axis; None where it is free or not known."""
        shape = self.shapes.get(name, ())
        return shape[axis] if axis < len(shape) else None

    def know(self, node: Any) -> bool:
        """Return whether a node has one output, and the shapes of all its tensors are known."""
        known = all(name in self.shapes for name in (*node.input, *node.output))
        return known and len(node.output) == 1


def drop_unread_rows(model: Any) -> Any:
    """Return an ONNX model that gives the same and computes no row that nobody reads.

    Args:
        model: with the shapes of its tensors, as torch exports it; it is changed.
    """
    graph = model.graph
    if any(given.HasField("g") for node in graph.node for given in node.attribute):
        return model  # a branch or a loop reads tensors that are no input of its node
    tensors = Tensors(graph)
    asked, kept = _what_is_read(graph, tensors)
    writer = _Writer(graph, tensors, kept)
    for node, parts in zip(graph.node, asked, strict=True):
        writer.add(node, parts)
    del graph.node[:]
    graph.node.extend(writer.nodes)
    _drop_unread_constants(graph)
    return model


def _drop_unread_constants(graph: Any) -> None:
    """Drop what only a selection or a shape that is gone has read; runtimes warn of it."""
    read = {name for node in graph.node for name in node.input}
    read |= {value.name for value in graph.output}
    for at in reversed(range(len(graph.initializer))):
        if graph.initializer[at].name not in read:
            del graph.initializer[at]


def _what_is_read(graph: Any, tensors: Tensors) -> tuple[list[list[Part | None]], dict[str, Part]]:
    """Return what each node reads of its inputs, and the tensors of which only a part is made."""
    requests: dict[str, list[Part | None]] = defaultdict(list)
    for value in graph.output:
        requests[value.name].append(None)
    asked, kept = [], {}
    for node in reversed(graph.node):
        whole: list[Part | None] = [None] * len(node.input)
        parts, wanted = whole, _together(requests[node.output[0]])
        if (own := selection(node, tensors)) is not None:
            parts = [own, *whole[1:]]
        elif wanted is not None and tensors.know(node) and node.op_type in _RULES:
            found = _RULES[node.op_type](node, wanted, tensors)
            if found is not None:
                parts, kept[node.output[0]] = found, wanted
        asked.append(parts)
        for name, part in zip(node.input, parts, strict=True):
            requests[name].append(part)
    return asked[::-1], kept


def _together(requests: list[Part | None]) -> Part | None:
    """Return the part that holds what all readers of a tensor want; None: all of it."""
    parts = [part for part in requests if part is not None]
    if not parts or len(parts) < len(requests) or len({part.axis for part in parts}) > 1:
        return None
    return max(parts)


class _Writer:
    """Writes the nodes of a graph again, with selections where only a part is read.

    Args:
        kept: tensors of which only a part is made.
    """

    def __init__(self, graph: Any, tensors: Tensors, kept: dict[str, Part]) -> None:
        self.graph, self.tensors, self.kept = graph, tensors, kept
        self.nodes: list[Any] = []
        self.makers: dict[str, Any] = {}
        self.made = set[str]()
        self.renamed: dict[str, str] = {}

    def add(self, node: Any, parts: list[Part | None]) -> None:
        """Add a node that reads these parts of its inputs."""
        names = [self.renamed.get(name, name) for name in node.input]
        selects = selection(node, self.tensors) is not None
        if selects and self._is_all_that_is_left(node, names[0], parts[0]):
            self.renamed[node.output[0]] = names[0]
            return
        for at, (name, part) in enumerate(zip(names, parts, strict=True)):
            whole = part is None or selects or self.kept.get(name) == part
            node.input[at] = name if whole else self._cut(name, part)
        own = self.kept.get(node.output[0])
        if own is not None and node.op_type == "Reshape":
            lengths = list(self.tensors.numbers[node.input[1]])
            lengths[own.axis] = own.length
            node.input[1] = self._constant(f"{node.input[1]}.first_{own.length}", lengths)
        self._append(node)

    def _is_all_that_is_left(self, node: Any, name: str, part: Part | None) -> bool:
        """Return whether a selection gives its whole input, now that only a part is made."""
        first = node.op_type == "Slice" and self.tensors.numbers[node.input[1]] == [0]
        returned = any(node.output[0] == value.name for value in self.graph.output)
        return first and not returned and self.kept.get(name) == part

    def _cut(self, name: str, part: Part | None) -> str:
        """Return the name of a part of a tensor, which is made where it is not there."""
        assert part is not None, "a whole tensor is read as it is"
        maker = self.makers.get(name)
        if maker is not None and maker.op_type == "Concat":
            first, axis = maker.input[0], attribute(maker, "axis")
            own = self.kept.get(first, Part(axis, self.tensors.length(first, axis) or 0))
            if own == part:
                return str(first)
        found = f"{name}.first_{part.length}_of_{part.axis}"
        if found not in self.made:
            numbers = {"start": 0, "end": part.length, "axis": part.axis}
            bounds = [self._constant(f"{found}.{key}", [n]) for key, n in numbers.items()]
            self._append(need("onnx").helper.make_node("Slice", [name, *bounds], [found]))
            self.made.add(found)
        return found

    def _constant(self, name: str, numbers: list[int]) -> str:
        """Return the name of a constant, which is made where it is not there."""
        if name not in self.made:
            onnx = need("onnx")
            made = onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(numbers)], numbers)
            self.graph.initializer.append(made)
            self.made.add(name)
        return name

    def _append(self, node: Any) -> None:
        self.nodes.append(node)
        self.makers.update((name, node) for name in node.output)


# ---- what an operator reads for a part of its output ---------------------------------------------


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node."""
    given = {one.name: one for one in node.attribute}
    return need("onnx").helper.get_attribute_value(given[name]) if name in given else default


def selection(node: Any, tensors: Tensors) -> Part | None:
    """Return what a node that selects along one axis reads; None: it is another node."""
    shape = tensors.shapes.get(node.input[0] if node.input else "", ())
    numbers = [tensors.numbers.get(name) for name in node.input[1:]]
    if not shape or not numbers or any(found is None or len(found) != 1 for found in numbers):
        return None
    given = [found[0] for found in numbers if found is not None]
    if node.op_type == "Gather":
        axis, start, end = attribute(node, "axis", 0), given[0], given[0] + 1
    elif node.op_type == "Slice" and len(given) >= 3 and given[3:] in ([], [1]):
        start, end, axis = given[:3]
    else:
        return None
    axis %= len(shape)
    length = tensors.length(node.input[0], axis)
    return Part(axis, end) if start >= 0 and length is not None and 0 < end < length else None


def _pointwise(node: Any, part: Part, tensors: Tensors) -> list[Part | None] | None:
    """Inputs are stretched to the output's shape from the last axis on."""
    rank = len(tensors.shapes[node.output[0]])
    length = tensors.length(node.output[0], part.axis)
    if length is None:
        return None
    parts: list[Part | None] = []
    for name in node.input:
        axis = part.axis - rank + len(tensors.shapes[name])
        own = tensors.length(name, axis) if axis >= 0 else 1
        if own not in (1, length):
            return None
        parts.append(None if own == 1 else Part(axis, part.length))
    return parts


def _over_last_axes(node: Any, part: Part, tensors: Tensors) -> list[Part | None] | None:
    """Softmax and norm mix along the axis that they name, and a norm along those behind it."""
    axis = attribute(node, "axis", -1) % len(tensors.shapes[node.output[0]])
    return [part, *[None] * (len(node.input) - 1)] if part.axis < axis else None


def _product(node: Any, part: Part, tensors: Tensors) -> list[Part | None] | None:
    """Rows of a product are rows of its first factor."""
    rank = len(tensors.shapes[node.output[0]])
    whole = len(tensors.shapes[node.input[0]]) == rank
    matrix = len(tensors.shapes[node.input[1]]) == 2
    rows = part.axis == rank - 2 or (matrix and part.axis < rank - 2)
    return [part, None] if whole and rows else None


def _transpose(node: Any, part: Part, _tensors: Tensors) -> list[Part | None] | None:
    order = attribute(node, "perm")
    return None if order is None else [Part(order[part.axis], part.length)]


def _reshape(node: Any, part: Part, tensors: Tensors) -> list[Part | None] | None:
    """The first axis stays by itself where its length stays."""
    before, after = (tensors.length(name, 0) for name in (node.input[0], node.output[0]))
    constant = node.input[1] in tensors.numbers
    stays = before is not None and before == after
    return [part, None] if part.axis == 0 and constant and stays else None


Rule = Callable[[Any, Part, Tensors], "list[Part | None] | None"]
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sigmoid", "Relu", "Tanh", "Erf"), _pointwise),
    **dict.fromkeys(("LayerNormalization", "Softmax"), _over_last_axes),
    "MatMul": _product,
    "Transpose": _transpose,
    "Reshape": _reshape,
}

"""The passes that make an exported encoder faster change nothing but its speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from loreal_plugin.export.attention import short_attention
from loreal_plugin.export.encoder import PixelEncoder
from loreal_plugin.export.unread_rows import drop_unread_rows

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
METHODS = ("coop", "maple", "mma", "mmrl")


def run(model: Any, **inputs: np.ndarray) -> list[np.ndarray]:
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(
        None, inputs
    )


# ---- whole encoders ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_features_are_those_of_the_model_with_its_own_attention(
    package_of: Callable, pixels: np.ndarray, method: str
):
    made = package_of(method, "static")
    with torch.no_grad():
        wanted = PixelEncoder(made.deployed).eval()(torch.from_numpy(pixels)).numpy()
    graph = onnx.load(made.folder / "encoder.onnx")
    assert wanted.std() > 0.01
    for count in (1, 3):
        (found,) = run(graph, pixels=pixels[:count])
        assert np.abs(found - wanted[:count]).max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_the_last_block_computes_the_rows_that_features_are_made_of(
    package_of: Callable, method: str
):
    folder = package_of(method, "static").folder
    model = onnx.shape_inference.infer_shapes(onnx.load(folder / "encoder.onnx"))
    nodes = model.graph.node
    widths = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info
    }
    hidden = [widths[n.output[0]][0] for n in nodes if n.op_type == "Sigmoid"]
    scores = [widths[n.output[0]][2:] for n in nodes if n.op_type == "Softmax"]
    n_read = 1 if method != "mmrl" else hidden[-1]
    assert hidden[-1] == scores[-1][0] == n_read < scores[-1][1]
    assert n_read < 10 and scores[-1][1] >= scores[0][1]  # keys and values are of every token
    assert {n.op_type for n in nodes}.isdisjoint({"Gemm", "Squeeze"})
    assert {one.domain for one in model.opset_import} <= {"", "ai.onnx"}


# ---- attention -----------------------------------------------------------------------------------


def _tokens(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, 3, 24, generator=generator) for length in lengths]


@pytest.mark.parametrize("masked", [False, True])
def test_three_products_give_what_the_layer_gives(masked: bool):
    layer = nn.MultiheadAttention(24, 4).eval()
    nn.init.normal_(layer.in_proj_bias)
    query, keys = _tokens(5, 7)
    mask = torch.full((5, 7), -torch.inf).triu(2) if masked else None
    with torch.no_grad():
        wanted = layer(query, keys, keys * 2, need_weights=False, attn_mask=mask)[0]
        with short_attention(nn.Sequential(layer)):
            assert "forward" in vars(layer)
            found, none = layer(query, keys, keys * 2, need_weights=False, attn_mask=mask)
    assert none is None and (found - wanted).abs().max() < 1e-6 < wanted.abs().max()
    assert "forward" not in vars(layer)


def test_what_three_products_do_not_give_the_layer_itself_gives():
    layer, (query,) = nn.MultiheadAttention(24, 4).eval(), _tokens(5)
    hidden = torch.tensor([[False, False, True, False, True]] * 3)
    cases: list[dict[str, Any]] = [
        {"need_weights": True},
        {"need_weights": False, "key_padding_mask": hidden},
        {"need_weights": False, "attn_mask": torch.eye(5).bool()},
    ]
    for case in cases:
        wanted, weights = layer(query, query, query, **case)
        with short_attention(layer):
            found, same = layer(query, query, query, **case)
        assert torch.equal(found, wanted)
        assert (weights is None) == (same is None) == (not case["need_weights"])


def test_layers_of_another_kind_stay_as_they_are():
    class Own(nn.MultiheadAttention):
        pass

    others = nn.ModuleList(
        [
            Own(24, 4),
            nn.MultiheadAttention(24, 4, bias=False),
            nn.MultiheadAttention(24, 4, batch_first=True),
            nn.MultiheadAttention(24, 4, kdim=8),
            nn.MultiheadAttention(24, 4, add_bias_kv=True),
        ]
    )
    with short_attention(others):
        assert not any("forward" in vars(one) for one in others)


# ---- rows ----------------------------------------------------------------------------------------


def graph_of(selections: list[tuple[int, int]], axis: int = 0) -> Any:
    """Return x (6, B, 4) -> a block whose rows mix in a softmax -> selections of its rows."""
    rng, numpy_helper = np.random.default_rng(0), onnx.numpy_helper
    make = onnx.helper.make_node
    nodes = [
        make("LayerNormalization", ["x", "scale"], ["normed"], axis=-1),
        make("MatMul", ["normed", "w"], ["q"]),
        make("MatMul", ["normed", "w"], ["k"]),
        make("Reshape", ["q", "heads"], ["q4"]),
        make("Reshape", ["k", "heads"], ["k4"]),
        make("Transpose", ["q4"], ["qt"], perm=[1, 2, 0, 3]),
        make("Transpose", ["k4"], ["kt"], perm=[1, 2, 3, 0]),
        make("MatMul", ["qt", "kt"], ["scores"]),
        make("Softmax", ["scores"], ["weights"], axis=-1),
        make("Transpose", ["k4"], ["vt"], perm=[1, 2, 0, 3]),
        make("MatMul", ["weights", "vt"], ["read"]),
        make("Transpose", ["read"], ["back"], perm=[2, 0, 1, 3]),
        make("Reshape", ["back", "joined"], ["mixed"]),
        make("Add", ["x", "mixed"], ["sum"]),
        make("Add", ["sum", "places"], ["placed"]),
        make("Sigmoid", ["placed"], ["hidden"]),
        make("Mul", ["placed", "hidden"], ["tokens"]),
    ]
    constants = {
        "scale": np.ones(4, np.float32),
        "w": rng.standard_normal((4, 4)).astype(np.float32),
        "places": rng.standard_normal((6, 1, 4)).astype(np.float32),
        "heads": np.array([6, -1, 2, 2]),
        "joined": np.array([6, -1, 4]),
        "axis": np.array([axis]),
    }
    outputs = []
    for number, (start, end) in enumerate(selections):
        names = [f"start{number}", f"end{number}"]
        constants |= {name: np.array([at]) for name, at in zip(names, (start, end), strict=True)}
        nodes.append(make("Slice", ["tokens", *names, "axis"], [f"cut{number}"]))
        nodes.append(make("Relu", [f"cut{number}"], [f"y{number}"]))
        outputs.append(onnx.helper.make_tensor_value_info(f"y{number}", 1, [None, "batch", None]))
    graph = onnx.helper.make_graph(
        nodes,
        "block",
        [onnx.helper.make_tensor_value_info("x", 1, [6, "batch", 4])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def rows_of(model: Any, name: str) -> int:
    """Return the first length of a tensor for two inputs."""
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    del probe.graph.output[:], probe.graph.value_info[:]
    probe.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, [None] * 3))
    return len(run(probe, x=np.zeros((6, 2, 4), np.float32))[0])


@pytest.mark.parametrize(
    ("selections", "made"),
    [
        ([(0, 1)], 1),
        ([(0, 1), (1, 3)], 3),  # the class token and the two behind it
        ([(0, 4)], 4),
        ([(2, 6)], 6),  # not the first ones: nothing can be left out
        ([(-2, 6)], 6),
        ([(0, 1), (0, 6)], 6),
    ],
)
def test_rows_that_nobody_reads_are_not_computed(selections: list[tuple[int, int]], made: int):
    x = np.random.default_rng(1).standard_normal((6, 5, 4)).astype(np.float32)
    plain = graph_of(selections)
    wanted = run(plain, x=x)
    faster = drop_unread_rows(graph_of(selections))
    onnx.checker.check_model(faster)
    read = {name for node in faster.graph.node for name in node.input}
    assert {tensor.name for tensor in faster.graph.initializer} <= read
    for one, other in zip(run(faster, x=x), wanted, strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() < 1e-6
    assert rows_of(plain, "mixed") == 6
    assert rows_of(faster, "mixed") == rows_of(faster, "q") == rows_of(faster, "hidden") == made
    assert rows_of(faster, "k") == 6  # every row is read as key and value


def test_a_graph_that_says_no_shapes_gives_what_it_gave():
    x = np.random.default_rng(1).standard_normal((6, 5, 4)).astype(np.float32)
    silent = graph_of([(0, 1)])
    del silent.graph.value_info[:]
    assert (
        np.abs(run(drop_unread_rows(silent), x=x)[0] - run(graph_of([(0, 1)]), x=x)[0]).max() == 0
    )


def test_a_selection_of_features_is_no_selection_of_rows():
    plain = graph_of([(0, 2)], axis=2)
    faster = drop_unread_rows(graph_of([(0, 2)], axis=2))
    x = np.random.default_rng(1).standard_normal((6, 5, 4)).astype(np.float32)
    assert np.abs(run(faster, x=x)[0] - run(plain, x=x)[0]).max() < 1e-6
    assert rows_of(faster, "mixed") == 6


def test_prompts_that_the_next_block_replaces_are_not_cut_off_again():
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    numbers = {"zero": 0, "three": 3}
    graph = onnx.helper.make_graph(
        [
            make("Concat", ["x", "prompts"], ["rows"], axis=0),
            make("Softmax", ["rows"], ["mixed"], axis=0),
            make("Add", ["rows", "mixed"], ["block"]),
            make("Slice", ["block", "zero", "three", "zero"], ["kept"]),
            make("Concat", ["kept", "prompts"], ["y"], axis=0),
        ],
        "prompts",
        [info("x", 1, [3, 4]), info("prompts", 1, [2, 4])],
        [info("y", 1, [5, 4])],
        [onnx.helper.make_tensor(name, 7, [1], [n]) for name, n in numbers.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    model = onnx.shape_inference.infer_shapes(model)
    rng = np.random.default_rng(0)
    given = {
        "x": rng.standard_normal((3, 4)).astype(np.float32),
        "prompts": rng.standard_normal((2, 4)).astype(np.float32),
    }
    (wanted,) = run(model, **given)
    faster = drop_unread_rows(model)
    assert np.abs(run(faster, **given)[0] - wanted).max() < 1e-6
    add = next(node for node in faster.graph.node if node.op_type == "Add")
    assert add.input[0] == "x"  # the prompts' rows of the sum are not made
    # only the softmax over rows is cut: it reads all of them
    assert [n.input[0] for n in faster.graph.node if n.op_type == "Slice"] == ["mixed"]

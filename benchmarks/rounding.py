"""Ways to round an encoder to 8 and 4 bits: how far features move. A table of docs/DEVICE.md.

    python benchmarks/rounding.py RUN [RUN ...]    finished runs on the demonstration world
    python benchmarks/rounding.py --speed          products of a ViT-B/16 at 37 tokens, one thread

Pictures are those of the pool `val` of the base classes, on which nothing was trained or tested;
`int8-static` is calibrated on training pictures. Needs the extra [export].
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnxruntime import quantization
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loreal_plugin.attach import detach_host  # noqa: E402  (needs the path above)
from loreal_plugin.attach.clip_source import using_weights  # noqa: E402
from loreal_plugin.demo.pictures import encode_jpeg  # noqa: E402
from loreal_plugin.demo.world import POOLS, class_specs  # noqa: E402
from loreal_plugin.edge.pixels import read_rgb, recipe_of, to_pixels  # noqa: E402
from loreal_plugin.export import export_run  # noqa: E402
from loreal_plugin.export.encoder import export_encoder  # noqa: E402
from loreal_plugin.export.pictures import pictures_of, spread  # noqa: E402
from loreal_plugin.export.precision import (  # noqa: E402
    BLOCK,
    constant_maps,
    gemm_to_matmul,
    half_weights,
    maps_of_tokens,
)
from loreal_plugin.runs.trained_run import TrainedRun  # noqa: E402

CALIBRATION = 64  # pictures
WIDTH, TOKENS, BLOCKS = 768, 37, 12  # of a ViT-B/16 at 96
Rounded = Callable[[Any], Any]


def _rounded_file(quantise: Callable[..., None], model: Any, **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(model, source)
        quantise(str(source), str(target), **options)
        return onnx.load(target)


def dynamic(model: Any, left: int = 0, *, bits: int = 8, signed: bool = True) -> Any:
    """Return a model with rounded products, activations as they come.

    Args:
        left: how many of the last maps stay in float32.
        bits: of the weights, 7 or 8.
        signed: whether weights are signed.
    """
    maps = _in_order(gemm_to_matmul(model))
    kinds = quantization.QuantType
    return _rounded_file(
        quantization.quantize_dynamic,
        model,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=maps[len(maps) - left :],
        per_channel=True,
        reduce_range=bits == 7,
        weight_type=kinds.QInt8 if signed else kinds.QUInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def static(model: Any, left: int = 0, *, bits: int = 8, pictures: np.ndarray) -> Any:
    """Return a model with rounded products, scales of activations found on pictures."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Calibration pictures, one at a time."""

        def __init__(self) -> None:
            self.rest = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next input, None after the last."""
            one = next(self.rest, None)
            return None if one is None else {"pixels": one[None]}

    maps = _in_order(gemm_to_matmul(model))
    return _rounded_file(
        quantization.quantize_static,
        model,
        calibration_data_reader=Reader(),
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=maps[: len(maps) - left],
        per_channel=True,
        reduce_range=bits == 7,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def four_bits(model: Any, left: int = 0) -> Any:
    """Return a model with weights of 4 bits."""
    maps = _in_order(gemm_to_matmul(model))
    out = maps[len(maps) - left :]
    quantizer = MatMulNBitsQuantizer(
        model, block_size=BLOCK, is_symmetric=True, accuracy_level=4, nodes_to_exclude=out
    )
    quantizer.process()
    return quantizer.model.model


def _in_order(model: Any) -> list[str]:
    found = constant_maps(model)
    return [node.name for node in model.graph.node if node.name in found]


def ways(pictures: np.ndarray, last: int) -> dict[str, Rounded]:
    """Return what is compared; `last` maps stand after the last block."""
    fixed = partial(static, pictures=pictures)
    return {
        "`int8`: 8 bits, all maps": dynamic,
        "8 bits, projection in float32": partial(dynamic, left=last),
        "7 bits, all maps": partial(dynamic, bits=7),
        "unsigned 8 bits, all maps": partial(dynamic, signed=False),
        "**7 bits, projection in float32**": partial(dynamic, left=last, bits=7),
        "`int8-static`: 8 bits, all maps": fixed,
        "7 bits, all maps, fixed scales": partial(fixed, bits=7),
        "**7 bits, projection in float32, fixed scales**": partial(fixed, left=last, bits=7),
        "`int4`, all maps": four_bits,
        "**`int4`, projection in float32**": partial(four_bits, left=last),
    }


def session(model: Any) -> onnxruntime.InferenceSession:
    """Return an ONNX model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def features(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Return the first features (N, D), one picture at a time."""
    run = session(model)
    return np.concatenate([run.run(None, {"pixels": one[None]})[0][:, 0] for one in pixels])


def validation_pixels(recipe: Mapping[str, Any]) -> np.ndarray:
    """Return the pool `val` of the base classes as an encoder reads it."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.jpg"
        for label in range(len(class_specs()) // 2):
            for index in range(POOLS["val"].per_class):
                file.write_bytes(encode_jpeg("val", label, index))
                found.append(to_pixels(read_rgb(file), recipe))
    return np.stack(found)


def measure_run(run: str) -> dict[str, tuple[float, float]]:
    """Return distance of features, and percent with the class of fp32, of each way."""
    trained = TrainedRun.open(run)
    found = pictures_of(trained)
    with using_weights(trained.weights):
        names = list(found.engine.identity.dataset("base").classnames)
        deployed = export_run.open_deployed(trained, names, "static", found)
        content = export_encoder(deployed).SerializeToString()
        head = deployed.mode.static_text().numpy()
    recipe = recipe_of(deployed.phi, "bicubic")
    pixels = validation_pixels(recipe)
    training = [to_pixels(read_rgb(p), recipe) for p in spread(found.training, CALIBRATION)]
    exact = onnx.load_from_string(content)
    wanted = features(exact, pixels)
    last = len(constant_maps(gemm_to_matmul(exact))) - len(maps_of_tokens(exact))
    rows = {}
    for name, way in ways(np.stack(training), last).items():
        # as a package stores them
        given = features(half_weights(way(onnx.load_from_string(content))), pixels)
        distance = float(np.linalg.norm(given - wanted, axis=1).mean())
        same = (given @ head.T).argmax(1) == (wanted @ head.T).argmax(1)
        rows[name] = distance, 100 * float(same.mean())
        print(f"  {name}: {distance:.4f}, {rows[name][1]:.2f} %", file=sys.stderr, flush=True)
    detach_host()
    return rows


def products() -> Any:
    """Return the products of a ViT-B/16 with constant matrices, one after the other."""
    rng = np.random.default_rng(0)
    nodes, tensors, x = [], [], "x"
    for i in range(BLOCKS):
        for j, (rows, columns) in enumerate([(1, 1), (1, 1), (1, 1), (1, 1), (1, 4), (4, 1)]):
            shape = rows * WIDTH, columns * WIDTH
            name = f"{i}.{j}"
            values = (rng.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32)
            tensors.append(onnx.numpy_helper.from_array(values, f"w{name}"))
            nodes.append(helper.make_node("MatMul", [x, f"w{name}"], [f"y{name}"], name=name))
            x = f"y{name}"
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, TOKENS, WIDTH])
        for name in ("x", x)
    ]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure_speed(rounds: int = 25) -> list[tuple[str, float]]:
    """Return milliseconds of processor time of each kind of weights, medians of turns."""
    content = products().SerializeToString()
    asked: dict[str, Rounded] = {
        "fp32": lambda model: model,
        "8 bits": dynamic,
        "7 bits": partial(dynamic, bits=7),
        "unsigned 8 bits": partial(dynamic, signed=False),
    }
    opened = {name: session(way(onnx.load_from_string(content))) for name, way in asked.items()}
    given = {"x": np.random.default_rng(1).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)}
    taken: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(rounds):
        for name, one in opened.items():
            began = time.process_time()
            one.run(None, given)
            taken[name].append(1000 * (time.process_time() - began))
    return [(name, statistics.median(times)) for name, times in taken.items()]


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--speed", action="store_true", help="time of the products instead")
    args = parser.parse_args(words)
    logging.disable(logging.WARNING)  # quantisers name every product that they leave alone
    if args.speed:
        print(tabulate(measure_speed(), ["weights", "ms"], "github", floatfmt=".1f"))
        return 0
    if not args.runs:
        parser.error("name finished runs, or --speed")
    measured = [measure_run(run) for run in args.runs]
    body = [
        (name, *(statistics.fmean(rows[name][i] for rows in measured) for i in (0, 1)))
        for name in measured[0]
    ]
    heads = ["", "distance", "class of `fp32`, %"]
    print(tabulate(body, heads, "github", floatfmt=("", ".3f", ".1f")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

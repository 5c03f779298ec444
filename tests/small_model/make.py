"""Makes the small network that most tests encode with: `python -m tests.small_model.make`.

It keeps the contract of the shipped one (pixels in; vector, score and subject out) with two random
convolutions, so that a picture takes a millisecond instead of eighty and vectors have 64 numbers
instead of 512. Tests of what the shipped network can do name it themselves. Needs `onnx`, from
`make train-env`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from blake3 import blake3
from onnx import TensorProto, helper, numpy_helper

from indexer.embedding.encoder import INPUT_NAME, OUTPUTS, start_onnxruntime
from indexer.embedding.models import DESCRIPTION_FILE, FORMAT_VERSION, MODEL_FILE
from indexer.embedding.preprocess import PixelSpec, prepare
from tests.drawings import HANDS, drawing

SPEC = PixelSpec(max_side_px=160, min_side_px=160)
DIMENSION, SUBJECTS = 64, 16
CHANNELS = (16, 24)


def graph(centre: np.ndarray | None = None, scale: np.ndarray | None = None) -> bytes:
    """The network; its statistics are those of the test's drawings once these are known.

    Shapes:  centre (S,), scale (S,): mean and deviation of the statistics
    """
    rng = np.random.default_rng(5)
    first, second = CHANNELS
    count = 2 * (3 + first + second)
    values = {
        "half": np.float32(127.5),
        "one": np.float32(1.0),
        "tiny": np.float32(1e-12),
        "size": np.float32(count),
        "filters1": rng.normal(0, 75**-0.5, (first, 3, 5, 5)),
        "filters2": rng.normal(0, (9 * first) ** -0.5, (second, first, 3, 3)),
        "centre": np.zeros(count) if centre is None else centre,
        "scale": np.ones(count) if scale is None else scale,
        "style": rng.normal(0, count**-0.5, (count, DIMENSION)),
        "content": rng.normal(0, count**-0.5, (count, SUBJECTS)),
        "pixels_axes": np.array([2, 3]),
        "last": np.array([1]),
    }
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "half"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["x0"]),
    ]
    for layer, side in ((1, 5), (2, 3)):
        pads = [side // 2] * 4
        nodes += [
            helper.make_node(
                "Conv",
                [f"x{layer - 1}", f"filters{layer}"],
                [f"y{layer}"],
                strides=[2, 2],
                pads=pads,
            ),
            helper.make_node("Relu", [f"y{layer}"], [f"x{layer}"]),
        ]
    for layer in range(3):
        nodes += [
            helper.make_node("ReduceMean", [f"x{layer}", "pixels_axes"], [f"m{layer}"]),
            helper.make_node("Sub", [f"x{layer}", f"m{layer}"], [f"d{layer}"]),
            helper.make_node("Mul", [f"d{layer}", f"d{layer}"], [f"q{layer}"]),
            helper.make_node("ReduceMean", [f"q{layer}", "pixels_axes"], [f"v{layer}"]),
            helper.make_node("Sqrt", [f"v{layer}"], [f"s{layer}"]),
        ]
    parts = [f"{kind}{layer}" for layer in range(3) for kind in "ms"]
    nodes += [
        helper.make_node("Concat", parts, ["joined"], axis=1),
        helper.make_node("Flatten", ["joined"], ["raw"]),
        helper.make_node("Sub", ["raw", "centre"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["statistics"]),
        helper.make_node("Mul", ["statistics", "statistics"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "last"], ["mean_square"], keepdims=0),
        helper.make_node("Sqrt", ["mean_square"], [OUTPUTS[1]]),
    ]
    for name, matrix in ((OUTPUTS[0], "style"), (OUTPUTS[2], "content")):
        nodes += [
            helper.make_node("MatMul", ["statistics", matrix], [f"{name}_long"]),
            helper.make_node("ReduceL2", [f"{name}_long", "last"], [f"{name}_length"]),
            helper.make_node("Max", [f"{name}_length", "tiny"], [f"{name}_divisor"]),
            helper.make_node("Div", [f"{name}_long", f"{name}_divisor"], [name]),
        ]
    floats = {
        name: np.asarray(value, np.int64 if np.asarray(value).dtype.kind == "i" else np.float32)
        for name, value in values.items()
    }
    found = [
        helper.make_tensor_value_info(OUTPUTS[0], TensorProto.FLOAT, ["batch", DIMENSION]),
        helper.make_tensor_value_info(OUTPUTS[1], TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info(OUTPUTS[2], TensorProto.FLOAT, ["batch", SUBJECTS]),
    ]
    asked = helper.make_tensor_value_info(
        INPUT_NAME, TensorProto.UINT8, ["batch", "rows", "columns", 3]
    )
    weights = [numpy_helper.from_array(value, name) for name, value in floats.items()]
    made = helper.make_graph(nodes, "small", [asked], found, weights)
    opsets = [helper.make_opsetid("", 18)]
    network = helper.make_model(
        made, opset_imports=opsets, ir_version=8, producer_name="toonsearch"
    )
    onnx.checker.check_model(network)
    return network.SerializeToString(deterministic=True)


def main() -> None:
    exposed = onnx.load_from_string(graph())
    raw = helper.make_tensor_value_info("raw", TensorProto.FLOAT, None)
    exposed.graph.output.append(raw)
    run = start_onnxruntime(exposed.SerializeToString(), 1, False, ["raw"])
    pictures = [drawing(hand, seed) for hand in range(HANDS) for seed in range(40)]
    statistics = np.concatenate([run(prepare(one, SPEC)[None])[0] for one in pictures])
    network = graph(statistics.mean(0), statistics.std(0) + 1e-3)
    digest = blake3(network).hexdigest()
    folder = Path(__file__).parent
    (folder / MODEL_FILE).write_bytes(network)
    description = {
        "format_version": FORMAT_VERSION,
        "model_id": f"small-{digest[:8]}",
        "dimension": DIMENSION,
        "pixels": SPEC.to_json(),
        "files": {MODEL_FILE: {"bytes": len(network), "blake3": digest}},
        "provenance": {"method": "two random convolutions, for tests", "authors": []},
    }
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n")


if __name__ == "__main__":
    main()

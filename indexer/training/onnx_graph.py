"""Networks as ONNX graphs: export, projection, small storage."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from indexer.embedding.encoder import INPUT_NAME
from indexer.training.lite import MULTIPLE_PX
from indexer.training.model import CLIP, Projection
from schemas.errors import InputError

OUTPUT_NAME = "vectors"
OPSET = 18
MAX_BATCH = 4096
MAX_SIDE_PX = 4096
HALF_FROM_COUNT = 1024
"""Initialisers with fewer numbers stay float32: offsets weigh nothing and gain precision."""
NORM_FLOOR = 1e-12
HALF_SUFFIX = ".half"


def export_graph(network: nn.Module) -> onnx.ModelProto:
    """A network over (B, H, W, 3) uint8 pixels as a graph with free B, H and W.

    Names and stack traces of the exporting machine are left out, so the same weights give the
    same bytes anywhere.
    """
    example = torch.zeros((2, 7 * MULTIPLE_PX, 10 * MULTIPLE_PX, 3), dtype=torch.uint8)
    sides = MAX_SIDE_PX // MULTIPLE_PX
    shapes = {
        0: torch.export.Dim("batch", min=1, max=MAX_BATCH),
        1: MULTIPLE_PX * torch.export.Dim("rows", min=1, max=sides),
        2: MULTIPLE_PX * torch.export.Dim("columns", min=1, max=sides),
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # the exporter narrates on stdout
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=(shapes,),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # a program unless a file name is given
    model = program.model_proto
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Remove what only describes the exporting machine."""
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "toonsearch", ""
    model.doc_string = model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.value_info[:]  # runtimes infer shapes themselves


def append_projection(model: onnx.ModelProto, projection: Projection) -> onnx.ModelProto:
    """A copy whose output is projected and scaled to unit length.

    Shapes:  output (B, S) -> (B, D)
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    raw = "statistics"
    for node in graph.node:
        node.output[:] = [raw if name == OUTPUT_NAME else name for name in node.output]
        node.input[:] = [raw if name == OUTPUT_NAME else name for name in node.input]
    constants = {
        **{name: np.asarray(value, np.float32) for name, value in projection._asdict().items()},
        "clip_low": np.array(-CLIP, np.float32),
        "clip_high": np.array(CLIP, np.float32),
        "norm_floor": np.array(NORM_FLOOR, np.float32),
        "norm_axis": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    graph.node.extend(
        [
            helper.make_node("Sub", [raw, "center"], ["centered"]),
            helper.make_node("Mul", ["centered", "scale"], ["scaled"]),
            helper.make_node("Clip", ["scaled", "clip_low", "clip_high"], ["clipped"]),
            helper.make_node("MatMul", ["clipped", "matrix"], ["projected"]),
            helper.make_node("ReduceL2", ["projected", "norm_axis"], ["norm"], keepdims=1),
            helper.make_node("Max", ["norm", "norm_floor"], ["norm_safe"]),
            helper.make_node("Div", ["projected", "norm_safe"], [OUTPUT_NAME]),
        ]
    )
    shape = graph.output[0].type.tensor_type.shape
    shape.dim[1].dim_value = projection.matrix.shape[1]
    return result


def read_projection(path: Path) -> Projection:
    """The projection that `append_projection` put into a stored graph.

    Errors:  InputError when the graph has none
    """
    model = onnx.load(path, load_external_data=False)
    tensors = {
        tensor.name.removesuffix(HALF_SUFFIX): numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
    }
    try:
        return Projection(*(tensors[name].astype(np.float32) for name in Projection._fields))
    except KeyError as error:
        raise InputError(f"{path}: the graph has no projection ({error})") from error


def halve_storage(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that stores large float32 initialisers as float16, cast back at load.

    Arithmetic stays float32; the runtime folds the casts once, when the session starts.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    casts = []
    for position, tensor in enumerate(result.graph.initializer):
        value = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or value.ndim < 2 or value.size < HALF_FROM_COUNT:
            continue
        name = tensor.name
        half = numpy_helper.from_array(value.astype(np.float16), name + HALF_SUFFIX)
        result.graph.initializer[position].CopyFrom(half)
        casts.append(helper.make_node("Cast", [name + HALF_SUFFIX], [name], to=TensorProto.FLOAT))
    nodes = list(result.graph.node)
    del result.graph.node[:]
    result.graph.node.extend([*casts, *nodes])
    return result


def serialize(model: onnx.ModelProto) -> bytes:
    """Checked bytes, the same for the same graph."""
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data

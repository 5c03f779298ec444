"""Exported graphs, once for all tests: the same weights give the same one, in half a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from blake3 import blake3

from schemas.storage.fsio import replace_file

Export = Callable[[torch.nn.Module], onnx.ModelProto]


def once(export: Export, folder: Path) -> Export:
    """The same as `export`, for networks that it saw before, in any process, from a folder."""

    def exported(network: torch.nn.Module) -> onnx.ModelProto:
        told = blake3(repr(network).encode())
        for name, value in network.state_dict().items():
            told.update(name.encode() + value.numpy().tobytes())
        file = folder / f"{told.hexdigest()}.onnx"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(file, export(network).SerializeToString())
        return onnx.load_model_from_string(file.read_bytes())

    return exported


def export_once(folder: Path, replace: Callable[[Any, str, Export], None] = setattr) -> None:
    """Have everything that exports do it once."""
    from indexer.training import features, finish, onnx_graph, rebuild

    for module in (features, finish, rebuild):
        replace(module, "export_graph", once(onnx_graph.export_graph, folder))

"""The query that a person would write with torch: the yardstick for a cold start.

The same network, vectors and metadata in one process of its own, which imports nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import onnx
import torch
from onnx import numpy_helper

from indexer.embedding.encoder import Encoder
from indexer.embedding.models import MODEL_FILE
from indexer.embedding.preprocess import PixelSpec, picture_to_pixels
from indexer.training.backbones import load_statistics
from indexer.training.branches import Branches
from indexer.training.model import Joined, JoinedNetwork, Projection
from indexer.vector_index.generations import Generation
from schemas.images import PictureLimits
from schemas.storage.layout import Layout


def torch_encoder(model_dir: Path) -> tuple[JoinedNetwork, PixelSpec]:
    """The network of a model folder in torch eager."""
    graph = onnx.load(model_dir / MODEL_FILE, load_external_data=False).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def projection(part: str) -> Projection:
        return Projection(*(tensors[f"{part}.{name}"] for name in Projection._fields))

    parts = [projection(part) for part in ("frozen", "trained", "learnt")]
    joined = Joined(*parts, tensors["directions"])
    branches = Branches(load_statistics())
    start = "branches.trained."
    own = {name.removeprefix(start): torch.from_numpy(value.copy())
           for name, value in tensors.items() if name.startswith(start)}  # fmt: skip
    branches.trained.load_state_dict(own)
    network = JoinedNetwork(branches, joined, projection("subject")).eval()
    return network, Encoder.open(model_dir).pixel_spec


def main(root: str, picture: str) -> None:
    """Print the ten nearest pictures of an index to a picture."""
    with Generation.open(Layout(Path(root))) as generation:
        model, spec = torch_encoder(generation.model_dir)
        pixels = picture_to_pixels(Path(picture).read_bytes(), PictureLimits(), spec)
        with torch.inference_mode():
            vector = model(torch.from_numpy(pixels.copy())[None])[0].numpy()
        index = faiss.read_index(str(generation.directory / "vectors.faiss"))
        scores, ids = index.search(vector, 10)
        for score, row_id in zip(scores[0].tolist(), ids[0].tolist(), strict=True):
            row = generation.meta.execute(
                "select title, author, source_path from catalog where row_id = ?", (row_id,)
            ).fetchone()
            print(f"{score:.3f}", *row, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

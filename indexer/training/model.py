"""The style network: statistics of a backbone's middle, made comparable by one matrix; its graph.

The statistics of a frozen network and of its trained copy stand side by side (`branches.py`).

The matrix is a closed form: it shrinks what varies within one author's drawings and what changes
when a picture is reduced or loses its colours, and keeps the strongest directions.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from indexer.embedding.encoder import INPUT_NAME, Session, start_onnxruntime
from indexer.embedding.preprocess import PixelSpec
from indexer.training.backbones import MULTIPLE_PX
from indexer.training.branches import Branches
from indexer.vector_index.ranking import unit
from schemas.errors import InputError, ToonsearchError

SHIPPED_SPEC = PixelSpec(480, 480, 32, filter="bicubic", trim=True, zoom=1.25)

CLIP = 6.0
"""Standardised statistics are cut at six deviations: flat drawings have a few wild ones."""
RIDGE = 1.0
DIMENSION = 256
BRANCH_DIMENSION = 1024
"""At most so many directions of a branch stand beside the other's: the statistics of a large
backbone would make a matrix that is larger than the network."""
VIEW_SHARE = 0.3
"""What a view changes counts so much beside what varies within authors."""
FROZEN_WEIGHT = 1.5
"""The closed form of the frozen statistics counts so much beside each of the two trained parts."""
JOINED_DIMENSION = 512
TOTAL_SHARE = 0.1
"""All pictures count so much beside the authors' means when directions are chosen: there are fewer
authors than directions."""
FLOOR = 1e-6
MIN_COSINE = 0.9999
OUTPUTS = ("vector", "ood", "subject")
SUBJECT_DIMENSION = 128
OPSET = 18
MAX_BATCH = 4096
MAX_SIDE_PX = 4096


class Projection(NamedTuple):
    """Standardises statistics and multiplies them: clip((x - center) * scale) @ matrix."""

    center: np.ndarray  # (S,)
    scale: np.ndarray  # (S,)
    matrix: np.ndarray  # (S, D)

    @classmethod
    def standardizing(cls, rows: np.ndarray) -> Projection:
        """One that only standardises, by the mean and deviation of these statistics; (N, S)"""
        return cls(rows.mean(0), 1.0 / (rows.std(0) + FLOOR), np.eye(rows.shape[1]))

    def standardized(self, rows: np.ndarray) -> np.ndarray:
        """Statistics in standard deviations of the training pictures; (N, S) -> (N, S)"""
        return np.asarray(np.clip((rows - self.center) * self.scale, -CLIP, CLIP))

    def ood(self, rows: np.ndarray) -> np.ndarray:
        """Out-of-distribution scores: root mean squares of what is standardised; (N, S) -> (N,)"""
        return np.asarray(np.sqrt(np.square(self.standardized(rows)).mean(1)))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings of statistics; (N, S) -> (N, D) unit"""
        return unit(self.standardized(rows) @ self.matrix)


def fit_projection(
    statistics: np.ndarray,
    authors: np.ndarray,
    changes: Sequence[np.ndarray] = (),
    dimension: int | None = DIMENSION,
) -> Projection:
    """Standardise, multiply by (Sw + V + RIDGE I)^(-1/2), keep the directions of authors.

    Sw is the mean within-author covariance; V is the sum, over the views, of VIEW_SHARE times the
    covariance of what a view `changes`. Each is scaled to unit mean variance. The directions are
    the strongest in which the means of authors differ. Without a `dimension` all are kept.

    Shapes:  statistics (N, S), authors (N,), each of the changes (M, S), of some pictures
             -> Projection (S,), (S,), (S, D)
    Errors:  InputError when no author has two different pictures, or fewer than `dimension`
             directions are there
    Source:  Hatch et al. 2006 (within-class covariance normalisation), with a ridge
    """
    rows = np.asarray(statistics, np.float64)
    count, width = rows.shape
    if dimension is not None and dimension > min(count, width):
        raise InputError(f"{count} pictures do not span {dimension} dimensions")
    identity = Projection.standardizing(rows)
    z = identity.standardized(rows)
    within = _within(z, authors)
    if not np.square(within).sum() > FLOOR:
        raise InputError("the model needs an author with two different pictures")

    total = RIDGE * identity.matrix + _scatter(within)
    for change in changes:
        difference = np.asarray(change, np.float64) * identity.scale
        total += VIEW_SHARE * _scatter(np.clip(difference, -CLIP, CLIP))
    values, vectors = np.linalg.eigh(total)
    matrix = (vectors / np.sqrt(values)) @ vectors.T
    if dimension is not None:
        matrix = matrix @ _directions(unit(z @ matrix), authors, dimension)
    return identity._replace(matrix=matrix)


def fit_subject(pooled: np.ndarray) -> Projection:
    """The strongest directions of pooled features; (N, K) -> (K,), (K,), (K, SUBJECT_DIMENSION)"""
    rows = np.asarray(pooled, np.float64)
    found = Projection.standardizing(rows)
    z = found.standardized(rows)
    _, directions = np.linalg.eigh(z.T @ z)
    return found._replace(matrix=directions[:, ::-1][:, :SUBJECT_DIMENSION])


def _within(rows: np.ndarray, authors: np.ndarray) -> np.ndarray:
    """Differences to the mean of one's author; (N, S), (N,) -> (N, S)"""
    found = np.array(rows, np.float64)
    for author in np.unique(authors):
        own = authors == author
        found[own] -= found[own].mean(0)
    return found


def _scatter(deviations: np.ndarray) -> np.ndarray:
    """Products of columns, of unit mean on the diagonal; (N, S) -> (S, S)"""
    products = deviations.T @ deviations
    mean = np.trace(products) / len(products)
    return np.asarray(products / mean if mean > 0 else products)


class Joined(NamedTuple):
    """Embeddings of the statistics of both branches: the closed forms of the frozen and of the
    trained ones and what training itself projects the latter to, side by side, turned and cut to
    the directions in which authors differ.

    The closed forms know what varies within an author without having learnt any hand by heart;
    the learnt projection finds more of an author's pictures. Either alone is worse.
    """

    frozen: Projection  # (S,) -> (S,)
    trained: Projection  # (T,) -> (T,)
    learnt: Projection  # (T,) -> (L,)
    directions: np.ndarray  # (S + T + L, D)

    def standardized(self, rows: np.ndarray) -> np.ndarray:
        """The frozen statistics in standard deviations; (N, S + T) -> (N, S)"""
        return self.frozen.standardized(rows[:, : len(self.frozen.center)])

    def ood(self, rows: np.ndarray) -> np.ndarray:
        """Out-of-distribution scores, of the frozen statistics; (N, S + T) -> (N,)"""
        return self.frozen.ood(rows[:, : len(self.frozen.center)])

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings of statistics; (N, S + T) -> (N, D) unit"""
        return unit(self.beside(rows) @ self.directions)

    def beside(self, rows: np.ndarray) -> np.ndarray:
        """The three parts side by side; (N, S + T) -> (N, S + T + L)"""
        width = len(self.frozen.center)
        frozen, trained = rows[:, :width], rows[:, width:]
        parts = (FROZEN_WEIGHT * self.frozen.apply(frozen), self.trained.apply(trained))
        return np.concatenate([*parts, self.learnt.apply(trained)], 1)


def fit_joined(
    statistics: np.ndarray,
    authors: np.ndarray,
    changes: Sequence[np.ndarray],
    learnt: Projection,
    dimension: int,
) -> Joined:
    """Fit the closed forms of both branches and the directions of what stands side by side.

    Shapes:  statistics (N, S + T), authors (N,), each of the changes (M, S + T)
    Errors:  as of `fit_projection`
    """
    width = statistics.shape[1] - len(learnt.center)
    frozen, trained = (
        fit_projection(
            statistics[:, part],
            authors,
            [rows[:, part] for rows in changes],
            None if wide <= BRANCH_DIMENSION else min(BRANCH_DIMENSION, len(statistics)),
        )
        for part, wide in ((np.s_[:width], width), (np.s_[width:], len(learnt.center)))
    )
    joined = Joined(frozen, trained, learnt, np.empty((0, 0)))
    beside = unit(joined.beside(statistics))
    if dimension > min(beside.shape):
        raise InputError(f"{len(beside)} pictures do not span {dimension} dimensions")
    return joined._replace(directions=_directions(beside, authors, dimension))


def _directions(vectors: np.ndarray, authors: np.ndarray, dimension: int) -> np.ndarray:
    """The strongest directions in which the means of authors differ; (N, D) -> (D, dimension)"""
    means = np.stack([vectors[authors == one].mean(0) for one in np.unique(authors)])
    strength = means.T @ means / len(means) + TOTAL_SHARE * vectors.T @ vectors / len(vectors)
    _, directions = np.linalg.eigh(strength)
    return np.asarray(directions[:, ::-1][:, :dimension])


class StyleNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to embeddings, and how far out of the training distribution pictures are: the root
    mean square of their standardised statistics, about 1 for training pictures.

    Shapes:  (B, H, W, 3) uint8 -> (B, D) unit, (B,)
    """

    def __init__(self, statistics: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.statistics = statistics
        center, scale, matrix = (
            torch.from_numpy(np.array(part, np.float32)) for part in projection
        )
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)
        self.matrix = nn.Parameter(matrix)

    def embed(self, statistics: Tensor, kept: Tensor | None = None) -> Tensor:
        """Embeddings of statistics, some of which training may leave out; (B, S) -> (B, D)"""
        z = self._standardized(statistics)
        return functional.normalize((z if kept is None else z * kept) @ self.matrix, dim=1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        z = self._standardized(self.statistics(pixels).float())
        return functional.normalize(z @ self.matrix, dim=1), (z * z).mean(1).sqrt()

    def _standardized(self, statistics: Tensor) -> Tensor:
        return ((statistics - self.center) * self.scale).clamp(-CLIP, CLIP)

    def projection(self) -> Projection:
        """What `embed` multiplies by, as it is now."""
        parts = (self.center, self.scale, self.matrix)
        return Projection(*(part.detach().cpu().numpy() for part in parts))


class JoinedNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to embeddings of both branches, out-of-distribution scores, and what is shown.

    Shapes:  (B, H, W, 3) uint8 -> (B, D) unit, (B,), (B, K) unit
    """

    def __init__(self, branches: Branches, joined: Joined, subject: Projection) -> None:
        super().__init__()
        self.branches, self.width = branches, len(joined.frozen.center)
        self.frozen = StyleNetwork(nn.Identity(), joined.frozen)
        self.trained = StyleNetwork(nn.Identity(), joined.trained)
        self.learnt = StyleNetwork(nn.Identity(), joined.learnt)
        self.subject = StyleNetwork(nn.Identity(), subject)
        self.directions = nn.Parameter(torch.from_numpy(np.array(joined.directions, np.float32)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        statistics, pooled = self.branches.with_subject(pixels)
        frozen, ood = self.frozen(statistics[:, : self.width])
        trained = statistics[:, self.width :]
        parts = (FROZEN_WEIGHT * frozen, self.trained.embed(trained), self.learnt.embed(trained))
        vectors = functional.normalize(torch.cat(parts, 1) @ self.directions, dim=1)
        return vectors, ood, self.subject.embed(pooled)


# --- The network as an ONNX graph.


def export_graph(network: nn.Module, outputs: Sequence[str] = ("statistics",)) -> bytes:
    """A network over (B, H, W, 3) uint8 pixels as an ONNX graph with free B, H and W."""
    example = torch.zeros((2, 7 * MULTIPLE_PX, 10 * MULTIPLE_PX, 3), dtype=torch.uint8)
    sides = MAX_SIDE_PX // MULTIPLE_PX
    shapes = {
        0: torch.export.Dim("batch", min=1, max=MAX_BATCH),
        1: MULTIPLE_PX * torch.export.Dim("rows", min=1, max=sides),
        2: MULTIPLE_PX * torch.export.Dim("columns", min=1, max=sides),
    }
    return to_onnx(network, example, INPUT_NAME, outputs, (shapes,))


def to_onnx(
    network: nn.Module,
    example: torch.Tensor,
    input_name: str,
    outputs: Sequence[str],
    shapes: tuple[Any, ...] | None = None,
) -> bytes:
    """A network of one input as an ONNX graph, for inputs of the example's shape unless some of
    its sides are free.

    Names and stack traces of the exporting machine are left out, so the same weights give the
    same bytes anywhere.
    """
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
            input_names=[input_name],
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # a program unless a file name is given
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _strip(model: onnx.ModelProto) -> None:
    """Remove what only describes the exporting machine."""
    graph = model.graph
    model.producer_name, model.producer_version = "toonsearch", ""
    model.doc_string = graph.doc_string = ""
    del graph.value_info[:]  # runtimes infer shapes themselves
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    del model.metadata_props[:], graph.metadata_props[:]


def run_graph(data: bytes, threads: int | None = None) -> Session:
    """A graph as a function of a batch of pixels; by default each core has its share of it."""
    return start_onnxruntime(data, threads or len(os.sched_getaffinity(0)), spin=False)


def export_style(network: JoinedNetwork, pictures: Iterable[np.ndarray]) -> tuple[bytes, float]:
    """The graph of a style network and its least cosine to torch on pictures (H, W, 3).

    Errors:  ToonsearchError when they disagree
    """
    data = export_graph(network, OUTPUTS)
    run, worst = run_graph(data), 1.0
    for picture in pictures:
        with torch.inference_mode():
            vector, ood, subject = network(torch.from_numpy(picture[None].copy()))
        found, score, shown = run(picture[None])
        worst = min(
            worst, float(found[0] @ vector[0].numpy()), float(shown[0] @ subject[0].numpy())
        )
        if not np.allclose(score, ood.numpy(), rtol=1e-3):
            worst = -1.0
    if worst < MIN_COSINE:
        raise ToonsearchError(f"the exported network disagrees with torch (cosine {worst:.6f})")
    return data, worst

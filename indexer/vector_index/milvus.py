"""Milvus: nearest vectors from a cluster, everything else from the published generation.

    toonsearch_<generation>           a collection: row ids and vectors, nothing else
    toonsearch_<generation>_partial   one that is being filled, or was when its export was killed
    toonsearch                        the alias of the published one

A collection is filled aside, checked, and renamed; the alias moves last. Who asks, asks for
the collection of the generation that it has open: while Milvus lacks it, or is not there, the local
index answers. What Milvus names is compared by the local half floats, so that similarities and
their order do not depend on it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from indexer.vector_index.faiss_index import VectorIndex
from indexer.vector_index.generations import Generation, current_generation_id, generation_ids
from indexer.vector_index.ranking import within
from indexer.vector_index.recall import measured_recall
from schemas.blocklist import BlockList
from schemas.errors import NetworkError, PartlyDoneError, UsageError
from schemas.progress import Progress
from schemas.settings import IndexSettings, Settings
from schemas.storage.layout import Layout

ALIAS = "toonsearch"
PARTIAL = "_partial"
TOKEN = "MILVUS_TOKEN"
_COLLECTION = re.compile(rf"{ALIAS}_(g[0-9]{{8}}T[0-9]{{12}}_[0-9a-f]{{8}})({PARTIAL})?")
BATCH_ROWS = 1 << 12
"""Rows of one request: 4 MiB of vectors with 256 numbers, where servers take 64 MiB."""
MOST_FOUND = 1 << 14
"""Milvus returns no more neighbours of a query."""
MOST_NAMED = 1 << 12
"""Rows that a request names to leave them out."""
REFINE = 2
"""Times as many as are asked for are compared by the half floats."""
CONNECT_S, SEARCH_S = 5.0, 5.0
RETRY_S = 30.0
"""So long nobody waits for a Milvus that did not answer."""


def collection_of(generation_id: str) -> str:
    """The collection of a generation; Milvus takes letters, digits and underscores."""
    return f"{ALIAS}_{generation_id.replace('-', '_')}"


def connect(uri: str) -> Any:
    """A client of the Milvus at an address, or of milvus-lite in a file.

    Errors:  UsageError when it is no address, or pymilvus is not installed; NetworkError
    """
    if not uri.startswith(("http://", "https://")) and not uri.endswith(".db"):
        raise UsageError(
            f"{shown(uri)!r} is no address of a Milvus",
            "Expected is milvus:http://HOST:19530, with /DATABASE after it if you like.",
        )
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise UsageError(
            "pymilvus is not installed", "Install the extra: pip install 'toonsearch[milvus]'."
        ) from error
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # errors are raised as well
    with _told(uri):
        return MilvusClient(uri, token=os.environ.get(TOKEN, ""), timeout=CONNECT_S)


def shown(uri: str) -> str:
    """An address without the password that may stand in it."""
    return re.sub(r"//[^/]*@", "//", uri)


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """Whatever a client raises, as one line. Errors:  NetworkError"""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError, OSError, ValueError) as error:
        said = getattr(error, "message", "") or getattr(error, "details", str)() or str(error)
        why = " ".join(said.split())[:200] or type(error).__name__
        where = urlsplit(shown(uri)).netloc or uri
        raise NetworkError(
            f"Milvus at {where} failed ({why})",
            f"The local index answers; `toonsearch index export --to milvus:{shown(uri)}` brings"
            " Milvus up to it.",
        ) from error


class MilvusIndex(VectorIndex):
    """The index of a generation whose nearest vectors Milvus names. Several threads may search."""

    def __init__(self, local: VectorIndex, uri: str, collection: str) -> None:
        super().__init__(local._index, local._candidates, local.plan)
        self.uri, self.collection = uri, collection
        self._client: Any = None
        self._ask_again_s = 0.0

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        row_ids: np.ndarray | None = None,
        *,
        without: np.ndarray | None = None,
        exact: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `VectorIndex.search`. The local index answers where more is asked for than Milvus
        returns, and while it does not answer; `trouble` then says so."""
        if not exact and time.monotonic() >= self._ask_again_s:
            try:
                found = self.named(vectors, k, row_ids, without=without)
                self.trouble = ""
                if found is not None:
                    return found
            except NetworkError as error:
                self.trouble = f"{error.message}: the local index answered"
                self._ask_again_s = time.monotonic() + RETRY_S
        return super().search(vectors, k, row_ids, without=without, exact=exact)

    def named(
        self,
        vectors: np.ndarray,
        k: int,
        row_ids: np.ndarray | None = None,
        *,
        without: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """What Milvus finds, compared by the half floats; None where it cannot find enough.

        Shapes:  as `search`. Errors:  NetworkError
        """
        may, left = None, self.count  # places that may answer, and how many they are
        if row_ids is not None:
            may = np.zeros(self.count, bool)
            may[self._places(row_ids)] = True
        elif without is not None and len(without):
            may = np.ones(self.count, bool)
            may[self._places(without)] = False
        left = self.count if may is None else int(may.sum())
        k = min(k, left)
        limit, expression = REFINE * k, ""
        if may is not None and 0 < self.count - left <= MOST_NAMED:
            expression = f"id not in {self.row_ids[~may].tolist()}"
        elif may is not None:  # among so many more are as many as are asked for
            limit = ceil(limit * self.count / max(1, left))
        limit = min(limit, self.count)
        if k == 0 or limit > MOST_FOUND:
            return None
        similarity = np.empty((len(vectors), k), np.float32)
        ids = np.empty((len(vectors), k), np.int64)
        for row, found in enumerate(self._ask(vectors, limit, expression)):
            places = self._places(np.unique(found))
            places = places if may is None else places[may[places]]
            if len(places) < k:
                return None
            near = np.asarray(self.halves[places], np.float32) @ vectors[row]
            first = np.argsort(-near, kind="stable")[:k]
            similarity[row], ids[row] = within(near[first]), self.row_ids[places[first]]
        return similarity, ids

    def _ask(self, vectors: np.ndarray, limit: int, expression: str) -> Iterator[np.ndarray]:
        """Row ids that Milvus names, for each vector; Q times (L,) int64"""
        if self._client is None:
            self._client = connect(self.uri)
        with _told(self.uri):
            found = self._client.search(
                self.collection,
                data=list(np.asarray(vectors, np.float32)),
                limit=limit,
                filter=expression,
                output_fields=["id"],
                timeout=SEARCH_S,
                retry_times=0,
            )
        for hits in found:
            yield np.asarray([hit["id"] for hit in hits], np.int64)


@dataclass
class MilvusReport:
    """What Milvus holds now: nothing where nothing is published. `copied` says whether it was not
    there before, `recall` the measured share of the exact ten nearest that was found then."""

    generation_id: str | None
    collection: str | None
    copied: bool = False
    vectors_count: int = 0
    recall: float | None = None
    removed: list[str] = field(default_factory=list)


def follow(
    layout: Layout, settings: Settings, progress: Progress | None = None
) -> MilvusReport | None:
    """Bring Milvus to what is published, where `index.kind` names one.

    Errors:  as `export_index`
    """
    uri = settings.index.milvus
    return export_index(layout, settings.index, uri, progress) if uri else None


def export_index(
    layout: Layout, settings: IndexSettings, uri: str, progress: Progress | None = None
) -> MilvusReport:
    """Have Milvus hold the published generation and no other than those that are here: copy it
    unless it is there, check it, move the alias, and remove the rest. Needs the data root's lock.

    Errors:  UsageError, NetworkError; NoIndexError when the generation is damaged;
             PartlyDoneError when Milvus finds too little. The alias is then where it was.
    """
    client = connect(uri)
    current = current_generation_id(layout)
    report = MilvusReport(current, None if current is None else collection_of(current))
    with _told(uri):
        there = set(client.list_collections())
        for name in there:
            if name.endswith(PARTIAL) and _COLLECTION.fullmatch(name):
                client.drop_collection(name)  # of an export that was killed
        if current is None or report.collection is None:
            if ALIAS in client.list_aliases()["aliases"]:
                client.drop_alias(ALIAS)
        else:
            with Generation.open(layout, current) as generation:
                report.vectors_count = generation.pictures_count
                if report.collection not in there:
                    report.copied = True
                    report.recall = _copy(client, generation, settings, uri, progress)
            client.load_collection(report.collection)
            known = ALIAS in client.list_aliases()["aliases"]
            (client.alter_alias if known else client.create_alias)(report.collection, ALIAS)
        here = set(generation_ids(layout)) - BlockList.read(layout).refused
        kept = {collection_of(name) for name in here}
        for name in sorted(client.list_collections()):
            if name == report.collection or not _COLLECTION.fullmatch(name):
                continue
            if name in kept:
                client.release_collection(name)  # on its disk, for going back
            else:
                client.drop_collection(name)
                report.removed.append(name)
    return report


def _copy(
    client: Any,
    generation: Generation,
    settings: IndexSettings,
    uri: str,
    progress: Progress | None,
) -> float:
    """Fill a collection aside, check it, and give it its name; the recall measured."""
    from pymilvus import DataType

    name, index = collection_of(generation.id), generation.index
    aside = name + PARTIAL
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=index.dimension)
    how = client.prepare_index_params()
    how.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
    # Who writes sees what it wrote; who only reads, later, waits for nothing.
    client.create_collection(aside, schema=schema, index_params=how, consistency_level="Session")
    for start in range(0, index.count, BATCH_ROWS):
        stop = min(start + BATCH_ROWS, index.count)
        ids, vectors = index.row_ids[start:stop].tolist(), index.block(start, stop)
        rows = [{"id": n, "vector": v} for n, v in zip(ids, vectors, strict=True)]
        client.insert(aside, rows)
        if progress:
            progress(stop, index.count)
    client.flush(aside)
    client.load_collection(aside)
    stored = int(client.query(aside, filter="", output_fields=["count(*)"])[0]["count(*)"])
    if stored != index.count:
        raise ValueError(f"it holds {stored:,} of {index.count:,} vectors")
    recall = measured_recall(index, _Strict(index, uri, aside), settings)
    if recall < settings.min_recall:
        client.drop_collection(aside)
        raise PartlyDoneError(
            f"Milvus finds {recall:.4f} of the exact ten nearest, index.min_recall is"
            f" {settings.min_recall:g}",
            "Its alias was left as it was; the server's settings say what AUTOINDEX is.",
        )
    client.rename_collection(aside, name)
    return recall


class _Strict(MilvusIndex):
    """Answers from Milvus or not at all."""

    def search(
        self, vectors: np.ndarray, k: int, *_: Any, **__: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        found = self.named(vectors, k)
        if found is None:
            raise ValueError("it finds fewer vectors than it holds")
        return found

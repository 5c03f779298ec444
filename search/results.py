"""What is shown of the pictures and titles that were found, and the notes beside them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from indexer.vector_index.generations import Generation
from indexer.vector_index.metadata import CODES
from indexer.vector_index.ranking import CENTROID, RankedTitle, top_pictures, within
from schemas.records import Answer, Hit, Labels, Panel, TitleHit

HITS_PER_TITLE = 3
"""Pictures shown as evidence: as many as the score of a title uses."""


class PictureRow(NamedTuple):
    """One picture of one title; `codes` are its labels, in the order of LABEL_KINDS."""

    row_id: int
    picture_id: str
    title_id: str
    year: int | None
    file: str | None
    source_path: str | None
    panel: str | None
    episode_no: int | None
    episode_url: str | None
    codes: tuple[int, ...]


@dataclass(frozen=True)
class Scale:
    """How large a similarity is: as a percentile, and in words for a picture or a title."""

    percentile: Callable[[np.ndarray], np.ndarray]
    closeness: Callable[[float, str], str] = lambda similarity, by: ""


class Found(NamedTuple):
    """A list of neighbours with what is known about them, nearest first.

    Shapes:  similarity and passed (K,); K rows
    """

    similarity: np.ndarray
    passed: np.ndarray
    rows: Sequence[PictureRow]
    scale: Scale

    @property
    def title_ids(self) -> np.ndarray:
        return np.asarray([row.title_id for row in self.rows], dtype=np.str_)

    @property
    def picture_ids(self) -> np.ndarray:
        return np.asarray([row.picture_id for row in self.rows], dtype=np.str_)

    def hit(self, place: int, *, expanded: bool = False) -> Hit:
        row, similarity = self.rows[place], float(self.similarity[place])
        return Hit(
            picture_id=row.picture_id,
            title_id=row.title_id,
            similarity=similarity,
            percentile=float(self.scale.percentile(np.asarray(similarity))),
            file=row.file,
            source_path=row.source_path,
            year=row.year,
            closeness=self.scale.closeness(similarity, "picture"),
            expanded=expanded,
            panel=Panel.of_text(row.panel),
            episode_no=row.episode_no,
            episode_url=row.episode_url,
        )


def picture_rows(meta: sqlite3.Connection, row_ids: np.ndarray) -> list[PictureRow]:
    """The rows of these ids, in their order, in one statement.

    Shapes:  row_ids (K,) int64 -> K rows
    """
    cursor = meta.execute(
        "select row_id, picture_id, title_id, p.year, file, source_path, panel, episode_no,"
        f" episode_url, {', '.join(CODES)}"
        " from json_each(?) j join pictures p on p.row_id = j.value join titles using (title_no)",
        (json.dumps(row_ids.tolist()),),
    )
    known = {values[0]: PictureRow._make((*values[:9], values[9:])) for values in cursor}
    return [known[row_id] for row_id in row_ids.tolist()]


def centroid_similarity(
    generation: Generation, vector: np.ndarray, titles: np.ndarray
) -> dict[str, float]:
    """How near the centroid of each title is (a cosine).

    Shapes:  vector (D,), titles (K,) str, repeatedly
    """
    found = generation.meta.execute(
        "select t.title_id, c.vector from json_each(?) j join titles t on t.title_id = j.value"
        " join centroids c using (title_no)",
        (json.dumps(sorted(set(titles.tolist()))),),
    ).fetchall()
    near = np.frombuffer(b"".join(blob for _, blob in found), CENTROID).astype(np.float32)
    cosines = within(near.reshape(len(found), generation.dimension) @ vector)
    return dict(zip((name for name, _ in found), cosines.tolist(), strict=True))


def title_hits(
    meta: sqlite3.Connection, found: Found, ranked: Sequence[RankedTitle]
) -> tuple[TitleHit, ...]:
    """Ranked titles with their names and the pictures that carried them."""
    cursor = meta.execute(
        "select title_id, name, authors, genres, year, url from titles"
        " where title_id in (select value from json_each(?))",
        (json.dumps([title.title_id for title in ranked]),),
    )
    facts = {values[0]: values[1:] for values in cursor}
    hits = []
    for rank, title in enumerate(ranked, 1):
        name, authors, genres, year, url = facts[title.title_id]
        carried = tuple(found.hit(place) for place in title.places[:HITS_PER_TITLE])
        hits.append(
            TitleHit(
                rank=rank,
                title_id=title.title_id,
                name=name or title.title_id,
                authors=tuple(json.loads(authors)),
                genres=tuple(json.loads(genres)),
                year=year,
                url=url,
                similarity=title.score,
                percentile=float(found.scale.percentile(np.asarray(title.score))),
                hits=carried,
                closeness=found.scale.closeness(title.score, "title"),
            )
        )
    return tuple(hits)


def share_below(all_scores: np.ndarray) -> Scale:
    """A score's percentile among those of all pictures; (N,)"""
    ascending = np.sort(all_scores)

    def percentile_of(score: np.ndarray) -> np.ndarray:
        found = np.searchsorted(ascending, score, "left")
        return np.asarray(100.0 * found / max(1, len(ascending)))

    return Scale(percentile_of)


def answer_without_style(
    generation: Generation,
    asked: str,
    found: Found,
    ranked: Sequence[RankedTitle],
    notes: Sequence[str],
    *,
    k: int,
    by: str,
    count: int,
    started: float,
) -> Answer:
    """What was found by words or colours, titles ranked already; `count` pictures could have been."""
    places: list[int] = []
    if by == "picture":
        places = top_pictures(found.similarity, found.picture_ids, found.title_ids, found.passed, k)
        named = {found.rows[place].title_id for place in places}
        ranked = [title for title in ranked if title.title_id in named]
    return Answer(
        titles=title_hits(generation.meta, found, ranked[:k]),
        pictures=tuple(found.hit(place) for place in places),
        labels=Labels(),
        generation_id=generation.id,
        model_id=generation.model_id,
        preprocessing=generation.preprocessing_digest,
        pictures_count=generation.pictures_count,
        candidates_count=count,
        elapsed_ms=(time.perf_counter() - started) * 1000.0,
        queries=(asked,),
        notes=tuple(notes),
    )


def titles_holding(meta: sqlite3.Connection, picture_ids: Sequence[str]) -> dict[str, str]:
    """Titles that hold any of these pictures: id -> main author, or "" without one."""
    cursor = meta.execute(
        "select distinct t.title_id, t.author from pictures p join titles t using (title_no)"
        " where p.picture_id in (select value from json_each(?)) order by 1",
        (json.dumps(list(picture_ids)),),
    )
    return {title_id: author or "" for title_id, author in cursor}


def same_author(labels: Labels, own: Mapping[str, str]) -> list[str]:
    """Who drew the query: known if the index holds it, else the most probable artist."""
    known = sorted({author for author in own.values() if author})
    return known or [author.label for author in labels.authors[:1]]


def notes_of(
    *,
    own: Mapping[str, str],
    same: Sequence[str],
    wanted_others: bool,
    left: int,
    total: int,
    shown: int,
    k: int,
    by: str,
) -> Iterator[str]:
    """What a reader should know before trusting the list.

    `own` and `same` are titles and authors that the query itself is of, `wanted_others` that the
    latter were to be left out; the filters left `left` of `total` pictures. `k` is how many were
    asked for, 0 when no number was.
    """
    if own:
        yield f"the picture itself is in the index ({', '.join(own)})"
    if same:
        yield f"left out: pictures by {', '.join(same)}"
    elif wanted_others:
        yield "no artist is known that could be left out"
    if left < total:
        yield f"the filters left {left:,} of {total:,} pictures"
    if shown < k:
        yield f"{shown} of the {k} {by}s asked for were found"

"""Answers as data: JSON, JSON lines, CSV and bare paths, for programs and pipes."""

from __future__ import annotations

import json
from typing import Any, TextIO

from schemas.layout import Layout
from schemas.records import Answer, Hit, TitleHit

CSV_COLUMNS = (
    "rank", "title_id", "title", "authors", "genres", "year", "score", "similarity",
    "percentile", "picture_id", "path", "url",
)  # fmt: skip


def write_json(out: TextIO, answer: Answer, by: str, layout: Layout) -> None:
    """One object: the query, its hits and its labels."""
    json.dump(body(answer, by, layout), out, ensure_ascii=False, indent=2, allow_nan=False)
    out.write("\n")


def body(answer: Answer, by: str, layout: Layout | None) -> dict[str, Any]:
    """The answer as plain values; without a layout, nothing says where files lie."""
    return {
        "query": {
            "pictures": list(answer.queries),
            "by": by,
            "generation": answer.generation_id,
            "model": answer.model_id,
            "preprocessing": answer.preprocessing,
            "pictures_count": answer.pictures_count,
            "candidates_count": answer.candidates_count,
            "elapsed_ms": round(answer.elapsed_ms, 3),
            "notes": list(answer.notes),
        },
        f"{by}s": hits(answer, by, layout),
        "labels": {
            "authors": _labels(answer.labels.authors),
            "unknown_author": _short(answer.labels.unknown_author),
            "genres": _labels(answer.labels.genres),
            "eras": _labels(answer.labels.eras),
            "foreign": _short(answer.labels.foreign),
        },
    }


def write_lines(out: TextIO, answer: Answer, by: str, layout: Layout) -> None:
    """One object for each hit, one a line."""
    for hit in hits(answer, by, layout):
        out.write(json.dumps(hit, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(out: TextIO, answer: Answer, by: str, layout: Layout | None) -> None:
    """A header and one row for each hit; several authors or genres are joined by `; `."""
    import csv

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for hit in hits(answer, by, layout):
        best = hit["pictures"][0] if by == "title" else hit
        row = {**hit, **{key: best.get(key) for key in ("picture_id", "path")}}
        row["authors"], row["genres"] = "; ".join(row["authors"]), "; ".join(row["genres"])
        writer.writerow(["" if row.get(name) is None else row[name] for name in CSV_COLUMNS])


def write_paths(out: TextIO, answer: Answer, by: str, layout: Layout, end: str) -> None:
    """The stored file of each hit's best picture."""
    best = [title.hits[0] for title in answer.titles] if by == "title" else answer.pictures
    for hit in best:
        if hit.file is not None:
            out.write(f"{layout.picture(hit.file)}{end}")


def hits(answer: Answer, by: str, layout: Layout | None) -> list[dict[str, Any]]:
    """The hits as plain values: titles with their pictures, or pictures with their title."""
    if by == "title":
        return [
            {
                "rank": title.rank,
                **_title(title),
                "score": _short(title.score),
                "similarity": _short(title.similarity),
                "percentile": _short(title.percentile),
                "pictures": [_picture(hit, layout) for hit in title.hits],
            }
            for title in answer.titles
        ]
    title_of = {title.title_id: title for title in answer.titles}
    return [
        {"rank": rank, **_picture(hit, layout), **_title(title_of[hit.title_id], hit.year)}
        for rank, hit in enumerate(answer.pictures, 1)
    ]


def _title(title: TitleHit, year: int | None = None) -> dict[str, Any]:
    return {
        "title_id": title.title_id,
        "title": title.name,
        "authors": list(title.authors),
        "genres": list(title.genres),
        "year": year if year is not None else title.year,
        "url": title.url,
    }


def _picture(hit: Hit, layout: Layout | None) -> dict[str, Any]:
    known = {
        "picture_id": hit.picture_id,
        "similarity": _short(hit.similarity),
        "percentile": _short(hit.percentile),
    }
    if layout is not None:
        known["path"] = None if hit.file is None else str(layout.picture(hit.file))
        known["source_path"] = hit.source_path
    return {**known, "year": hit.year}


def _labels(labels: Any) -> list[dict[str, Any]]:
    return [{"label": one.label, "probability": _short(one.probability)} for one in labels]


def _short(value: float) -> float:
    """Six digits: more than the stored half floats carry."""
    return round(float(value), 6)

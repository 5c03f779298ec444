"""Arrow schemas of the catalog's Delta tables: columns, types, keys and what they mean.

Delta Lake knows no half floats, so vectors are stored as float32 lists whose values were
rounded to float16 first: any engine can read them, and compression gets the zeros back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from schemas.records import LABEL_KINDS

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class TableSpec:
    """A table: what it holds, its key, and its columns in order."""

    name: str
    comment: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


def _table(
    name: str, comment: str, key: tuple[str, ...], *columns: tuple[str, str, str]
) -> TableSpec:
    return TableSpec(name, comment, key, tuple(Column(*column) for column in columns))


TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        _table(
            "titles",
            "A webtoon, album or book.",
            ("title_id",),
            ("title_id", "string", "platform:id"),
            ("platform", "string", "where the title comes from"),
            ("name", "string", "display name"),
            ("authors", "authors", "people with their role, main author first"),
            ("genres", "strings", "genres, main one first"),
            ("tags", "strings", "other labels"),
            ("year", "int32", "year of first publication or drawing"),
            ("synopsis", "string", "the platform's own text"),
            ("age_rating", "string", "the platform's code"),
            ("star_score", "double", "mean score on the platform's scale"),
            ("first_date", "date", "first episode"),
            ("last_date", "date", "latest episode"),
            ("finished", "bool", "no more episodes are expected"),
            ("url", "string", "page of the title"),
            ("crawled_at", "timestamp", "when this row was written (UTC)"),
        ),
        _table(
            "episodes",
            "Episodes of titles.",
            ("title_id", "episode_no"),
            ("title_id", "string", "the title"),
            ("episode_no", "int32", "the platform's number"),
            ("name", "string", "display name"),
            ("published", "date", "publication date"),
            ("star_score", "double", "mean score"),
            ("url", "string", "page of the episode"),
        ),
        _table(
            "pictures",
            "Every picture that was brought in, stored or not, and why not.",
            ("picture_id", "title_id"),
            ("picture_id", "string", "SHA-256 of the bytes, or missing-<hash of the path>"),
            ("title_id", "string", "the title it belongs to"),
            ("kind", "string", "thumbnail, cover, picture, strip (a slice of one) or page"),
            ("episode_no", "int32", "episode, for thumbnails and strips"),
            ("source", "string", "the import or site that brought it"),
            ("source_path", "string", "path inside the import, or URL"),
            ("source_stamp", "string", "size and mtime, or ETag: unchanged means not read"),
            ("file", "string", "stored file, relative to pictures/"),
            ("format", "string", "PNG, JPEG, WEBP or GIF"),
            ("width_px", "int32", "as stored"),
            ("height_px", "int32", "as stored"),
            ("bytes_count", "int64", "as stored"),
            ("perceptual_hash", "string", "64-bit DCT hash, 16 hex digits"),
            ("year", "int32", "year of this picture, where it differs from the title's"),
            ("published", "date", "publication date, where known"),
            ("fetched_at", "timestamp", "when this row was written (UTC)"),
            ("status", "string", "stored, skipped or failed"),
            ("reason", "string", "why it was skipped or failed"),
        ),
        _table(
            "strips",
            "Strips and pages that were cut into panels, or tried; a cut one is not itself searched.",
            ("strip_id", "title_id"),
            ("strip_id", "string", "its picture's id, or of several pictures a hash of theirs"),
            ("title_id", "string", "the title it belongs to"),
            ("episode_no", "int32", "episode, where known"),
            ("source_path", "string", "where its pictures came from: their folder, path or URL"),
            ("parents", "strings", "ids of its pictures, in order"),
            ("width_px", "int32", "of the joined strip"),
            ("height_px", "int32", "of the joined strip"),
            ("panels_count", "int32", "panels found"),
            ("left_out", "string", "JSON list of what is drawn but no panel: what, box"),
            ("notes", "strings", "what had to be done about its pictures"),
            ("cutter", "string", "version of the cutter"),
            ("cut_at", "timestamp", "when this row was written (UTC)"),
            ("status", "string", "cut, whole or failed; only what is cut is not itself searched"),
            ("reason", "string", "why it is not cut"),
        ),
        _table(
            "panels",
            "Panels of strips and pages: boxes of stored pictures, searched in their place.",
            ("picture_id", "title_id"),
            ("picture_id", "string", "hash of the parts of pictures that it shows, and the cutter"),
            ("title_id", "string", "the title it belongs to"),
            ("strip_id", "string", "the strip or page that it was cut from"),
            ("order_no", "int32", "place in the strip, from 1, as it is read"),
            ("box", "ints", "left, top, width and height in the strip, in pixels"),
            ("slices", "parts", "its part of each picture, with the box there"),
            ("border", "string", "what bounds it: gutter, line, frame or ink"),
            ("confidence", "double", "how sure the cutter is, 0-1"),
            ("perceptual_hash", "string", "64-bit DCT hash, 16 hex digits"),
            ("cutter", "string", "version of the cutter"),
            ("status", "string", "stored, skipped or failed"),
            ("reason", "string", "why it was skipped or failed"),
        ),
        _table(
            "vectors",
            "Style vectors: unit length, so that their inner product is the cosine.",
            ("picture_id", "model_id"),
            ("picture_id", "string", "the picture"),
            ("model_id", "string", "the encoder that made it"),
            ("preprocessing", "string", "digest of the pixel preparation"),
            ("vector", "floats", "unit vector, values rounded to float16"),
            ("ood", "float", "out-of-distribution score, about 1 for training pictures"),
        ),
        _table(
            "subjects",
            "Subject vectors: what a picture shows, in whatever style; unit length.",
            ("picture_id", "model_id"),
            ("picture_id", "string", "the picture"),
            ("model_id", "string", "the model that made it"),
            ("preprocessing", "string", "digest of the pixel preparation"),
            ("vector", "floats", "unit vector, values rounded to float16"),
        ),
        _table(
            "predictions",
            "What a model says of a picture, its own title hidden from it.",
            ("picture_id", "model_id"),
            ("picture_id", "string", "the picture"),
            ("model_id", "string", "the model"),
            *(
                (kind.column, "probabilities", f"five most probable {kind.column}")
                for kind in LABEL_KINDS.values()
            ),
            ("unknown_author", "double", "probability that nobody in the catalog drew it"),
        ),
        _table(
            "colors",
            "Three dominant colours of each of six regions of a picture.",
            ("picture_id", "region", "rank"),
            ("picture_id", "string", "the picture"),
            ("region", "int32", "cell 0-5 of the 3 x 2 grid"),
            ("rank", "int32", "0-2, largest share first"),
            ("r", "int32", "red 0-255"),
            ("g", "int32", "green 0-255"),
            ("b", "int32", "blue 0-255"),
            ("h", "double", "hue 0-360"),
            ("s", "double", "saturation 0-1"),
            ("v", "double", "value 0-1"),
            ("share", "double", "share of the region 0-1"),
        ),
        _table(
            "crawl_state",
            "What the crawler knows of each title of a site, fetched or not.",
            ("title_id",),
            ("title_id", "string", "the title, or one that could not be fetched"),
            ("site", "string", "the site that lists it"),
            ("name", "string", "as the site's list shows it"),
            ("status", "string", "done, partial, skipped or failed"),
            ("reason", "string", "why it is not done"),
            ("finished", "bool", "no more episodes are expected"),
            ("episodes_count", "int32", "episodes on the site"),
            ("last_date", "date", "latest episode"),
            ("etag", "string", "of the newest page of episodes"),
            ("last_modified", "string", "of the newest page of episodes"),
            ("about", "string", "JSON that the site's module needs for its next crawl"),
            ("checked_at", "timestamp", "when the site was last crawled (UTC)"),
        ),
        _table(
            "runs",
            "Commands that wrote, and how they ended.",
            ("run_id",),
            ("run_id", "string", "start time and a random part"),
            ("command", "string", "the sub-command"),
            ("started", "timestamp", "UTC"),
            ("ended", "timestamp", "UTC"),
            ("counts", "string", "JSON object of counts by status"),
            ("settings", "string", "digest of the settings"),
            ("outcome", "string", "done, partly, failed or interrupted"),
        ),
    )
}


SQL_TYPES = {
    "string": "VARCHAR",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "strings": "VARCHAR[]",
    "floats": "FLOAT[]",
    "ints": "INTEGER[]",
    "authors": "STRUCT(name VARCHAR, role VARCHAR)[]",
    "parts": "STRUCT(picture_id VARCHAR, file VARCHAR, box INTEGER[])[]",
    "probabilities": "STRUCT(label VARCHAR, probability DOUBLE)[]",
}
"""DuckDB's type of each column type; times are shown in UTC."""


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def table_sql(table: str, files: Sequence[str], public: bool = False) -> str:
    """A select over the Parquet files of one version of a table, or over nothing.

    With `public`, absolute paths of imported files are cut to their names.
    """
    columns = TABLES[table].columns
    if not files:
        typed = ", ".join(f'null::{SQL_TYPES[c.type]} as "{c.name}"' for c in columns)
        return f"select {typed} where false"
    selected = ", ".join(_column_sql(c, public) for c in columns)
    listed = ", ".join(quoted(file) for file in files)
    return f"select {selected} from read_parquet([{listed}])"


def _column_sql(column: Column, public: bool) -> str:
    if column.type == "timestamp":  # without pytz, DuckDB's client knows no zones
        return f"timezone('UTC', {column.name}) as {column.name}"
    if public and column.name in ("source", "source_path"):  # "folder:/home/me/x" -> "folder:x"
        return rf"regexp_replace({column.name}, '(^|:)/([^/].*)?/', '\1', 's') as {column.name}"
    if public and column.name == "counts":  # of runs, as JSON
        return rf"regexp_replace({column.name}, '/([^\"/]+/)+', '', 'g') as {column.name}"
    return f'"{column.name}"'


@cache
def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a catalog table."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "strings": pa.list_(pa.string()),
        "floats": pa.list_(pa.float32()),
        "ints": pa.list_(pa.int32()),
        "authors": pa.list_(pa.struct([("name", pa.string()), ("role", pa.string())])),
        "parts": pa.list_(
            pa.struct(
                [("picture_id", pa.string()), ("file", pa.string()), ("box", pa.list_(pa.int32()))]
            )
        ),
        "probabilities": pa.list_(
            pa.struct([("label", pa.string()), ("probability", pa.float64())])
        ),
    }
    return pa.schema(
        [(c.name, types.get(c.type) or pa.type_for_alias(c.type)) for c in TABLES[table].columns]
    )

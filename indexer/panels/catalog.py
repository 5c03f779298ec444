"""What of the catalog is searched: pictures, and panels in place of what they were cut from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from schemas.records import Panel, Row
from schemas.storage.catalog import Catalog

if TYPE_CHECKING:
    import pyarrow as pa

INDEXED_TABLES = ("titles", "pictures", "panels", "vectors", "subjects")
"""The tables whose versions say whether an index is of today. `strips` is not among them: what is
cut or no strip any more changes `panels` as well, and the other rows change nothing."""


def searched(
    catalog: Catalog,
    columns: Sequence[str],
    ids: pa.Array | None = None,
    *,
    places: bool = True,
) -> pa.Table:
    """Rows of `pictures` without those that were cut, and in their place a row for each panel:
    the columns asked for, and `panel`, which is null for pictures (`Panel.to_text`). A panel has
    file, year, episode and the like from the first picture that it is part of.

    A strip counts while all its pictures are stored. `ids` leaves only the rows of these ids;
    without `places` the column `panel` is "" for panels, which is faster.

    Errors:  InputError when a table cannot be read
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names = list(dict.fromkeys((*columns, "picture_id", "title_id", "status")))
    pictures = catalog.read("pictures", names)
    strips = catalog.read("strips", ["strip_id", "title_id", "parents", "status"])
    strips = strips.filter(pc.equal(strips["status"], "cut")).combine_chunks()
    cut_ids = panels = None
    if strips.num_rows:
        keys = _keys(pictures["title_id"], pictures["picture_id"])
        stored = keys.filter(pc.equal(pictures["status"], "stored"))
        parents = strips["parents"].combine_chunks()
        of_strip = pc.list_parent_indices(parents)
        cut_keys = _keys(strips["title_id"].take(of_strip), pc.list_flatten(parents))
        lost = of_strip.filter(pc.invert(pc.is_in(cut_keys, stored)))
        is_whole = pc.invert(pc.is_in(pa.array(range(strips.num_rows), lost.type), lost))
        strips = strips.filter(is_whole)
        cut_ids = cut_keys.filter(is_whole.take(of_strip))
        panels = _panel_rows(catalog, strips, pictures, keys, ids, places)
        pictures = pictures.filter(pc.invert(pc.is_in(keys, cut_ids)))
    if ids is not None:
        pictures = pictures.filter(pc.is_in(pictures["picture_id"], ids))
    pictures = pictures.append_column("panel", pa.nulls(pictures.num_rows, pa.string()))
    if panels is not None:
        pictures = pa.concat_tables([pictures, panels.select(pictures.column_names)])
    return pictures.select(list(dict.fromkeys((*columns, "panel"))))


def reading_order(row: Row) -> tuple[str, int, str]:
    """Sorts rows so that panels of a strip follow each other as they are read."""
    panel = Panel.of_text(row["panel"])
    if panel is None:
        return row["picture_id"], 0, ""
    return panel.strip_id, panel.order, row["picture_id"]


def _panel_rows(
    catalog: Catalog,
    strips: pa.Table,
    pictures: pa.Table,
    keys: pa.ChunkedArray,
    ids: pa.Array | None,
    places: bool,
) -> pa.Table:
    """Panels of these strips in the columns of `pictures`, and `panel`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    panels = catalog.read("panels")
    known = pc.is_in(
        _keys(panels["title_id"], panels["strip_id"]), _keys(strips["title_id"], strips["strip_id"])
    )
    if ids is not None:
        known = pc.and_(known, pc.is_in(panels["picture_id"], ids))
    panels = panels.filter(known).combine_chunks()
    first = pc.struct_field(pc.list_element(panels["slices"], 0), "picture_id")
    rows = pictures.take(pc.index_in(_keys(panels["title_id"], first), keys))
    own: dict[str, Any] = {
        "kind": pa.array(["panel"] * panels.num_rows, pa.string()),
        "width_px": pc.list_element(panels["box"], 2),
        "height_px": pc.list_element(panels["box"], 3),
        "bytes_count": pa.nulls(panels.num_rows, pa.int64()),
        **{name: panels[name] for name in ("picture_id", "perceptual_hash", "status", "reason")},
    }
    for at, name in enumerate(rows.column_names):
        if name in own:
            rows = rows.set_column(at, pictures.schema.field(name), own[name])
    texts = [""] * panels.num_rows
    if places:
        texts = [Panel.of_row(row).to_text() for row in panels.to_pylist()]
    return rows.append_column("panel", pa.array(texts, pa.string()))


def _keys(titles: Any, others: Any) -> Any:
    """One text for the title and the id of each row."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(titles, others, "\n")

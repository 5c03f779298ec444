"""What goes into an index."""

from __future__ import annotations

from pathlib import Path

from indexer.embedding.embed import open_encoder
from indexer.vector_index.metadata import author_names, collect_rows
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.catalogs import SETTINGS, fill_catalog


def test_spellings_of_one_author_are_one_label(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "root")
    fill_catalog(layout, authors=2, titles=3, pictures=1)
    catalog, encoder = Catalog(layout), open_encoder(SETTINGS)
    titles = catalog.read("titles").to_pylist()
    titles[0]["authors"] = [{"name": "ＡＵＴＨＯＲ  0", "role": "author"}]
    catalog.upsert("titles", titles[:1])
    rows = collect_rows(catalog, encoder.model_id, encoder.preprocessing_digest)
    names = {name for title in rows.titles.values() for name in author_names(title)}
    assert names == {"Author 0", "Author 1"}

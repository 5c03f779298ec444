"""What goes into an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.embed import open_encoder
from indexer.vector_index import metadata
from indexer.vector_index.metadata import collect_rows
from schemas.records import author_names
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


def test_pictures_are_named_from_the_root_on_where_their_source_is_a_path(tmp_path: Path) -> None:
    catalog, encoder = Catalog(Layout(tmp_path)), open_encoder(SETTINGS)
    fill_catalog(catalog.layout, authors=1, titles=1, pictures=5)
    pictures = catalog.read("pictures").to_pylist()
    named = [("folder:/my/art", "Kim/1.png", "/my/art/Kim/1.png"),
             ("manifest:/my/list.csv", "art/2.png", "/my/art/2.png"),
             ("manifest:/my/list.csv", "/else/3.png", "/else/3.png"),
             ("folder:mine", "Kim/4.png", "Kim/4.png"),
             ("naver", "https://example.org/5.png", "https://example.org/5.png")]  # fmt: skip
    for row, (source, path, _) in zip(pictures, named, strict=True):
        row |= {"source": source, "source_path": path}
    catalog.delete("pictures", "picture_id", [row["picture_id"] for row in pictures])
    catalog.upsert("pictures", pictures)
    rows = collect_rows(catalog, encoder.model_id, encoder.preprocessing_digest)
    assert {row["source_path"] for row in rows.pictures} == {whole for *_, whole in named}


def test_vectors_that_do_not_fit_into_memory_are_put_together_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=2, titles=2, pictures=4)
    encoder, catalog = open_encoder(SETTINGS), Catalog(layout)
    model = encoder.model_id, encoder.preprocessing_digest
    wanted = collect_rows(catalog, *model)
    monkeypatch.setattr(metadata, "HELD_BYTES", 2 * encoder.dimension * 5)  # five at a time
    found = collect_rows(catalog, *model)
    assert np.array_equal(found.vectors, wanted.vectors) and len(wanted.vectors) == 16
    assert isinstance(found.vectors.base, np.memmap)
    assert not list(layout.staging.iterdir())

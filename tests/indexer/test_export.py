"""An export is whole, described, and never replaces what is not one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crawler.importers.folder import import_folder
from indexer.export import export_catalog
from schemas.errors import InputError, UsageError
from schemas.settings import Settings, load_settings
from schemas.storage.snapshot import all_views
from tests.drawings import draw_folder
from tests.small_model import ENVIRON


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    place = tmp_path_factory.mktemp("export")
    made = load_settings({"store.root": str(place / "data")}, environ=ENVIRON, cwd=place)
    import_folder(made.layout, made, draw_folder(place / "drawings", hands=2, titles=1))
    return made


def test_files_and_dictionary(settings: Settings, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    report = export_catalog(settings.layout, tmp_path / "out")
    assert set(report.rows) == set(all_views())
    assert report.rows["pictures"] == report.rows["catalog"] == 8
    for name, rows in report.rows.items():
        table = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert table.num_rows == rows
        assert table.column_names == [column for column, _ in all_views()[name].columns]
    found = json.loads((tmp_path / "out" / "dictionary.json").read_text())
    columns = found["files"]["titles.parquet"]["columns"]
    assert columns[0] == {"name": "title_id", "type": "VARCHAR", "comment": "platform:id"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_leads_to_what_is_replaced(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("2026")
    for _ in range(2):
        export_catalog(settings.layout, tmp_path / "latest", views=False, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026", "latest"]
    assert (tmp_path / "latest").is_symlink() and (tmp_path / "2026/README.md").is_file()


def test_replaces_only_exports(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_catalog(settings.layout, out, views=False)
    with pytest.raises(UsageError, match="not empty"):
        export_catalog(settings.layout, out)
    export_catalog(settings.layout, out, force=True)
    (out / "thesis.docx").write_text("mine")
    with pytest.raises(UsageError, match="not an export"):
        export_catalog(settings.layout, out, force=True)
    assert (out / "thesis.docx").read_text() == "mine"
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "README.md").write_text("mine")  # an export has one as well
    with pytest.raises(UsageError, match="not an export"):
        export_catalog(settings.layout, notes, force=True)
    with pytest.raises(UsageError, match="not a folder"):
        export_catalog(settings.layout, notes / "README.md", force=True)
    assert (notes / "README.md").read_text() == "mine"
    root = settings.layout.root
    (tmp_path / "link").symlink_to(root)
    for folder in (root, root.parent, root / "pictures/new", root / "models", tmp_path / "link"):
        with pytest.raises(UsageError, match="catalog"):
            export_catalog(settings.layout, folder, force=True)
    with pytest.raises(InputError, match="does not exist"):
        export_catalog(settings.layout, tmp_path / "no" / "where")

"""Taking an import back: what was before is there again, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crawler.importers import ingest
from crawler.importers.folder import import_folder
from crawler.importers.history import find_import, imports, undo_import
from schemas.blocklist import BlockList
from schemas.errors import InputError
from schemas.settings import Settings
from schemas.storage.catalog import Catalog, maintain
from schemas.storage.layout import Layout
from tests.fuzz.trees import picture

SETTINGS = Settings()


def fill(root: Path, **pictures: int) -> Path:
    """Pictures Kim/one/<name>.png, by their seeds."""
    for name, seed in pictures.items():
        path = root / f"Kim/{name[0]}/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    return root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def contents(layout: Layout) -> list[list[dict[str, Any]]]:
    tables = (Catalog(layout).read(name).to_pylist() for name in ("pictures", "titles"))
    return [sorted(rows, key=str) for rows in tables]


def undo(layout: Layout, source: Path | str | None = None, **how: bool) -> dict[str, int]:
    run = find_import(Catalog(layout), None if source is None else str(source))
    return undo_import(layout, run, **how).counts


def test_each_undo_goes_one_import_back(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", a1=1, a2=2, b1=3)
    import_folder(layout, SETTINGS, root)
    first = contents(layout)
    fill(root, a2=20, c1=4)
    (root / "Kim/b/b1.png").unlink()
    import_folder(layout, SETTINGS, root)
    second = contents(layout)
    assert second != first
    counts = undo(layout, root, dry_run=True)
    assert contents(layout) == second
    assert undo(layout, root) == counts
    assert counts == {"removed": 2, "restored": 2, "titles_removed": 1, "titles_restored": 0,
                      "files_gone": 0}  # fmt: skip
    assert contents(layout) == first
    undo(layout)
    assert contents(layout) == [[], []]
    with pytest.raises(InputError, match="no import"):
        undo(layout)
    import_folder(layout, SETTINGS, root)
    assert len(contents(layout)[0]) == 3


def test_other_sources_stay(layout: Layout, tmp_path: Path) -> None:
    import_folder(layout, SETTINGS, fill(tmp_path / "one", a1=1, a2=2))
    import_folder(layout, SETTINGS, fill(tmp_path / "two", a1=1, a3=3), name="mine")
    with pytest.raises(InputError, match="mine"):
        undo(layout, "minn")
    undo(layout, tmp_path / "one")
    assert {row["source"] for row in contents(layout)[0]} == {"folder:mine"}
    undo(layout, "mine")
    assert contents(layout) == [[], []]


def test_a_killed_import_and_its_end_are_one(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "in", a1=1)
    import_folder(layout, SETTINGS, root)
    first = contents(layout)
    fill(root, b1=2, b2=3, b3=4)
    monkeypatch.setattr(ingest, "COMMIT_ROWS", 1)
    real = ingest.check_and_store

    def killed(*given: Any) -> Any:
        if len(list(layout.pictures.rglob("*.png"))) == 3:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(ingest, "check_and_store", killed)
        import_folder(layout, SETTINGS, root)
    assert len(contents(layout)[0]) == 3
    assert import_folder(layout, SETTINGS, root).counts["new"] == 2 - 1
    assert len(imports(Catalog(layout))) == 2
    undo(layout)
    assert contents(layout) == first


def test_an_import_that_was_killed_after_its_last_picture_is_ended_by_the_next(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "in", a1=1)
    real, calls = Catalog.upsert, []

    def upsert(self: Catalog, table: str, rows: Any, **more: Any) -> None:
        calls.append(table)
        if calls.count("runs") == 2:
            raise KeyboardInterrupt
        real(self, table, rows, **more)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(Catalog, "upsert", upsert)
        import_folder(layout, SETTINGS, root)
    first = contents(layout)
    assert import_folder(layout, SETTINGS, root).counts["unchanged"] == len(first[0]) == 1
    assert not imports(Catalog(layout))[0].is_interrupted
    import_folder(layout, SETTINGS, fill(root, b1=2))
    undo(layout)
    assert contents(layout) == first, "only the last import is taken back"


def test_a_killed_undo_is_finished_by_the_next(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "in", a1=1)
    import_folder(layout, SETTINGS, root)
    first = contents(layout)
    import_folder(layout, SETTINGS, fill(root, a1=10, b1=2))
    real = Catalog.upsert
    for stop in ("titles", "runs"):

        def upsert(self: Catalog, table: str, rows: Any, _stop: str = stop, **more: Any) -> None:
            if table == _stop:
                raise KeyboardInterrupt
            real(self, table, rows, **more)

        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(Catalog, "upsert", upsert)
            undo(layout)
    undo(layout)
    assert contents(layout) == first
    assert len(imports(Catalog(layout))) == 1


def test_what_was_cleared_away_is_said(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", a1=1)
    import_folder(layout, SETTINGS, root)
    import_folder(layout, SETTINGS, fill(root, b1=2))
    maintain(layout)  # an ordinary night keeps what undoing needs
    undo(layout, dry_run=True)
    before = contents(layout)
    maintain(layout, keep_history=False)
    with pytest.raises(InputError, match="was cleared away"):
        undo(layout)
    assert contents(layout) == before


def test_what_cannot_be_reached_was_not_cleared_away(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", a1=1)
    import_folder(layout, SETTINGS, root)
    catalog = Catalog(layout)
    old = set(catalog.files("pictures"))
    import_folder(layout, SETTINGS, fill(root, a1=10))
    for file in map(Path, old - set(catalog.files("pictures"))):
        file.unlink()
        file.symlink_to(file)  # the system refuses it, as it does what another user owns
    with pytest.raises(InputError, match="Too many levels"):
        undo(layout)


def test_what_was_forgotten_stays_forgotten(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", a1=1, b1=2)
    import_folder(layout, SETTINGS, root, name="mine")
    for path in root.rglob("*.png"):
        path.unlink()
    import_folder(layout, SETTINGS, fill(root, c1=3), name="mine", prune=True)
    BlockList.read(layout).adding("title", ["mine:kim/a"]).write(layout)
    assert undo(layout)["restored"] == 1
    assert [row["title_id"] for row in contents(layout)[0]] == ["mine:kim/b"]

"""Strips of the catalog: found, cut once, searched by their panels, and forgotten with them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.panels.catalog import searched
from indexer.panels.picture import PictureReader, panel_pixels
from indexer.panels.strips import APART, ONE_DRAWING, Slice, cut_pending, find_candidates
from schemas.records import Panel
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from schemas.storage.snapshot import Snapshot, create_views
from tests.small_model import ENVIRON
from tests.strips import Box, assert_boxes, page, picture, slices

BOXES: list[Box] = [(20, 20, 260, 240), (20, 300, 260, 300), (20, 640, 260, 220)]
EPISODE = "kim/tower/ep 1"


def settings_for(root: Path, **more: str) -> Settings:
    values = {"store.root": str(root / "data"), **more}
    return load_settings(values, environ=ENVIRON, cwd=root)


def strip(boxes: list[Box] = BOXES) -> Image.Image:
    return page((300, boxes[-1][1] + boxes[-1][3] + 20), boxes)


def imported(root: Path, **more: str) -> tuple[Settings, Catalog]:
    """A folder with an episode in slices that cut through its second panel, and a drawing."""
    slices(strip(), [450, 450], root / "drawings" / EPISODE)
    picture(200, 160, 9).save(root / "drawings" / "kim" / "tower" / "cover.png")
    settings = settings_for(root, **more)
    import_folder(settings.layout, settings, root / "drawings")
    return settings, Catalog(settings.layout)


def rows(catalog: Catalog, table: str) -> list[dict[str, object]]:
    return catalog.read(table).to_pylist()


def test_slices_of_an_imported_folder_are_searched_by_their_panels(tmp_path: Path) -> None:
    settings, catalog = imported(tmp_path)
    assert cut_pending(settings.layout, settings, dry_run=True).counts["pending"] == 1
    assert not catalog.exists("panels")
    report = cut_pending(settings.layout, settings)
    assert {k: n for k, n in report.counts.items() if n} == {"cut": 1, "panels": 3}
    panels = sorted(catalog.read("panels").to_pylist(), key=lambda row: row["order_no"])
    assert_boxes([row["box"] for row in panels], BOXES)
    assert [len(row["slices"]) for row in panels] == [1, 2, 1]
    (one,) = catalog.read("strips").to_pylist()
    assert (one["status"], one["panels_count"], len(one["parents"])) == ("cut", 3, 2)
    assert one["source_path"] == EPISODE

    found = searched(catalog, ["picture_id", "title_id", "kind", "width_px", "file"]).to_pylist()
    assert sorted(row["kind"] for row in found) == ["panel", "panel", "panel", "picture"]
    assert {row["title_id"] for row in found} == {one["title_id"]}
    stored = {row["file"] for row in catalog.read("pictures").to_pylist()}
    assert all(row["file"] in stored for row in found)

    again = cut_pending(settings.layout, settings)
    assert {k: n for k, n in again.counts.items() if n} == {"already": 1}
    with duckdb.connect() as connection:  # the same in SQL
        create_views(connection, Snapshot.take(settings.layout))
        sql = "select picture_id from catalog order by all"
        ids = [row[0] for row in connection.execute(sql).fetchall()]
    assert ids == sorted(row["picture_id"] for row in found)


def test_the_pixels_of_a_panel_are_those_of_the_strip(tmp_path: Path) -> None:
    settings, catalog = imported(tmp_path)
    cut_pending(settings.layout, settings)
    whole, limits = np.asarray(strip()), settings.decode.limits
    reader = PictureReader(settings.layout, limits)
    for row in searched(catalog, ["picture_id", "file"]).to_pylist():
        if (panel := Panel.of_text(row["panel"])) is not None:
            x, y, w, h = panel.box
            shown = np.asarray(panel_pixels(settings.layout, panel, limits))
            np.testing.assert_array_equal(shown, whole[y : y + h, x : x + w])
            np.testing.assert_array_equal(np.asarray(reader.image(row)), shown)
            small = panel_pixels(settings.layout, panel, limits, 100)
            assert max(small.size) == 100


def test_a_strip_that_grows_is_cut_again_and_keeps_its_panels(tmp_path: Path) -> None:
    settings, catalog = imported(tmp_path)
    cut_pending(settings.layout, settings)
    before = {row["picture_id"] for row in rows(catalog, "panels")}
    longer = strip([*BOXES, (20, 900, 260, 200)])
    slices(longer, [450, 450, 300], tmp_path / "drawings" / EPISODE)
    # The second slice reaches further down now: only panels that lie in the first stay as they are.
    import_folder(settings.layout, settings, tmp_path / "drawings")
    assert len(searched(catalog, ["picture_id"])) == 4  # pictures until it is cut again
    report = cut_pending(settings.layout, settings)
    assert (report.counts["cut"], report.counts["removed"]) == (1, 1)
    panels = rows(catalog, "panels")
    assert len(panels) == 4
    assert len({row["picture_id"] for row in panels} & before) >= 1
    assert len({row["strip_id"] for row in panels}) == 1


def test_a_killed_run_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, catalog = imported(tmp_path)
    real = Catalog.upsert

    def killed(self: Catalog, table: str, data: list[dict[str, object]], **more: object) -> None:
        if table == "strips" and data:
            raise KeyboardInterrupt
        real(self, table, data, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "upsert", killed)
    with pytest.raises(KeyboardInterrupt):
        cut_pending(settings.layout, settings)
    monkeypatch.undo()
    assert {row["kind"] for row in searched(catalog, ["kind"]).to_pylist()} == {"picture"}
    cut_pending(settings.layout, settings)
    assert len(rows(catalog, "panels")) == 3


def test_off_makes_strips_whole_again(tmp_path: Path) -> None:
    settings, catalog = imported(tmp_path)
    cut_pending(settings.layout, settings)
    off = settings_for(tmp_path, **{"panels.cut": "off"})
    assert cut_pending(settings.layout, off).counts["removed"] == 1
    assert not rows(catalog, "panels")
    assert {row["kind"] for row in searched(catalog, ["kind"]).to_pylist()} == {"picture"}
    assert cut_pending(settings.layout, off).counts.get("removed") is None


def test_pages_are_read_from_right_to_left_and_single_tall_drawings_stay_whole(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "drawings" / "kim"
    folder.mkdir(parents=True)
    page((300, 800), [(20, 20, 120, 360), (160, 20, 120, 360), (20, 420, 260, 360)]).save(
        folder / "page.png"
    )
    picture(200, 700, 3).save(folder / "tall.png")
    settings = settings_for(tmp_path)
    import_folder(settings.layout, settings, tmp_path / "drawings")
    catalog = Catalog(settings.layout)
    found = cut_pending(settings.layout, settings).counts
    assert (found["cut"], found["panels"], found["whole"]) == (1, 3, 1)
    assert {row["reason"] for row in rows(catalog, "strips")} == {None, ONE_DRAWING}
    left_to_right = {row["picture_id"]: row["order_no"] for row in rows(catalog, "panels")}
    rtl = settings_for(tmp_path, **{"panels.direction": "rtl"})
    assert cut_pending(rtl.layout, rtl).counts["cut"] == 1
    right_to_left = {row["picture_id"]: row["order_no"] for row in rows(catalog, "panels")}
    swapped = {1: 2, 2: 1, 3: 3}
    assert right_to_left == {one: swapped[no] for one, no in left_to_right.items()}
    assert cut_pending(rtl.layout, rtl).counts["already"] == 2


def test_numbered_pictures_of_their_own_are_no_strip_and_tall_ones_are(tmp_path: Path) -> None:
    folder = tmp_path / "drawings" / "kim" / "tower" / "12"
    folder.mkdir(parents=True)
    for number in range(3):
        picture(300, 200, number).save(folder / f"{number}.png")
    strip().save(folder / "3.png")  # 300 x 880
    settings = settings_for(tmp_path)
    import_folder(settings.layout, settings, tmp_path / "drawings")
    catalog = Catalog(settings.layout)
    cut_pending(settings.layout, settings)
    assert {row["reason"] for row in rows(catalog, "strips")} == {APART, None}
    kinds = sorted(row["kind"] for row in searched(catalog, ["kind"]).to_pylist())
    assert kinds == ["panel"] * 3 + ["picture"] * 3
    again = cut_pending(settings.layout, settings)
    assert {k: n for k, n in again.counts.items() if n} == {"already": 1}
    picture(300, 200, 4).save(folder / "4.png")  # the tall one is not cut again
    import_folder(settings.layout, settings, tmp_path / "drawings")
    grown = cut_pending(settings.layout, settings)
    assert (grown.counts["whole"], grown.counts["cut"]) == (1, 0)
    assert len(rows(catalog, "panels")) == 3
    assert len(rows(catalog, "strips")) == 2


def test_a_strip_without_panels_stays_whole_and_a_damaged_one_is_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "drawings" / "kim"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    lonely = Image.new("RGB", (200, 700), (255, 255, 255))
    lonely.paste((0, 0, 0), (90, 300, 94, 420))
    lonely.save(folder / "a" / "a.png")
    strip().save(folder / "b" / "b.png")
    settings = settings_for(tmp_path)
    import_folder(settings.layout, settings, tmp_path / "drawings")
    catalog = Catalog(settings.layout)
    file = next(r["file"] for r in catalog.read("pictures").to_pylist() if r["width_px"] == 300)
    settings.layout.picture(file).write_bytes(b"something else")
    report = cut_pending(settings.layout, settings)
    assert (report.counts["whole"], report.counts["failed"]) == (1, 1)
    assert len(report.problems) == 1 and "kim/b/b.png" in report.problems[0]
    assert {row["status"] for row in rows(catalog, "strips")} == {"whole", "failed"}
    assert len(searched(catalog, ["kind"])) == 2
    assert cut_pending(settings.layout, settings).counts["already"] == 2
    assert cut_pending(settings.layout, settings, retry_failed=True).counts["failed"] == 1


def test_time_that_is_up_leaves_the_rest_for_the_next_run(tmp_path: Path) -> None:
    for name in "ab":
        folder = tmp_path / "drawings" / "kim" / name
        folder.mkdir(parents=True)
        page((300, 880 + len(name)), [(20, 20 + ord(name) % 7, 260, 300), *BOXES[2:]]).save(
            folder / f"{name}.png"
        )
    settings = settings_for(tmp_path)
    import_folder(settings.layout, settings, tmp_path / "drawings")
    first = cut_pending(settings.layout, settings, is_over=lambda: True)
    assert (first.counts["cut"], first.counts["left"]) == (1, 1)
    second = cut_pending(settings.layout, settings)
    assert (second.counts["cut"], second.counts["already"]) == (1, 1)


def slice_of(path: str, kind: str = "picture", episode: int | None = None, **more: object) -> Slice:
    values = {"title_id": "t:1", "source": "naver", "width_px": 700, "height_px": 1000, **more}
    return Slice(
        picture_id=path, kind=kind, episode_no=episode, source_path=path, file=path, **values
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param(
            [slice_of(f"https://a/{n}.jpg", "strip", 1 + n // 11) for n in (2, 10, 1, 11)],
            [["https://a/1.jpg", "https://a/2.jpg", "https://a/10.jpg"], ["https://a/11.jpg"]],
            id="episodes in natural order",
        ),
        pytest.param(
            [slice_of("https://a/b#1", "strip", 1), slice_of("https://a/a#2", "strip", 1)],
            [["https://a/b#1", "https://a/a#2"]],
            id="the site's own order",
        ),
        pytest.param(
            [
                slice_of("one/1.jpg", "strip"),
                slice_of("one/2.jpg", "strip"),
                slice_of("2/1", "strip"),
            ],
            [["one/1.jpg", "one/2.jpg"], ["2/1"]],
            id="by folder where no episode is known",
        ),
        pytest.param(
            [slice_of("a", "strip", height_px=9000), slice_of("b", "strip", height_px=9000)],
            [["a"], ["b"]],
            id="whole strips in one folder",
        ),
        pytest.param([slice_of("p", "page"), slice_of("q")], [["p"]], id="a page"),
        pytest.param([slice_of("c", "cover", height_px=1751)], [["c"]], id="tall, of any kind"),
        pytest.param(
            [slice_of(f"{n}.jpg", source="folder:x", width_px=700 + n) for n in range(3)],
            [],
            id="a folder of pictures of several widths",
        ),
        pytest.param(
            [slice_of(f"a/t/12/{n}.jpg", source="folder:x") for n in range(3)],
            [["a/t/12/0.jpg", "a/t/12/1.jpg", "a/t/12/2.jpg"]],
            id="a folder of numbered pictures of one width",
        ),
        pytest.param(
            [slice_of(f"a/t/{n}.jpg", source="folder:x") for n in range(3)],
            [],
            id="pictures in the folder of their title",
        ),
        pytest.param(
            [slice_of(f"{n}.jpg", source="folder:x") for n in "abc"], [], id="names without numbers"
        ),
    ],
)
def test_what_makes_a_strip(given: list[Slice], wanted: list[list[str]]) -> None:
    found = [[one.source_path for one in strip.slices] for strip in find_candidates(given)]
    assert found == wanted


@pytest.mark.parametrize("what", ["title", "panel", "slice"])
def test_forgetting_takes_panels_along(what: str, tmp_path: Path) -> None:
    from indexer.forget import find, forget

    settings, catalog = imported(tmp_path)
    cut_pending(settings.layout, settings)
    panels = sorted(catalog.read("panels").to_pylist(), key=lambda row: row["order_no"])
    first = panels[0]
    wanted = {
        "title": {"title": [first["title_id"]]},
        "panel": {"picture": [first["picture_id"]]},
        "slice": {"picture": [first["slices"][0]["picture_id"]]},
    }[what]
    shown = find(settings.layout, wanted).pictures
    assert {first["picture_id"], first["slices"][0]["picture_id"], panels[1]["picture_id"]} <= {
        *shown
    }
    forget(settings.layout, settings, wanted, _no_visitors)
    assert not rows(catalog, "panels")
    left = {row["source_path"] for row in catalog.read("pictures").to_pylist()}
    assert left == (set() if what == "title" else {f"{EPISODE}/2.png", "kim/tower/cover.png"})
    assert not settings.layout.picture(first["slices"][0]["file"]).exists()


def _no_visitors(path: Path, names: object) -> int:
    return 0


def test_panels_are_embedded_indexed_and_found(tmp_path: Path) -> None:
    from indexer.duplicates import find_duplicates
    from indexer.embedding.embed import embed_pending
    from indexer.monitoring import coverage
    from indexer.palette import color_pending
    from indexer.vector_index.build import build_generation
    from indexer.vector_index.generations import Generation, publish
    from search.engine import Engine, QueryOptions
    from search.inputs import QueryPicture

    settings, catalog = imported(tmp_path)
    layout = settings.layout
    cut_pending(layout, settings)
    assert embed_pending(layout, settings).counts["embedded"] == 4
    assert embed_pending(layout, settings).counts["embedded"] == 0
    assert color_pending(layout, settings).counts["coloured"] == 4
    known = {row["picture_id"] for row in searched(catalog, ["picture_id"]).to_pylist()}
    assert {row["picture_id"] for row in rows(catalog, "vectors")} == known
    covered = coverage(layout, settings)
    assert (covered.embedded, covered.cut, covered.panels) == (1, 2, {"embedded": 3})
    assert covered.adds_up
    assert not find_duplicates(layout, settings).exact

    report = build_generation(layout, settings)
    assert report.counts["pictures"] == 4
    assert next(c for c in report.checks if c.name == "encoder").detail.startswith("4 pictures")
    publish(layout, str(report.generation_id))
    assert not coverage(layout, settings).stale
    with Generation.open(layout) as generation:
        texts = generation.meta.execute("select panel from pictures where kind = 'panel'")
        panels = [Panel.of_text(text) for (text,) in texts]
    second = next(panel for panel in panels if panel is not None and panel.order == 2)
    x, y, w, h = second.box
    asked = tmp_path / "asked.png"
    strip().crop((x, y, x + w, y + h)).save(asked)
    with Engine.open(layout, settings) as engine:
        asking = [QueryPicture("asked", asked.read_bytes())]
        hit = engine.query(asking, QueryOptions(by="picture")).pictures[0]
    assert hit.panel == second
    assert hit.similarity > 0.99
    assert hit.panel.facts()["slices"] == [[p.picture_id, list(p.box)] for p in second.slices]

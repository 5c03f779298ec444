"""The engine on a small real index, against plain matrix products."""

from __future__ import annotations

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.embedding.models import MODEL_FILE
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, publish
from indexer.vector_index.ranking import CENTROID_WEIGHT, UNEXPANDED, WEIGHTS, expanded
from schemas.errors import InputError, NoIndexError
from schemas.settings import Settings, load_settings
from schemas.storage.layout import Layout
from search.engine import Engine, QueryOptions, StyleQuery
from search.filters import Filters
from search.inputs import QueryPicture, read_picture
from search.panels import Cutting
from tests.search.artists import HANDS, PICTURES_PER_TITLE, draw, draw_folder
from tests.small_model import ENVIRON

ALL = len(HANDS) * 2 * PICTURES_PER_TITLE


def picture(hand: int, seed: int, name: str = "query.png") -> QueryPicture:
    data = io.BytesIO()
    draw(hand, seed).save(data, "PNG")
    return QueryPicture(name, data.getvalue())


@cache
def all_vectors(engine: Engine) -> tuple[np.ndarray, list[str]]:
    """Every stored picture encoded again, once for all tests: (N, D), and their picture ids."""
    layout = engine.generation.directory.parent.parent
    cursor = engine.generation.meta.execute("select picture_id, file from pictures")
    ids, files = zip(*cursor.fetchall(), strict=True)
    stored = [QueryPicture(f, (layout / "pictures" / f).read_bytes()) for f in files]
    return np.stack([engine.encode([p]).vector for p in stored]), list(ids)


def test_every_picture_finds_itself_first(engine: Engine, drawings: Path) -> None:
    for file in sorted(drawings.rglob("*.png")):
        asked = read_picture(str(file), engine.limits)
        answer = engine.query([asked], QueryOptions(k=3, by="picture"))
        assert answer.pictures[0].picture_id == asked.picture_id
        assert answer.pictures[0].similarity == pytest.approx(1.0, abs=2e-3)
        assert "in the index" in answer.notes[0]


@pytest.mark.parametrize(
    ("size", "is_long"),
    [
        ((96, 72), False), ((690, 1000), False), ((690, 1300), False), ((1300, 690), False),
        ((690, 1500), True), ((690, 2500), True), ((2500, 690), True), ((690, 5_000), True),
    ],
)  # fmt: skip
def test_a_picture_too_long_to_be_seen_whole_has_a_note(
    engine: Engine, size: tuple[int, int], is_long: bool
) -> None:
    image = Image.new("L", size, 255)
    image.paste(draw(0, 1).convert("L").resize(size))
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    pictures = [QueryPicture("strip.png", data.getvalue()), picture(0, 2, "other.png")]
    notes = engine.query(pictures, QueryOptions(k=1), Cutting("off")).notes
    said = [note for note in notes if note.startswith("too long to be seen whole")]
    assert len(said) == is_long
    assert all("strip.png" in note for note in said)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_blank_picture_is_refused(engine: Engine, mode: str) -> None:
    for colour in (0, 128, 255):
        data = io.BytesIO()
        Image.new("L", (90, 60), colour).convert(mode).save(data, "PNG")
        blank = QueryPicture("blank.png", data.getvalue())
        with pytest.raises(InputError, match=r"blank\.png: nothing is drawn on it"):
            engine.query([picture(0, 1), blank], QueryOptions())


def test_no_similarity_is_above_one(engine: Engine, drawings: Path) -> None:
    over, stored = 0.0, engine.generation.vectors(engine.generation.row_ids)
    for file in sorted(drawings.rglob("*.png"))[::3]:
        asked = read_picture(str(file), engine.limits)
        vector = engine.encode([asked]).vector
        over = max(over, float((stored @ vector).max()))
        for by in ("picture", "title"):
            answer = engine.query([asked], QueryOptions(k=24, by=by))
            told = [hit.similarity for hit in answer.pictures]
            for title in answer.titles:
                told += [title.similarity, *(hit.similarity for hit in title.hits)]
            assert max(told) <= 1.0
    assert over > 1.0  # as half floats are stored, some lengths are above one


@pytest.mark.parametrize("hand", range(3))
def test_a_new_picture_finds_its_hand(engine: Engine, hand: int) -> None:
    answer = engine.query([picture(hand, 77)], QueryOptions(k=2))
    assert [title.authors for title in answer.titles] == [(HANDS[hand],)] * 2
    assert answer.labels.authors[0].label == HANDS[hand]
    assert [title.rank for title in answer.titles] == [1, 2]
    best = answer.titles[0]
    # A mean of several, and a little of the title's middle, which can be nearer than any of them.
    assert abs(best.hits[0].similarity - best.similarity) < 0.05


def test_neighbours_equal_a_matrix_product(engine: Engine) -> None:
    vectors, ids = all_vectors(engine)
    vector = engine.encode([picture(1, 5)]).vector
    similarity, rows = engine.neighbours(vector, ALL)
    exact = vectors @ vector
    assert len(rows) == ALL
    by_id = dict(zip(ids, exact, strict=True))
    np.testing.assert_allclose(similarity, [by_id[r.picture_id] for r in rows], atol=2e-3)
    assert (np.diff(similarity) <= 0).all()


def test_the_centroid_of_a_title_counts_beside_its_best_pictures(engine: Engine) -> None:
    """Scores again from every vector."""
    vectors, ids = all_vectors(engine)
    rows = engine.generation.meta.execute(
        "select picture_id, title_id from pictures join titles using (title_no)"
    ).fetchall()
    asked = engine.encode([picture(0, 78)])
    cosines = dict(zip(ids, (vectors @ asked.vector).tolist(), strict=True))
    best, centroid = {}, {}
    for title in {title for _, title in rows}:
        own = [one for one, of in rows if of == title]
        best[title] = sorted((cosines[one] for one in own), reverse=True)[:3] @ np.array(WEIGHTS)
        mean = np.mean([vectors[ids.index(one)] for one in own], axis=0)
        centroid[title] = float(mean @ asked.vector / np.linalg.norm(mean))
    told = {t.title_id: t.similarity for t in engine.answer(asked, QueryOptions(k=ALL)).titles}
    assert told == pytest.approx(
        {t: (best[t] + CENTROID_WEIGHT * centroid[t]) / (1 + CENTROID_WEIGHT) for t in best},
        abs=5e-3,
    )


def test_filters_act_before_the_search(engine: Engine) -> None:
    """The two farthest pictures are found although nearer ones fill the list without it."""
    _, rows = engine.neighbours(engine.encode([picture(0, 5)]).vector, ALL)
    far = rows[-2:]
    where = "row_id in ({}, {})".format(*(row.row_id for row in far))
    options = QueryOptions(k=2, by="picture", neighbours=2, filters=Filters(where=where))
    answer = engine.query([picture(0, 5)], options)
    assert {hit.picture_id for hit in answer.pictures} == {row.picture_id for row in far}
    assert answer.candidates_count == 2
    assert f"the filters left 2 of {ALL} pictures" in answer.notes


def test_excluded_authors_and_titles_are_gone(engine: Engine) -> None:
    asked = [picture(0, 5)]
    answer = engine.query(asked, QueryOptions(filters=Filters(exclude_authors=("anna linea",))))
    assert {a for t in answer.titles for a in t.authors} == set(HANDS[1:])
    assert answer.candidates_count == ALL - 2 * PICTURES_PER_TITLE
    answer = engine.query(
        asked, QueryOptions(filters=Filters(exclude_titles=("Book 00",), where="width_px > 1"))
    )
    assert "Book 00" not in {title.name for title in answer.titles}
    assert answer.candidates_count == ALL - PICTURES_PER_TITLE


def test_the_same_author_is_known_or_guessed(engine: Engine, drawings: Path) -> None:
    stored = read_picture(str(drawings / HANDS[2] / "Book 20" / "0.png"), engine.limits)
    for asked, author in ((stored, HANDS[2]), (picture(1, 77), HANDS[1])):
        answer = engine.query([asked], QueryOptions(filters=Filters(exclude_same_author=True)))
        assert f"left out: pictures by {author}" in answer.notes
        assert author not in {a for t in answer.titles for a in t.authors}
        assert answer.labels.authors[0].label == author  # the labels stay those of the picture


def test_the_list_widens_until_k_titles_are_found(engine: Engine) -> None:
    answer = engine.query([picture(0, 5)], QueryOptions(k=6, neighbours=1))
    assert len({title.title_id for title in answer.titles}) == 6


def test_more_than_there_is_gives_what_there_is_and_says_so(engine: Engine) -> None:
    answer = engine.query([picture(0, 5)], QueryOptions(k=500))
    assert len(answer.titles) == 6
    assert "6 of the 500 titles asked for were found" in answer.notes
    usual = engine.query([picture(0, 5)], QueryOptions())
    assert len(usual.titles) == 6 and not any("asked for" in note for note in usual.notes)


def test_a_filter_that_leaves_nothing_is_no_error(engine: Engine) -> None:
    answer = engine.query([picture(0, 5)], QueryOptions(filters=Filters(where="year < 1000")))
    assert answer.titles == ()
    assert answer.candidates_count == 0
    assert answer.labels.authors


def test_a_percentile_cuts_the_list(engine: Engine) -> None:
    whole = engine.query([picture(0, 5)], QueryOptions(k=ALL, by="picture"))
    limit = whole.pictures[5].percentile
    some = engine.query(
        [picture(0, 5)], QueryOptions(k=ALL, by="picture", filters=Filters(min_percentile=limit))
    )
    assert some.pictures == tuple(h for h in whole.pictures if h.percentile >= limit)
    titles = engine.query(
        [picture(0, 5)], QueryOptions(k=9, filters=Filters(min_percentile=limit))
    ).titles
    assert all(hit.percentile >= limit for title in titles for hit in title.hits)
    assert all(title.percentile >= limit for title in titles)


def test_several_pictures_make_one_query(engine: Engine) -> None:
    pictures = [picture(0, 71), picture(0, 72), picture(0, 73)]
    vectors = np.stack([engine.encode([one]).vector for one in pictures])
    mean = vectors.mean(axis=0)
    together = engine.encode(pictures).vector
    np.testing.assert_allclose(together, mean / np.linalg.norm(mean), atol=1e-5)
    assert engine.query(pictures, QueryOptions(k=1)).titles[0].authors == (HANDS[0],)


def test_no_picture_is_an_input_error(engine: Engine) -> None:
    with pytest.raises(InputError, match="no picture"):
        engine.query([], QueryOptions())


def test_threads_get_the_same_answers(engine: Engine) -> None:
    def ask(hand: int) -> list[str]:
        options = QueryOptions(k=3, filters=Filters(where="width_px > 1" if hand else None))
        return [t.title_id for t in engine.query([picture(hand, 5)], options).titles]

    alone = [ask(hand) for hand in range(3)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, list(range(3)) * 8))
    assert together == alone * 8


def test_a_picture_in_two_titles_is_shown_once(
    engine: Engine, drawings: Path, settings: Settings, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    for title in ("One", "Two"):
        (again / "Somebody" / title).mkdir(parents=True)
        draw(1, 500).save(again / "Somebody" / title / "same.png")
    draw(2, 501).save(again / "Somebody" / "Two" / "other.png")
    layout = Layout(tmp_path / "root")
    import_folder(layout, settings, again)
    embed_pending(layout, settings)
    report = build_generation(layout, settings)
    with Engine.open(layout, settings, report.generation_id) as small:
        answer = small.query([picture(1, 500)], QueryOptions(k=9, by="picture"))
        assert len(answer.pictures) == 2
        assert len(small.query([picture(1, 500)], QueryOptions(k=9)).titles) == 2


def test_the_network_loads_while_the_picture_is_decoded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    with Engine.open(settings.layout, settings) as first:
        decode = QueryPicture.pixels

        def watched(self: QueryPicture, *asked: Any) -> np.ndarray:
            seen.append(first.encoder._loading is not None)
            return decode(self, *asked)

        monkeypatch.setattr(QueryPicture, "pixels", watched)
        first.encode([picture(1, 5)])
        first.encode([picture(1, 6)])
    assert seen == [True, False]


def test_a_picture_unlike_all_others_is_by_nobody_known(engine: Engine) -> None:
    vector = np.random.default_rng(3).standard_normal(engine.generation.dimension)
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    assert engine.predict(StyleQuery(vector), 0.5).unknown_author[0] > 0.8


def test_another_model_is_refused(settings: Settings, engine: Engine) -> None:
    with Generation.open(settings.layout) as generation:
        generation.model_id = "another"
        with pytest.raises(NoIndexError, match="another"):
            Engine(generation, engine.encoder, engine.limits)


def test_a_first_query_says_what_is_wrong_with_picture_or_model(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.open(settings.layout, settings) as first:
        with pytest.raises(InputError, match=r"query\.png: "):
            first.encode([QueryPicture("query.png", b"no picture")])
        first.encode([picture(1, 5)])  # and it goes on
    with Engine.open(settings.layout, settings) as second:
        damaged = shutil.copytree(second.generation.model_dir, tmp_path / "model")
        (damaged / MODEL_FILE).write_bytes(b"no network")
        monkeypatch.setattr(second.encoder, "_model_dir", damaged)
        for _ in range(2):
            with pytest.raises(NoIndexError, match="damaged"):
                second.encode([picture(1, 5)])


def test_no_index_yet_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NoIndexError, match="no index yet"):
        Engine.open(Layout(tmp_path), settings)


def test_a_crop_asks_about_a_part(engine: Engine, tmp_path: Path) -> None:
    from search.inputs import Crop

    sheet = Image.new("RGB", (320, 128), "white")
    sheet.paste(draw(1, 77), (0, 0))
    sheet.paste(draw(0, 77), (160, 0))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    whole = QueryPicture("sheet.png", data.getvalue())
    part = replace(whole, crop=Crop.parse("50%,0,50%,100%"))
    np.testing.assert_allclose(
        engine.encode([part]).vector,
        engine.encode([picture(0, 77)]).vector,
        atol=1e-3,
    )


# --- Long lists of pictures, against a slow loop over the same vectors.

LONG = QueryOptions(k=16, by="picture")


def slow_order(engine: Engine, asked: QueryPicture, k: int) -> list[str]:
    """The definition, picture by picture."""
    vectors, ids = all_vectors(engine)
    vector = engine.encode([asked]).vector
    near = vectors @ vector
    nearest = sorted(range(len(ids)), key=lambda n: -near[n])
    head = nearest[:UNEXPANDED]
    far = vectors @ expanded(vector, vectors[head])
    rest = sorted(nearest[UNEXPANDED:], key=lambda n: -far[n])
    return [ids[n] for n in (head + rest)[:k]]


@pytest.mark.parametrize("hand", range(3))
def test_the_far_end_is_near_to_the_first_ten_and_the_query(engine: Engine, hand: int) -> None:
    asked = picture(hand, 77)
    plain = engine.query([asked], replace(LONG, expand=False))
    found = engine.query([asked], LONG)
    shown = [hit.picture_id for hit in found.pictures]
    assert shown[:UNEXPANDED] == [hit.picture_id for hit in plain.pictures[:UNEXPANDED]]
    likeness = [hit.similarity for hit in found.pictures]
    assert likeness == sorted(likeness, reverse=True)
    nearest = {hit.picture_id for hit in plain.pictures}
    assert [hit.expanded for hit in found.pictures] == [one not in nearest for one in shown]
    assert len(shown) == len(set(shown)) == 16
    wanted = slow_order(engine, asked, 16)
    assert len(set(wanted) & set(shown)) >= 15  # float16 storage may swap near ties
    vectors, vector = all_vectors(engine)[0], engine.encode([asked]).vector
    cosines = dict(zip(all_vectors(engine)[1], vectors @ vector, strict=True))
    for hit in found.pictures:  # what is printed is the likeness to the query itself
        assert hit.similarity == pytest.approx(cosines[hit.picture_id], abs=3e-3)
    assert {t.title_id for t in found.titles} == {hit.title_id for hit in found.pictures}


def test_a_list_of_ten_and_a_list_of_titles_stay_as_they_are(engine: Engine) -> None:
    asked = picture(1, 5)
    for options in (QueryOptions(k=UNEXPANDED, by="picture"), QueryOptions(k=12)):
        with_it, without = (
            replace(engine.query([asked], replace(options, expand=on)), elapsed_ms=0.0)
            for on in (True, False)
        )
        assert with_it == without


def test_filters_and_the_least_percentile_hold_for_the_far_end(engine: Engine) -> None:
    asked = picture(0, 5)
    whole = engine.query([asked], replace(LONG, k=ALL, expand=False))
    titles = sorted({hit.title_id for hit in whole.pictures})
    found = engine.query(
        [asked], replace(LONG, k=ALL, filters=Filters(exclude_titles=(titles[0],)), neighbours=2)
    )
    assert titles[0] not in {hit.title_id for hit in found.pictures}
    assert len(found.pictures) == len([h for h in whole.pictures if h.title_id != titles[0]])
    least = sorted(hit.percentile for hit in whole.pictures)[-13]
    near = engine.query([asked], replace(LONG, filters=Filters(min_percentile=least)))
    assert len(near.pictures) == 13
    assert min(hit.percentile for hit in near.pictures) >= least


def test_a_picture_of_two_titles_comes_once(tmp_path: Path) -> None:
    """A reissue repeats a book: its pictures lie twice in the index, at the head of the list
    and at its far end."""
    folder = tmp_path / "pictures"
    draw_folder(folder)
    shutil.copytree(folder / HANDS[0] / "Book 00", folder / HANDS[0] / "Book 00, new edition")
    shutil.copytree(folder / HANDS[2] / "Book 20", folder / HANDS[2] / "Book 20, new edition")
    settings = load_settings({"store.root": str(tmp_path / "root")}, environ=ENVIRON, cwd=tmp_path)
    import_folder(settings.layout, settings, folder)
    embed_pending(settings.layout, settings)
    report = build_generation(settings.layout, settings)
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)
    with Engine.open(settings.layout, settings) as engine:
        assert engine.generation.pictures_count == ALL + 2 * PICTURES_PER_TITLE
        for neighbours in (16, 200):  # rows that only the expanded query reaches, and all
            found = engine.query([picture(0, 0)], replace(LONG, k=ALL - 4, neighbours=neighbours))
            shown = [hit.picture_id for hit in found.pictures]
            assert len(shown) == len(set(shown)) == ALL - 4

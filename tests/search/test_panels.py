"""Strips and pages in a query: what is cut, what asks, and what the answer says of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.embedding.preprocess import PixelSpec
from schemas.errors import InputError, UsageError
from schemas.images import PictureError, PictureLimits, Reason
from schemas.records import AskedPanel
from schemas.settings import Settings
from search.cli.app import main
from search.engine import Engine, QueryOptions
from search.inputs import Crop, QueryPicture
from search.panels import AUTO, LONG, Cutting, Seen, carriers, panel_pictures, pooled, see
from tests import strips
from tests.search.artists import HANDS, draw

LIMITS = PictureLimits()
SPEC = PixelSpec()
WIDTH, TALL, GAP = 400, 300, 60
OFF = Cutting("off")


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    return data.getvalue()


def panel(hand: int, seed: int) -> Image.Image:
    """A drawing as it stands in a strip, with a frame."""
    made = draw(hand, seed).resize((WIDTH - 40, TALL))
    ImageDraw.Draw(made).rectangle((0, 0, WIDTH - 41, TALL - 1), outline="black", width=4)
    return made


def strip(hand: int, count: int, more: Sequence[Image.Image] = ()) -> Image.Image:
    drawn = [panel(hand, 100 + seed) for seed in range(count)] + list(more)
    made = Image.new("RGB", (WIDTH, len(drawn) * (TALL + GAP)), "white")
    for number, one in enumerate(drawn):
        made.paste(one, (20, GAP // 2 + number * (TALL + GAP)))
    return made


def true_boxes(count: int) -> list[strips.Box]:
    return [(20, GAP // 2 + n * (TALL + GAP), WIDTH - 40, TALL) for n in range(count)]


def slices(image: Image.Image, height: int, names: Sequence[str]) -> list[QueryPicture]:
    return [
        QueryPicture(
            name, png(image.crop((0, n * height, WIDTH, min(image.height, (n + 1) * height))))
        )
        for n, name in enumerate(names)
    ]


def boxes(panels: Sequence[AskedPanel]) -> list[strips.Box]:
    return [one.parts[0].box for one in panels]


def looked(*pictures: QueryPicture, cutting: Cutting = AUTO) -> Seen:
    return see(pictures, LIMITS, SPEC, cutting)


@pytest.mark.parametrize(("hand", "count"), [(0, 4), (2, 12)])
def test_a_strip_finds_the_hand_of_its_panels(engine: Engine, hand: int, count: int) -> None:
    alone = engine.query([QueryPicture("one.png", png(panel(hand, 100)))], QueryOptions(k=3))
    asked = QueryPicture("strip.png", png(strip(hand, count)))
    answer = engine.query([asked], QueryOptions(k=3))
    assert answer.titles[0].authors == (HANDS[hand],)
    assert answer.titles[0].similarity >= 0.8 * alone.titles[0].similarity
    strips.assert_boxes(boxes(answer.panels), true_boxes(count))
    assert [one.number for one in answer.panels] == list(range(1, count + 1))
    assert all(one.asks and one.similarity is not None for one in answer.panels)
    assert {hit.asked_by for hit in answer.titles[0].hits} <= set(range(1, count + 1))
    assert not any("too long" in note for note in answer.notes)
    assert any(note.startswith(f"cut into {count} panels: strip.png") for note in answer.notes)
    whole = engine.query([asked], QueryOptions(k=3), OFF)
    assert not whole.panels and any("too long" in note for note in whole.notes)


def test_the_panels_that_carried_an_answer_are_those_nearest_to_it(engine: Engine) -> None:
    mixed = strip(0, 5, [panel(2, 900)])
    asked = QueryPicture("strip.png", png(mixed))
    answer = engine.query([asked], QueryOptions())
    assert answer.titles[0].authors == (HANDS[0],)
    assert 6 not in [one.number for one in carriers(answer)[:5]]
    shown = panel_pictures(answer, looked(asked), [asked])
    assert shown[0].name == f"strip.png panel {carriers(answer)[0].number}"
    assert max(shown[0].preview(LIMITS, 90).size) == 90


def test_some_panels_alone(engine: Engine) -> None:
    query = engine.encode([QueryPicture("strip.png", png(strip(0, 3, [panel(2, 900)])))])
    answer = engine.answer(query.by_panels([4]), QueryOptions())
    assert answer.titles[0].authors == (HANDS[2],)
    assert [one.asks for one in answer.panels] == [False, False, False, True]
    assert [one.similarity is None for one in answer.panels] == [True, True, True, False]
    assert {hit.asked_by for title in answer.titles for hit in title.hits} == {4}
    again = query.by_panels([4, 1]).by_panels([1])
    assert np.allclose(again.vector, query.by_panels([1]).vector)
    assert query.by_panels([]) is query
    with pytest.raises(InputError, match="no panel 5"):
        query.by_panels([5])
    with pytest.raises(InputError, match="not cut"):
        engine.encode([QueryPicture("a.png", png(draw(0, 1)))]).by_panels([1])


@pytest.mark.parametrize("names", [["1.png", "2.png", "10.png"], ["10.png", "1.png", "2.png"]])
def test_slices_of_a_strip_are_joined(names: list[str]) -> None:
    whole = strip(0, 4)
    cut = slices(whole, 520, ["1.png", "2.png", "10.png"])
    given = sorted(cut, key=lambda one: names.index(one.name))
    seen = looked(*given)
    assert len(seen.panels) == 4
    assert any(note.startswith("joined as slices") for note in seen.notes)
    second = seen.panels[1]  # it lies in the first two
    assert [given[part.picture - 1].name for part in second.parts] == ["1.png", "2.png"]
    (x, y, w, h), (x2, y2, w2, h2) = (part.box for part in second.parts)
    assert y + h == 520 and y2 == 0 and x == x2 and w == w2
    strips.assert_boxes([(x, y, w, h + h2)], [true_boxes(2)[1]])
    assert len(looked(QueryPicture("whole.png", png(whole))).panels) == 4


def test_pictures_that_do_not_run_on_stay_several() -> None:
    pictures = [QueryPicture(f"{n}.png", png(draw(n, n))) for n in range(3)]
    seen = looked(*pictures)
    assert not seen.is_cut and not seen.notes and len(seen.pixels) == 3
    for one, alone in zip(seen.pixels, pictures, strict=True):
        assert np.array_equal(one, alone.pixels(LIMITS, SPEC))


def test_a_strip_beside_a_drawing_counts_by_its_panels() -> None:
    other = QueryPicture("drawing.png", png(draw(1, 5)))
    seen = looked(other, QueryPicture("strip.png", png(strip(0, 3))))
    assert [one.parts[0].picture for one in seen.panels] == [1, 2, 2, 2]
    assert seen.panels[0].parts[0].box == (0, 0, 160, 128)
    assert np.array_equal(seen.pixels[0], other.pixels(LIMITS, SPEC))


PAGE = [(20, 20, 370, 250), (410, 20, 370, 250), (20, 300, 760, 400), (20, 730, 370, 250)]


def test_a_page_is_cut_and_a_drawing_is_not() -> None:
    page = QueryPicture("page.png", png(strips.page((800, 1000), PAGE)))
    assert len(looked(page).panels) == len(PAGE)
    assert not looked(page, cutting=OFF).is_cut
    for drawing in (draw(0, 3).resize((800, 640)), strips.picture(700, 900, 4)):
        asked = QueryPicture("drawing.png", png(drawing))
        assert not looked(asked).is_cut
    assert len(looked(page, cutting=Cutting("always", 2)).pixels) == 2


def test_of_many_panels_some_ask_evenly_spread() -> None:
    seen = looked(QueryPicture("strip.png", png(strip(0, 30))), cutting=Cutting("auto", 4))
    assert len(seen.pixels) == len(seen.panels) == 4
    numbers = [one.number for one in seen.panels]
    assert numbers[0] == 1 and numbers[-1] >= 25 and min(np.diff(numbers)) >= 5
    for one in seen.panels:
        strips.assert_boxes([one.parts[0].box], [true_boxes(30)[one.number - 1]])
    assert any(note.startswith("cut into 30 panels, of which 4 ask") for note in seen.notes)


def test_a_strip_without_gutters_asks_in_parts() -> None:
    """As a tall photograph, or one long drawing."""
    seen = looked(QueryPicture("tall.png", png(strips.picture(200, 1500, 3))))
    assert seen.is_cut and len(seen.panels) >= 4
    assert all(max(one.shape[:2]) <= LONG * min(one.shape[:2]) * 1.2 for one in seen.pixels)
    heights = [one.parts[0].box[3] for one in seen.panels]
    assert sum(heights) >= 1350
    wide = looked(QueryPicture("wide.png", png(strips.picture(1500, 200, 3))))
    assert len(wide.panels) >= 4


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_strip_with_nothing_on_it_is_refused(level: int) -> None:
    seen = looked(QueryPicture("empty.png", png(Image.new("L", (300, 3000), level))))
    with pytest.raises(PictureError, match=r"empty\.png: nothing is drawn on it"):
        seen.check()


def test_a_slice_that_cannot_be_read_is_named_and_the_others_answer() -> None:
    cut = slices(strip(0, 4), 480, ["1.png", "2.png", "3.png"])
    cut[1] = replace(cut[1], data=cut[1].data[: len(cut[1].data) // 2])
    seen = looked(*cut)
    assert list(seen.refused) == [1] and seen.pixels
    with pytest.raises(PictureError, match=r"2\.png") as caught:
        seen.check()
    assert caught.value.reason is Reason.TRUNCATED


def test_slices_of_other_widths_and_repeated_ones_are_told() -> None:
    whole = strip(0, 4)
    one, two, three = slices(whole, 480, ["1.png", "2.png", "4.png"])
    seen = looked(one, two, replace(two, name="3.png"), three)
    assert any("repeats what is above it" in note for note in seen.notes)
    assert len(seen.panels) == 4


def test_of_an_animated_strip_one_frame_asks() -> None:
    data = io.BytesIO()
    frames = [strip(0, 3), strip(0, 3).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    seen = looked(QueryPicture("moving.gif", data.getvalue()))
    assert len(seen.panels) == 3
    assert "of the animation moving.gif one frame was cut" in seen.notes


def test_a_part_of_a_strip_is_cut_by_itself() -> None:
    image = strip(0, 6)
    top = 2 * (TALL + GAP)
    part = QueryPicture("s.png", png(image), Crop.parse(f"0,{top},{WIDTH},{image.height - top}"))
    strips.assert_boxes(boxes(looked(part).panels), true_boxes(6)[2:])


def test_a_large_strip_is_cut_at_a_bounded_size() -> None:
    image = strip(0, 4).resize((2400, 4 * (TALL + GAP) * 6))
    true = [tuple(6 * side for side in box) for box in true_boxes(4)]
    seen = looked(QueryPicture("large.png", png(image)))
    strips.assert_boxes(boxes(seen.panels), true)  # type: ignore[arg-type]


def test_what_is_asked_for_is_read() -> None:
    assert Cutting.parse("auto") == AUTO and Cutting.parse("off") == OFF
    assert Cutting.parse("5") == Cutting("always", 5)
    for text in ("", "0", "-1", "201", "all", "1.5", "9" * 5000, "５"):
        with pytest.raises(UsageError, match="auto, off or a number"):
            Cutting.parse(text)


def test_vectors_that_cancel_out_are_refused() -> None:
    with pytest.raises(InputError, match="nothing in common"):
        pooled(np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32), np.ones(2))


def test_the_command_line_names_the_panels_that_carried(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "strip.png"
    asked.write_bytes(png(strip(0, 3)))
    data = ("--data", str(settings.store.root))
    gallery = tmp_path / "g.html"
    assert main(["query", str(asked), "--html", str(gallery), *data]) == 0
    out, err = capsys.readouterr()
    assert "Which panels? (3 asked)" in out and "strip.png at row " in out
    assert "cut into 3 panels" in err
    page = gallery.read_text("utf-8")
    assert page.count('class="mat"') == 3 and "strip.png panel 2" in page
    assert main(["query", str(asked), "--csv", *data]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["asked_by"] for row in rows} <= {"1", "2", "3"}
    assert main(["query", str(asked), "--panels", "off", *data]) == 0
    out, err = capsys.readouterr()
    assert "Which panels?" not in out and "too long" in err
    assert main(["query", str(asked), "--panels", "few", *data]) == 2

"""Lists are ordered by the number that they show: in the table, in the gallery and as data."""

from __future__ import annotations

import io
import itertools
import json
import re

import pytest

from schemas.records import CLOSENESS
from schemas.settings import Settings
from search.engine import Engine, QueryOptions
from search.output import data, html, text
from tests.search.artists import HANDS, draw
from tests.search.indexes import encoded


@pytest.mark.parametrize("by", ["title", "picture"])
def test_lists_look_sorted_everywhere(engine: Engine, settings: Settings, by: str) -> None:
    for hand, seed in itertools.product(range(len(HANDS)), (77, 78)):
        answer = engine.query(encoded(draw(hand, seed)), QueryOptions(k=16, by=by))
        out = io.StringIO()
        data.write_answer(out, answer, by, settings.layout, "json")
        rows = json.loads(out.getvalue())[f"{by}s"]
        assert len(rows) > 5
        told = [(row["similarity"], row["percentile"]) for row in rows]
        assert told == sorted(told, reverse=True)
        words = [CLOSENESS.index(row["closeness"]) for row in rows]
        assert words == sorted(words)

        out = io.StringIO()
        text.write_answer(out, answer, by, ("similarity", "percentile", "closeness"))
        lines = out.getvalue().splitlines()
        shown = [line for line in lines if re.match(r" *\d+ .*(close|loose)$", line)]
        # Both are rounded, the one to three places and the other to more.
        assert [float(line.split()[1]) for line in shown] == pytest.approx(
            [similarity for similarity, _ in told], abs=6e-4
        )

        section = html.GallerySection(answer, (), by=by)
        page = html.render_gallery([section], {})
        cosines = [float(found) for found in re.findall(r'title="cosine (-?[0-9.]+);', page)]
        assert cosines == pytest.approx([similarity for similarity, _ in told], abs=6e-4)
        bars = [float(found) for found in re.findall(r'class="fill" width="([0-9.]+)"', page)]
        bars = bars[-len(rows) :]
        assert bars == sorted(bars, reverse=True)

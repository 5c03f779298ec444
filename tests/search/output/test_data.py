"""Answers as data."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from schemas.storage.layout import Layout
from search.output.data import CSV_COLUMNS, write_answer
from tests.search.answers import NASTY, answer

LAYOUT = Layout(Path("/root"))
FILE = "ab/cd/abcd.png"


def test_json_says_what_was_asked_and_found() -> None:
    for by, key in (("title", "titles"), ("picture", "pictures")):
        out = io.StringIO()
        write_answer(out, answer(file=FILE), by, LAYOUT, "json")
        body = json.loads(out.getvalue())
        assert set(body) == {"query", key, "labels", "panels"} and body["panels"] == []
        assert body["query"]["by"] == by
        assert body["query"]["generation"] == "g1"
        assert body["query"]["elapsed_ms"] == 1.235
        first = body[key][0]
        assert first["title"] == NASTY
        assert first["authors"] == [NASTY, "Second"]
        picture = first["pictures"][0] if by == "title" else first
        assert picture["path"] == "/root/pictures/ab/cd/abcd.png"
        labels = body["labels"]
        assert labels["unknown_author"] == 0.2
        assert (labels["conclusion"], labels["sentence"]) == ("looks like", f"Looks like {NASTY}")
        assert labels["bars"]["author"][0] == {"label": NASTY, "percent": 72, "what": "label"}
        for bars in labels["bars"].values():
            assert sum(bar["percent"] for bar in bars) == 100
        assert first["closeness"] == ("close" if by == "title" else "very close")


def test_lines_are_one_object_each() -> None:
    out = io.StringIO()
    write_answer(out, answer(titles=3), "title", LAYOUT, "nl")
    lines = out.getvalue().splitlines()
    assert [json.loads(line)["rank"] for line in lines] == [1, 2, 3]


def test_csv_reads_back() -> None:
    for by in ("title", "picture"):
        out = io.StringIO()
        write_answer(out, answer(file=FILE), by, LAYOUT, "csv")
        rows = list(csv.DictReader(io.StringIO(out.getvalue())))
        assert list(rows[0]) == CSV_COLUMNS
        assert rows[0]["title"] == NASTY
        assert rows[0]["authors"] == f"{NASTY}; Second"
        assert rows[0]["path"].endswith("abcd.png")


def test_each_line_carries_the_probabilities() -> None:
    expected = {"author_probability": 0.72, "unknown_author": 0.2, "out_of_distribution": 0.25}
    found = answer(strange=0.25)
    out = io.StringIO()
    write_answer(out, found, "title", LAYOUT, "nl")
    assert expected.items() <= json.loads(out.getvalue()).items()
    out = io.StringIO()
    write_answer(out, found, "picture", LAYOUT, "csv")
    row = next(csv.DictReader(io.StringIO(out.getvalue())))
    assert {name: float(row[name]) for name in expected} == expected
    nobody = replace(found, labels=replace(found.labels, authors=found.labels.authors[1:]))
    out = io.StringIO()
    write_answer(out, nobody, "title", LAYOUT, "nl")
    assert json.loads(out.getvalue())["author_probability"] is None


def test_paths_end_as_asked_and_leave_out_what_is_not_stored() -> None:
    out = io.StringIO()
    write_answer(out, answer(file=FILE), "picture", LAYOUT, "paths-only", "\0")
    assert out.getvalue() == "/root/pictures/ab/cd/abcd.png\0" * 2
    out = io.StringIO()
    write_answer(out, answer(file=None), "title", LAYOUT, "paths-only")
    assert out.getvalue() == ""


def test_paths_name_the_users_own_file_while_it_is_there(tmp_path: Path) -> None:
    own = tmp_path / "my own.png"
    found = answer(file=FILE)
    [title] = found.titles
    hits = tuple(replace(hit, source_path=str(own)) for hit in title.hits)
    found = replace(found, titles=(replace(title, hits=hits),))

    def written(form: str) -> str:
        out = io.StringIO()
        write_answer(out, found, "title", LAYOUT, form)
        return out.getvalue()

    for path in (f"/root/pictures/{FILE}", str(own)):  # before it is there, and after
        assert written("paths-only") == path + "\n"
        assert next(csv.DictReader(io.StringIO(written("csv"))))["path"] == path
        for record in (written("nl"), json.dumps(json.loads(written("json"))["titles"][0])):
            assert json.loads(record)["pictures"][0]["path"] == path
        own.touch()

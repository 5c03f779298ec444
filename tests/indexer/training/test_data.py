"""Benchmarks, splits, classes and batches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.training.data import (
    BALANCES,
    MADE_SHARE,
    NO_YEAR,
    NONE,
    Benchmark,
    LabelRules,
    Samples,
    apply_rules,
    author_splits,
    benchmark_of_manifest,
    few_of_each,
    halves,
    held_out,
    joined,
    of_genres,
    parse_eras,
    parse_genres,
    parse_merge,
    read_splits,
    series_folds,
    several_series,
    unseen_authors,
)
from schemas.errors import InputError, UsageError

AUTHORS = 8


def test_rules_make_classes_of_what_is_there(bench: Benchmark) -> None:
    rules = LabelRules(2, parse_merge(["myth = legend"]), parse_eras("1880-1899,1900-1914"))
    found = apply_rules(bench, rules)
    assert found.names["author"] == tuple(f"artist {n}" for n in range(AUTHORS))
    assert found.names["genre"] == ("epic", "legend")
    assert found.names["era"] == ("1880-1899", "1900-1914")
    row = bench.paths.index("stray.png")
    assert found.author[row] == found.era[row] == -1 and not found.genre[row].any()
    row = bench.paths.index("once.png")
    assert found.author[row] == -1 and found.genre[row].tolist() == [1, 0]
    row = bench.paths.index("1-0-0.png")
    assert found.genre[row].tolist() == [0.5, 0.5]
    row = bench.paths.index("7-0-0.png")
    assert found.era[row] == -1  # 1915 lies outside the ranges
    with pytest.raises(InputError, match="0 authors have 99 pictures"):
        apply_rules(bench, LabelRules(99))


def test_classes_are_a_dataset_for_labels(bench: Benchmark) -> None:
    classes = apply_rules(bench, LabelRules())
    data = classes.dataset(np.eye(len(bench), dtype=np.float32), np.ones(len(bench)))
    row = bench.paths.index("1-0-0.png")
    assert data.names["genre"][data.codes["genre"][row]] == "epic"  # the first by name of two
    assert data.names["author"][data.codes["author"][row]] == "artist 1"
    assert data.codes["genre"][bench.paths.index("stray.png")] == -1


@pytest.mark.parametrize("text", ["1880", "1899-1880", "1880-1899,1890-1910", "a-b"])
def test_ranges_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_eras(text)
    with pytest.raises(UsageError):
        parse_merge(["myth"])


def test_batches_cross_series_and_never_show_who_is_evaluated(bench: Benchmark) -> None:
    unseen = unseen_authors(bench, 0)
    samples = Samples(bench, apply_rules(bench, LabelRules()), unseen)
    assert len(unseen) == 4 and unseen == unseen_authors(bench, 0)
    stopping, measuring = halves(unseen, 0)
    assert not stopping & measuring and stopping | measuring == unseen
    assert set(bench.authors[samples.evaluated]) == stopping
    assert set(bench.authors[samples.measured]) == measuring
    batch, again = samples.batch(5, 3, 2, 0), samples.batch(5, 3, 2, 0)
    rows = batch.rows
    assert np.array_equal(rows, again.rows) and batch.seeds == again.seeds
    assert not np.array_equal(rows, samples.batch(6, 3, 2, 0).rows)
    assert not set(bench.authors[rows].tolist()) & unseen
    for author in set(bench.authors[rows].tolist()) - {"", "seen once"}:
        own = rows[bench.authors[rows] == author]
        assert len(set(bench.series[own].tolist())) == 2
    few = bench.part(np.flatnonzero(np.isin(bench.authors, ["artist 0", "artist 1"])))
    with pytest.raises(InputError, match="2 authors have two series"):
        unseen_authors(few, 0)


def test_some_hands_of_a_batch_are_made_of_others(bench: Benchmark) -> None:
    classes = apply_rules(bench, LabelRules())
    samples = Samples(bench, classes, frozenset())
    batch = samples.batch(1, 8, 2, 0)
    made = batch.made > 0
    assert made.sum() == 2 * round(MADE_SHARE * 8)
    hands = samples.hands(batch)
    own = classes.author[batch.rows]
    assert np.array_equal(hands[~made & (own >= 0)], own[~made & (own >= 0)])
    count = len(classes.names["author"])
    assert (hands[made] >= count).all() and np.array_equal(hands[made] % count, own[made])
    assert set(own[made]) <= set(own[~made])  # an author stands beside its made hand
    assert (hands[own < 0] == NONE).all()


def test_extra_hands_have_their_share_and_no_labels(bench: Benchmark) -> None:
    other = replace(bench, authors=np.array([f"icons:{a}" for a in bench.authors.tolist()]))
    both = joined(bench, other)
    assert len(both) == 2 * len(bench) and (both.root / both.paths[-1]).is_file()
    assert (both.years[len(bench) :] == NO_YEAR).all() and not any(both.genres[len(bench) :])
    samples = Samples(both, apply_rules(both, LabelRules()), frozenset(), len(bench))
    taken = [samples.batch(n, 4, 2, 0) for n in range(60)]
    rows = np.concatenate([b.rows[b.made == 0] for b in taken])
    assert 0.25 < (rows >= len(bench)).mean() < 0.55
    made = np.concatenate([b.rows[b.made > 0] for b in taken])
    assert (made < len(bench)).mean() > 0.8  # extra hands are redrawn where nothing else is there


def test_hands_that_drew_the_same_things_are_shown_with_the_same_things(bench: Benchmark) -> None:
    series = np.array([f"thing {n % 7}" for n in range(len(bench))])
    samples = Samples(replace(bench, series=series), apply_rules(bench, LabelRules()), frozenset())
    series_of = apply_rules(replace(bench, series=series), LabelRules()).series
    samples.classes = replace(samples.classes, series=series_of)
    batch = samples.batch(3, 6, 2, 0)
    shown: dict[int, set[int]] = {}
    for row in batch.rows.tolist():
        shown.setdefault(int(samples.classes.author[row]), set()).add(int(series_of[row]))
    assert len(set().union(*shown.values())) <= 5  # of 7 things


def test_few_pictures_of_each_share_their_series(bench: Benchmark) -> None:
    few = few_of_each(bench, 2)
    counts = np.unique(few.authors, return_counts=True)[1]
    assert counts.max() == 2
    same = replace(bench, series=np.array([f"thing {n % 6}" for n in range(len(bench))]))
    of = {
        author: sorted(few_of_each(same, 2).series[few_of_each(same, 2).authors == author])
        for author in ("artist 1", "artist 2")
    }
    assert of["artist 1"] == of["artist 2"]


def test_a_title_of_some_authors_is_kept_aside() -> None:
    authors = np.repeat([f"a{n}" for n in range(8)], 6)
    series = np.array([f"{a}-{n % (3 if a < 'a6' else 2)}" for n, a in enumerate(authors)])
    bench = Benchmark(
        Path(), tuple(map(str, range(48))), authors, series, ((),) * 48, np.full(48, NO_YEAR), ""
    )
    classes = apply_rules(bench, LabelRules())
    unseen = frozenset({"a0", "a1"})
    samples = Samples(bench, classes, unseen, titles_aside=True)
    assert not set(samples.train) & set(samples.aside)
    assert len(samples.train) + len(samples.aside) == 36
    titles = set(series[samples.aside].tolist())
    assert len(titles) == 2 == len(set(authors[samples.aside]))  # half of a2 to a5
    assert not titles & set(series[samples.train].tolist())
    assert not set(authors[samples.aside]) & {"a0", "a1", "a6", "a7"}
    again = Samples(bench, classes, unseen, titles_aside=True)
    assert np.array_equal(again.aside, samples.aside)
    assert not len(Samples(bench, classes, unseen).aside)


def test_rare_classes_count_more(bench: Benchmark) -> None:
    samples = Samples(bench, apply_rules(bench, LabelRules()), unseen_authors(bench, 0))
    shares, weight = samples.shares("genre")
    assert shares.shape == (len(bench), 3) and weight.mean() == pytest.approx(1.0)
    size = shares[samples.train].sum(0)
    assert weight.argmax() == size.argmin()


def test_two_genres_are_drawn_as_often_as_each_other(bench: Benchmark) -> None:
    rules = LabelRules(2, parse_merge(["epic=saga"]))
    part, rows = of_genres(bench, parse_genres("saga, myth"), rules)
    assert part.paths == tuple(bench.paths[row] for row in rows)
    assert "stray.png" not in part.paths and "1-0-0.png" in part.paths
    classes = apply_rules(part, rules)
    assert classes.names["genre"] == ("myth", "saga")
    assert classes.genre[part.paths.index("1-0-0.png")].tolist() == [0, 1]
    # Only one author of myths is left to learn from, and three of sagas.
    gone = ["artist 0", "artist 2", "artist 4", "seen once"]
    few = part.part(np.flatnonzero(~np.isin(part.authors, gone)))

    def drawn(**options: Any) -> tuple[float, list[float]]:
        unseen = frozenset({"artist 1"})
        samples = Samples(few, apply_rules(few, rules), unseen, **options)
        rows = np.concatenate([samples.batch(number, 1, 1, 0).rows for number in range(300)])
        weight = samples.shares("genre")[1]
        return float((few.authors[rows] == "artist 6").mean()), weight.tolist()

    for balance in BALANCES:
        share, weight = drawn(balance=balance, even_genres=True)
        assert 0.4 < share < 0.6 and weight == [1, 1]
    assert drawn()[0] < 0.35
    with pytest.raises(InputError, match="no picture has the genre 'mith'") as caught:
        of_genres(bench, ("mith", "epic"), LabelRules())
    assert "myth" in caught.value.hint
    for text in ("", "myth", "myth,,myth"):
        with pytest.raises(UsageError, match="fewer than two"):
            parse_genres(text)
    assert parse_genres(None) == ()


def test_balance_is_chosen(bench: Benchmark) -> None:
    rare = (bench.authors == "artist 1") & np.char.endswith(bench.paths, "2.png")
    part = bench.part(np.flatnonzero(~rare))
    found = {}
    for balance in BALANCES:
        samples = Samples(part, apply_rules(part, LabelRules()), frozenset(), balance=balance)
        found[balance] = samples.shares("author")[1], samples.shares("genre")[1]
    assert np.ptp(found["none"][0]) == np.ptp(found["equal"][0]) == 0 < np.ptp(found["sqrt"][0])
    assert np.ptp(found["none"][1]) == 0 < np.ptp(found["sqrt"][1]) < np.ptp(found["equal"][1])


def test_a_benchmark_keeps_only_what_can_be_asked(drawings: Path) -> None:
    found = benchmark_of_manifest(drawings / "manifest.csv")
    assert "stray.png" not in found.paths  # it has no author
    assert found.years[found.paths.index("once.png")] == NO_YEAR
    (split,) = found.splits
    assert split.test == {f"artist {n}" for n in range(4, 8)}
    report = held_out(found, drawings / "report.json")
    assert report.test == split.test and "seen once" in report.train
    assert not report.test & report.train


def test_benchmarks_that_cannot_be_used_are_named(tmp_path: Path, bench: Benchmark) -> None:
    with pytest.raises(InputError, match="no manifest"):
        benchmark_of_manifest(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_text("path,author\na.png,somebody\n")
    with pytest.raises(InputError, match="series"):
        benchmark_of_manifest(tmp_path / "manifest.csv")
    (tmp_path / "splits.json").write_text('[{"train": ["a"], "test": ["a"]}]')
    with pytest.raises(InputError, match="both sides"):
        read_splits(tmp_path)
    (tmp_path / "splits.json").write_text("[{}]")
    with pytest.raises(InputError, match="cannot be read"):
        read_splits(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps(["nobody at all"]))
    with pytest.raises(InputError, match="nobody at all"):
        held_out(bench, tmp_path / "report.json")
    with pytest.raises(InputError, match="cannot be read"):
        held_out(bench, tmp_path / "gone.json")


def test_manifests_of_other_programs_can_be_learnt_from(drawings: Path, tmp_path: Path) -> None:
    lines = (drawings / "manifest.csv").read_text().splitlines()
    lines = [line.replace(",", ";") for line in lines if "legend" not in line]
    lines = [lines[0], *(f"{line}.0" if line[-1:].isdigit() else line for line in lines[1:])]
    lines += [".\\\\once.png;seen once;x", "once.png;Seen once;x"]
    file = drawings / "excel.csv"
    file.write_bytes("\r\n".join(lines).encode("utf-16"))
    found = benchmark_of_manifest(file, training=True)
    assert found.years[found.paths.index("0-0-0.png")] == 1880
    assert found.paths.count("once.png") == 1
    assert len(found.notes) == 2 and "cells for 5 columns" in found.notes[0]
    file.write_bytes("\r\n".join([*lines, "once.png;seen once;x;;soon"]).encode("utf-16"))
    with pytest.raises(InputError, match=r"row \d+: year 'soon' is not a year"):
        benchmark_of_manifest(file, training=True)
    file.unlink()


def test_splits_and_folds_never_divide_an_author_or_a_series(drawings: Path) -> None:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    for split in author_splits(bench):
        assert not split.train & split.test
        assert split.train | split.test == set(bench.authors.tolist())
    folds = series_folds(bench)
    for series in np.unique(bench.series):
        assert len(np.unique(folds[bench.series == series])) == 1
    assert several_series(bench).sum() == len(bench) - 1  # all but "seen once"

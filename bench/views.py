"""Every documented view at a million pictures: milliseconds to ask it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, run_process
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, all_views, create_views
from schemas.storage.tables import SQL_TYPES, TABLES

PICTURES = 1_000_000
FIRST_ROWS = 1000  # of a view with a row for each picture; all rows of the others
PART = 250_000


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    """Generate the catalog and ask each view, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder:
        command = [sys.executable, "-m", "bench.views", folder, str(pictures)]
        run_process([*command, "make"])
        asking = run_process([*command, "ask"])
    slowest = json.loads(asking.output)
    name, worst = max(slowest.items(), key=lambda item: item[1])
    what = f"slowest of {len(slowest)} SQL views at {pictures:,} pictures"
    return [
        Figure("view_answer", what, worst, "ms", 10_000, how=name),
        Figure("view_memory", "peak memory of asking all of them", asking.peak_mb, "MB", 1000),
    ]


def make_catalog(layout: Layout, pictures: int) -> None:
    """A generated catalog, written by DuckDB and committed by the real catalog."""
    import duckdb

    from schemas.storage.catalog import Catalog
    from schemas.storage.tables import arrow_schema

    catalog, titles = Catalog(layout), max(1, pictures // 20)
    genres = "['action', 'romance', 'comedy', 'horror', 'daily', 'sports', 'history', 'drama']"
    with duckdb.connect() as connection:

        def commit(table: str, sql: str) -> None:
            found = connection.sql(sql).to_arrow_table()
            missing = {c.name: c.type for c in TABLES[table].columns} | {}
            have = set(found.column_names)
            blanks = ", ".join(
                f"null::{SQL_TYPES[kind]} as {name}" for name, kind in missing.items()
                if name not in have
            )  # fmt: skip
            connection.register("given", found)
            whole = connection.sql(f"select * {', ' + blanks if blanks else ''} from given")
            rows = whole.to_arrow_table().select(arrow_schema(table).names)
            catalog.append(table, rows.cast(arrow_schema(table)))
            connection.unregister("given")

        commit("titles", f"""
            select 'bench:' || i as title_id, 'bench' as platform, 'Title ' || i as name,
              [{{'name': 'Author ' || (i % {max(1, titles // 4)}), 'role': 'painter'}}] as authors,
              [{genres}[i % 8 + 1]] as genres, ['a', 'b'] as tags, 1990 + i % 35 as year,
              timestamptz '2026-01-01 00:00:00+00' as crawled_at
            from range({titles}) t(i)""")  # fmt: skip
        for start in range(0, pictures, PART):
            stop = min(start + PART, pictures)
            commit("pictures", f"""
                select sha256(i::varchar) as picture_id, 'bench:' || i % {titles} as title_id,
                  'thumbnail' as kind, 'bench' as source, i || '.png' as source_path,
                  'ab/cd/' || sha256(i::varchar) || '.png' as file, 'PNG' as format,
                  200 as width_px, 160 as height_px, 9000 as bytes_count,
                  '0123456789abcdef' as perceptual_hash,
                  case when i % 100 = 0 then 'failed' else 'stored' end as status,
                  timestamptz '2026-01-01 00:00:00+00' + to_days((i // 5000)::int) as fetched_at
                from range({start}, {stop}) t(i)""")  # fmt: skip
            commit("colors", f"""
                select sha256(i::varchar) as picture_id, j // 3 as region, j % 3 as rank,
                  hash(i, j) % 256 as r, hash(i, j, 1) % 256 as g, hash(i, j, 2) % 256 as b,
                  (hash(i, j) % 360)::double as h, 0.5 as s, 0.5 as v,
                  [0.6, 0.3, 0.1][j % 3 + 1]::double as share
                from range({start}, {stop}) t(i), range(18) u(j) order by i, j""")  # fmt: skip
            commit("predictions", f"""
                select sha256(i::varchar) as picture_id, 'bench-model' as model_id,
                  [{{'label': 'Author ' || i % 100, 'probability': 0.5}}] as authors,
                  [{{'label': {genres}[(i % {titles} + (hash(i) % 3 = 0)::int) % 8 + 1],
                     'probability': 0.7}},
                   {{'label': {genres}[(i + 3) % 8 + 1], 'probability': 0.2}}] as genres,
                  [{{'label': '2000s', 'probability': 1.0}}] as eras, 0.2 as unknown_author
                from range({start}, {stop}) t(i)""")  # fmt: skip


def ask_all(layout: Layout) -> dict[str, float]:
    """Milliseconds of each view, the better of two."""
    import duckdb

    large = {
        *TABLES,
        "catalog",
        "title_authors",
        "title_genres",
        "judged",
        "picture_colors",
        "title_palette",
        "author_years",
        "title_genre_fit",
    }
    found = {}
    with duckdb.connect(config={"memory_limit": "700MB", "threads": 2}) as connection:
        create_views(connection, Snapshot.take(layout))
        for name in all_views():
            sql = f"from {name}" + (f" limit {FIRST_ROWS}" if name in large else "")
            times = []
            for _ in range(2):
                started = time.perf_counter()
                connection.execute(sql).fetchall()
                times.append(1e3 * (time.perf_counter() - started))
            found[name] = min(times)
    return found


def main(folder: str, pictures: str, step: str) -> None:
    """One step of `measure`; prints JSON."""
    layout = Layout(Path(folder))
    if step == "make":
        make_catalog(layout, int(pictures))
    else:
        print(json.dumps(ask_all(layout)))


if __name__ == "__main__":
    main(*sys.argv[1:])

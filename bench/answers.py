"""Writes docs/sql.md: questions to the demo's catalog with their real answers.

`make answers` runs it after the demo; `python -m bench.answers DATA > docs/sql.md` on any
catalog with colours and predictions.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from schemas.settings import load_settings
from search.output.data import write_markdown
from search.sql.functions import FUNCTIONS
from search.sql.session import SqlSession

HEAD = """\
# The catalog in SQL

`toonsearch sql "..."` runs DuckDB's SQL over documented views; `toonsearch sql --schema` prints
every view and column, `toonsearch sql` alone opens a shell with history and completion. All
views of a session are of one moment, however long it lasts and whoever writes meanwhile;
`--as-of 2026-11-20` reads an earlier one. Values go in with `-p name=value` and `$name`; rows
come out as a table, `--json`, `--nl`, `--csv`, `--markdown` or `--out rows.parquet`. Of several
statements each prints its rows, and `--out` keeps the last. Times with time zone are text in UTC; a
column that Parquet cannot hold is named.

"""
NOTES = """
`judged` and the views on it need `toonsearch judge`, the palettes `toonsearch colors`. Eras are as
wide as those of the index (`index.era_years` when it was built); without an index they are decades.

Untrusted SQL: `--untrusted`, or `search.sql.sandbox.Sandbox` in a program. It runs in a process
of its own that is killed on time: one SELECT over the views and nothing else (checked in DuckDB's
own syntax tree), external access off, configuration locked, memory limited; on Linux also without
network, in a chroot of the data root, under Landlock. Kernels that refuse a wall keep the others;
`-v` names the ones that stood.

## Ten questions

Answered on the catalog of `make demo` (public-domain drawings; most of them carry no year).
Regenerate with `make answers`.
"""
TAIL = """
## From other tools

`toonsearch export --to DIR` writes one Parquet file for each table and view, with
`dictionary.json` and `README.md` that say what every column means:

```python
import pandas as pd
pictures = pd.read_parquet("DIR/catalog.parquet")
pictures.groupby("genre").size()

import polars as pl
pl.scan_parquet("DIR/colors.parquet").group_by("region").agg(pl.col("v").mean()).collect()
```

The tables themselves are Delta Lake; nothing has to be exported for engines that read it:

```python
pl.read_delta("<store.root>/tables/titles", version=3)
spark.read.format("delta").load("<store.root>/tables/pictures")
```

```sql
-- Trino, with the Delta Lake connector
call delta.system.register_table('toon', 'titles', 'file:///<store.root>/tables/titles');
select platform, count(*) from delta.toon.titles group by 1;
```
"""

QUESTIONS: tuple[tuple[str, str], ...] = (
    (
        "Which titles look like this picture?",
        """\
select c.title, c.author, s.similarity, s.percentile
from similar($picture, 200) s join catalog c using (picture_id)
qualify row_number() over (partition by c.title_id order by s.rank) = 1
order by s.rank limit 5""",
    ),
    (
        "Which titles from before 2006 look like it?",
        """\
select c.title, c.author, c.year, s.similarity
from similar($picture, 1000) s join catalog c using (picture_id)
where c.year < 2006
qualify row_number() over (partition by c.title_id order by s.rank) = 1
order by s.rank limit 5""",
    ),
    (
        "Which two titles by different authors are drawn most alike?",
        """\
select a.title, a.author, b.title as other_title, b.author as other_author, s.similarity
from (select title_id, any_value(title) as title, any_value(author) as author
      from catalog group by title_id having count(*) >= 5) a,
  similar_titles(a.title_id, 5) s
  join (select title_id, any_value(title) as title, any_value(author) as author
        from catalog group by title_id having count(*) >= 5) b on b.title_id = s.title_id
where a.author < b.author
order by s.similarity desc limit 5""",
    ),
    (
        "Who draws most like Gerald G.?",
        """\
with styles as (
  select author, count(*) as pictures_count, mean_vector(list(vector)) as style
  from catalog join vectors using (picture_id) group by author having count(*) >= 5)
select o.author, o.pictures_count, cosine(o.style, g.style) as likeness
from styles o, styles g where g.author = 'Gerald G.' and o.author <> g.author
order by likeness desc limit 5""",
    ),
    (
        "Whose style drifted most between the first and the last year?",
        """\
with years as (
  select author, year, count(*) as pictures_count, mean_vector(list(vector)) as style
  from catalog join vectors using (picture_id)
  where year is not null group by author, year)
select author, min(year) as first_year, max(year) as last_year,
  cosine(arg_min(style, year), arg_max(style, year)) as likeness
from years group by author having count(*) > 1 order by likeness limit 5""",
    ),
    (
        "How pure are genres: what share of a picture's ten nearest is of its own genre?",
        """\
with asked as (select picture_id, title_id, genre from catalog where genre is not null
               order by hash(picture_id) limit 300)
select a.genre, count(distinct a.picture_id) as asked, avg((c.genre = a.genre)::int) as own_genre
from asked a, similar(a.picture_id, 40) s join catalog c using (picture_id)
where c.title_id <> a.title_id
group by a.genre having asked >= 10 order by own_genre desc limit 6""",
    ),
    (
        "Which genres does the model miss most often?",
        "from hardest_genres where pictures_count >= 50 limit 6",
    ),
    (
        "Which titles sit between two genres?",
        """\
select title, author, genre, own_probability, rival, rival_probability
from title_genre_fit where pictures_count >= 5 order by abs(margin) limit 5""",
    ),
    (
        "Who paints most vividly, and who in the fewest colours?",
        """\
select author, count(*) as pictures_count, avg(saturation) as saturation, avg(spread) as spread
from picture_colors join catalog using (picture_id) group by author having count(*) >= 20
order by saturation desc limit 5""",
    ),
    (
        "How much of each author's year is there, and when was it last brought in?",
        """\
select y.author, y.year, y.titles_count, y.pictures_count, max(c.fetched_at)::date as brought_in
from author_years y join catalog c using (author, year)
group by all order by y.pictures_count desc limit 5""",
    ),
)  # fmt: skip


def page(root: Path) -> str:
    """The page for the catalog under a data root."""
    settings = load_settings({"store.root": str(root)}, environ={}, cwd=root)
    out = io.StringIO()
    out.write(HEAD)
    out.write("| function | gives | meaning |\n| --- | --- | --- |\n")
    out.writelines(f"| `{name}` | {kind} | {text} |\n" for name, kind, text in FUNCTIONS)
    out.write(NOTES)
    with SqlSession(settings.layout, settings) as session:
        found = session.run(
            "select picture_id from catalog where genre = 'animals' order by hash(picture_id)"
        )
        assert found is not None
        picture = str(next(iter(found.rows()))[0])
        for number, (question, sql) in enumerate(QUESTIONS, 1):
            out.write(f"\n### {number}. {question}\n\n```sql\n{sql}\n```\n\n")
            wanted = {"picture": picture} if "$picture" in sql else {}
            result = session.run(sql, wanted)
            assert result is not None
            write_markdown(out, result.columns, result.types, result.rows())
            if wanted:
                out.write(f"\n`-p picture=drawing.png`; here the picture `{picture[:12]}…`.\n")
    out.write(TAIL)
    return out.getvalue()


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1])))

"""The SQL behind the report. Each part shows the statement that was run, word for word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search.output.html import Markup, element
from search.sql.session import SqlSession

COUNTS = """\
select (select count(*) from titles) as titles,
  (select count(*) from authors) as authors,
  (select count(*) from pictures) as pictures,
  (select count(*) from pictures where status = 'stored') as stored,
  (select count(distinct picture_id) from vectors) as embedded,
  (select count(distinct picture_id) from colors) as coloured,
  (select count(distinct picture_id) from predictions) as judged,
  (select max(fetched_at) from pictures) as latest,
  (select min(year) from author_years) as first_year,
  (select max(year) from author_years) as last_year"""

FRESHNESS = "select day, stored_count, pictures_count - stored_count as others from freshness"

GENRE_BY_YEAR = "select genre, year, pictures_count from genre_by_year"

GENRES = "select genre, titles_count, pictures_count, authors_count from genres"

CONFUSION = """\
select genre, predicted, pictures_count, share from genre_confusion
where genre in (select genre from hardest_genres order by pictures_count desc limit 14)"""

CONFUSED_PAIRS = """\
select least(genre, rival) as one, greatest(genre, rival) as other, count(*) as titles_count
from title_genre_fit where pictures_count >= 2 and rival is not null
group by one, other
having count(distinct genre) = 2
order by sum(1 - abs(margin)) desc, one, other limit 4"""

DISTINCTIVE = """\
select f.genre, f.title_id, f.title, f.author, f.own_probability, c.file
from title_genre_fit f
join (select title_id, min(file) as file from catalog group by title_id) c using (title_id)
where f.genre in (select genre from genres limit 8) and f.pictures_count >= 2 and f.margin > 0
qualify row_number() over (partition by f.genre order by f.margin desc, f.title_id) <= 4
order by f.genre, f.margin desc"""

AMBIGUOUS = """\
select f.genre, f.rival, f.title_id, f.title, f.author, f.own_probability,
  f.rival_probability, c.file
from title_genre_fit f
join (select title_id, min(file) as file from catalog group by title_id) c using (title_id)
where f.pictures_count >= 2
qualify row_number() over (partition by f.genre, f.rival order by abs(f.margin), f.title_id) <= 4
order by abs(f.margin)"""

AUTHOR_STYLES = """\
select author, any_value(genre) as genre, count(*) as pictures_count, min(year) as first_year,
  max(year) as last_year, mean_vector(list(vector)) as style,
  list(file order by picture_id)[1:2] as files
from catalog join vectors using (picture_id)
where author is not null and model_id = (select mode(model_id) from vectors)
group by author order by pictures_count desc, author limit 600"""

DRIFT = """\
with years as (
  select author, year, count(*) as pictures_count, mean_vector(list(vector)) as style
  from catalog join vectors using (picture_id)
  where author is not null and year is not null
    and model_id = (select mode(model_id) from vectors)
  group by author, year having count(*) >= 3)
select author, year, pictures_count,
  cosine(style, first_value(style) over (partition by author order by year)) as like_first
from years qualify count(*) over (partition by author) >= 2 order by author, year"""

GENRE_PALETTE = "select genre as name, r, g, b, share from genre_palette order by name, share desc"

ERA_PALETTE = "select era as name, r, g, b, share from era_palette order by name, share desc"

TITLE_PALETTE = """\
select t.name, p.r, p.g, p.b, p.share from title_palette p join titles t using (title_id)
where title_id in (select title_id from catalog group by title_id order by count(*) desc, title_id
                   limit 12)
order by t.name, p.share desc"""

COLOR_BY_YEAR = """\
select year, pictures_count, r, g, b, saturation, value, spread
from color_by_year where pictures_count >= 3"""

ERA_CONFUSION = "select era as genre, predicted, pictures_count, share from era_confusion"

ERA_PICTURES = """\
select era, file from catalog where era is not null and file is not null
qualify row_number() over (partition by era order by hash(picture_id)) <= 120
order by era, hash(picture_id)"""

COVERAGE = "select source, status, reason, pictures_count from coverage"

RUNS = """\
select command, outcome, started, ended, counts from runs order by started desc limit 12"""


# --- The answers behind a report, each asked once.

Row = dict[str, Any]
Note = Callable[[str], None]


class Answers:
    """Runs each question once and remembers its rows."""

    def __init__(self, asked: SqlSession, say: Note) -> None:
        self.asked, self.say = asked, say
        self.known: dict[str, list[Row]] = {}

    def rows(self, sql: str) -> list[Row]:
        if sql not in self.known:
            result = self.asked.run(sql)
            assert result is not None
            self.known[sql] = [dict(zip(result.columns, row, strict=True)) for row in result.rows()]
        return self.known[sql]

    def one(self, sql: str) -> Row:
        return self.rows(sql)[0]


def none(text: str = "There is nothing to show yet.") -> list[Markup]:
    """What a part says that has nothing to show."""
    return [element("p", {"class": "empty"}, text)]

"""The SQL behind the report. Each part shows the statement that was run, word for word."""

from __future__ import annotations

from typing import Any

from search.sql.session import SqlSession

Row = dict[str, Any]

SQL = {
    "counts": """\
select (select count(*) from titles) as titles,
  (select count(*) from authors) as authors,
  (select count(*) from pictures) as pictures,
  (select count(*) from pictures where status = 'stored') as stored,
  (select count(distinct picture_id) from vectors) as embedded,
  (select count(distinct picture_id) from colors) as coloured,
  (select count(distinct picture_id) from predictions) as judged,
  (select max(fetched_at) from pictures) as latest,
  (select min(year) from author_years) as first_year,
  (select max(year) from author_years) as last_year""",
    "freshness": """\
select day, stored_count as stored, pictures_count - stored_count as "skipped or failed"
from freshness""",
    "genre_by_year": """\
select case when genre in (select genre from genres limit 8) then genre else 'other' end as genre,
  year, sum(pictures_count)::bigint as pictures_count
from genre_by_year group by all order by year, genre""",
    "pictures_by_year": """\
select year, sum(pictures_count)::bigint as pictures_count
from genre_by_year group by year order by year""",
    "genres": "select genre, titles_count, pictures_count, authors_count from genres",
    "confusion": """\
select genre, predicted, pictures_count, share from genre_confusion
where genre in (select genre from hardest_genres order by pictures_count desc limit 14)""",
    "confused_pairs": """\
select least(genre, rival) as one, greatest(genre, rival) as other, count(*) as titles_count
from title_genre_fit where pictures_count >= 2 and rival is not null
group by one, other
having count(distinct genre) = 2
order by sum(1 - abs(margin)) desc, one, other limit 4""",
    "distinctive": """\
select f.genre, f.title_id, f.title, f.author, f.own_probability, c.file
from title_genre_fit f
join (select title_id, min(file) as file from catalog group by title_id) c using (title_id)
where f.genre in (select genre from genres limit 8) and f.pictures_count >= 2 and f.margin > 0
qualify row_number() over (partition by f.genre order by f.margin desc, f.title_id) <= 2
order by f.genre, f.margin desc""",
    "ambiguous": """\
select f.genre, f.rival, f.title_id, f.title, f.author, f.own_probability,
  f.rival_probability, c.file
from title_genre_fit f
join (select title_id, min(file) as file from catalog group by title_id) c using (title_id)
where f.pictures_count >= 2
qualify row_number() over (partition by f.genre, f.rival order by abs(f.margin), f.title_id) <= 4
order by abs(f.margin)""",
    "authors": """\
with largest as (
  select author from catalog where author is not null
  group by author order by count(*) desc, author limit 600)
select author, any_value(genre) as genre, count(*) as pictures_count, min(year) as first_year,
  max(year) as last_year, mean_vector(list(vector)) as style,
  list(file order by picture_id)[1:2] as files
from catalog join largest using (author) join vectors using (picture_id)
where model_id = (select mode(model_id) from vectors)
group by author order by pictures_count desc, author""",
    "drift": """\
with largest as (
  select author from catalog where author is not null
  group by author order by count(*) desc, author limit 600),
years as (
  select author, year, count(*) as pictures_count, mean_vector(list(vector)) as style
  from catalog join largest using (author) join vectors using (picture_id)
  where year is not null
    and model_id = (select mode(model_id) from vectors)
  group by author, year having count(*) >= 3),
likes as (
  select author, year, pictures_count,
    cosine(style, first_value(style) over (partition by author order by year)) as like_first
  from years qualify count(*) over (partition by author) >= 2)
select author, year, pictures_count, like_first from likes
where author in (select author from likes group by author
                 order by arg_max(like_first, year), author limit 8)
order by author, year""",
    "genre_palette": """\
select genre as name, r, g, b, share from genre_palette order by name, share desc""",
    "era_palette": "select era as name, r, g, b, share from era_palette order by name, share desc",
    "title_palette": """\
select t.name, p.r, p.g, p.b, p.share from title_palette p join titles t using (title_id)
where title_id in (select title_id from catalog group by title_id order by count(*) desc, title_id
                   limit 12)
order by t.name, p.share desc""",
    "color_by_year": """\
select year, pictures_count, r, g, b, saturation, value as brightness
from color_by_year where pictures_count >= 3""",
    "era_confusion": "select era, predicted, pictures_count, share from era_confusion",
    "era_pictures": """\
select era, file from catalog where era is not null and file is not null
qualify row_number() over (partition by era order by hash(picture_id)) <= 120
order by era, hash(picture_id)""",
    "coverage": "select source, status, reason, pictures_count from coverage",
    "runs": """\
select command, outcome, started, ended, counts from runs order by started desc limit 12""",
}


class Answers(dict[str, list[Row]]):
    """Rows of the statements by name; each is run once, when its rows are first wanted."""

    def __init__(self, session: SqlSession) -> None:
        super().__init__()
        self._session = session

    def __missing__(self, name: str) -> list[Row]:
        result = self._session.run(SQL[name])
        assert result is not None
        self[name] = [dict(zip(result.columns, row, strict=True)) for row in result.rows()]
        return self[name]

-- The views that `toonsearch sql` knows besides the tables; each becomes a DuckDB view.
-- Lines that start with "-- name: text" are the comments of its columns. era_of(year) is a
-- macro (schemas/storage/snapshot.py): the label of a year, as the index that is asked has it.

-- view: catalog
-- One row for each stored picture of a title, with the words of `query --where`; in place of
-- strips and pages that were cut, one for each of their panels.
-- picture_id: SHA-256 of the picture, or id of the panel
-- title_id: platform:id of the title
-- platform: where the title comes from
-- title: name of the title
-- author: main author (the painter, else the first)
-- authors: all authors
-- genre: main genre
-- genres: all genres
-- tags: other labels
-- year: year of the picture, else of its title
-- era: era of that year, as wide as those of the index (index.era_years)
-- star_score: mean score of the title
-- kind: thumbnail, cover, picture, strip, page or panel
-- episode_no: episode, for thumbnails, strips and panels
-- source_path: path inside the import, or URL; of a panel that of the first picture it is part of
-- file: stored file, relative to pictures/; of a panel as above
-- width_px: as stored, or the panel's
-- height_px: as stored, or the panel's
-- fetched_at: when the row was written (UTC)
with cut as (
  select strip_id, title_id, unnest(parents) as picture_id from strips where status = 'cut'
), searched as (
  select picture_id, title_id, kind, episode_no, source_path, file, width_px, height_px, year,
    published, fetched_at
  from pictures anti join cut using (picture_id, title_id) where status = 'stored'
  union all
  select n.picture_id, n.title_id, 'panel', p.episode_no, p.source_path, p.file, n.box[3],
    n.box[4], p.year, p.published, p.fetched_at
  from panels n join strips s using (strip_id, title_id)
    join pictures p on p.title_id = n.title_id and p.picture_id = n.slices[1].picture_id
  where n.status = 'stored' and s.status = 'cut' and p.status = 'stored'
)
select p.picture_id, p.title_id, t.platform, t.name as title,
  coalesce(list_filter(t.authors, lambda a: a.role = 'painter')[1].name, t.authors[1].name)
    as author,
  list_transform(t.authors, lambda a: a.name) as authors,
  t.genres[1] as genre, t.genres, t.tags,
  coalesce(p.year, year(p.published), t.year)::integer as year,
  era_of(coalesce(p.year, year(p.published), t.year)) as era,
  t.star_score, p.kind, p.episode_no, p.source_path, p.file, p.width_px, p.height_px,
  p.fetched_at
from searched p join titles t using (title_id);

-- view: title_authors
-- One row for each person of a title.
-- title_id: the title
-- author: name
-- role: what the person did
-- place: 1 for the first named
select title_id, u.name as author, u.role, place::integer as place
from (select title_id, unnest(authors) as u, generate_subscripts(authors, 1) as place from titles);

-- view: title_genres
-- One row for each genre of a title.
-- title_id: the title
-- genre: genre
-- place: 1 for the main genre
select title_id, unnest(genres) as genre, generate_subscripts(genres, 1)::integer as place
from titles;

-- view: authors
-- What each main author has in the catalog.
-- author: name
-- titles_count: titles with a stored picture
-- pictures_count: stored pictures
-- genre: genre of most of them
-- first_year: year of the earliest dated picture
-- last_year: year of the latest dated picture
select author, count(distinct title_id) as titles_count, count(*) as pictures_count,
  mode(genre) as genre, min(year) as first_year, max(year) as last_year
from catalog where author is not null group by author order by pictures_count desc, author;

-- view: author_years
-- How much each author has in each year.
-- author: main author
-- year: year
-- titles_count: titles
-- pictures_count: pictures
select author, year, count(distinct title_id) as titles_count, count(*) as pictures_count
from catalog where author is not null and year is not null
group by author, year order by author, year;

-- view: genre_by_year
-- How much of each year belongs to each genre.
-- genre: main genre
-- year: year
-- titles_count: titles
-- pictures_count: pictures
-- share: share of the year's pictures
select genre, year, count(distinct title_id) as titles_count, count(*) as pictures_count,
  count(*) / sum(count(*)) over (partition by year) as share
from catalog where genre is not null and year is not null
group by genre, year order by year, genre;

-- view: genres
-- What each genre has in the catalog.
-- genre: main genre
-- titles_count: titles
-- pictures_count: pictures
-- authors_count: main authors
select genre, count(distinct title_id) as titles_count, count(*) as pictures_count,
  count(distinct author) as authors_count
from catalog where genre is not null group by genre order by pictures_count desc, genre;

-- view: eras
-- What each era has in the catalog; null is "no year is known".
-- era: era
-- titles_count: titles
-- pictures_count: pictures
-- authors_count: main authors
select era, count(distinct title_id) as titles_count, count(*) as pictures_count,
  count(distinct author) as authors_count
from catalog group by era order by era;

-- view: judged
-- Each prediction (of the model with most of them) beside the truth. The picture's own
-- title was hidden when it was made.
-- picture_id: the picture
-- title_id: its title
-- model_id: the model
-- author: true main author
-- predicted_author: most probable author
-- unknown_author: probability that nobody in the catalog drew it
-- genre: true main genre
-- predicted_genre: most probable genre
-- genre_probability: probability that was given to the true genre, if among the first five
-- rival_genre: most probable wrong genre
-- rival_probability: its probability
-- era: true era
-- predicted_era: most probable era; null where the prediction has eras of another width
select p.picture_id, c.title_id, p.model_id, c.author, p.authors[1].label as predicted_author,
  p.unknown_author, c.genre, p.genres[1].label as predicted_genre,
  case when p.genres[1].label = c.genre then p.genres[1].probability
       when p.genres[2].label = c.genre then p.genres[2].probability
       when p.genres[3].label = c.genre then p.genres[3].probability
       when p.genres[4].label = c.genre then p.genres[4].probability
       when p.genres[5].label = c.genre then p.genres[5].probability else 0 end
    as genre_probability,
  case when p.genres[1].label = c.genre then p.genres[2].label else p.genres[1].label end
    as rival_genre,
  case when p.genres[1].label = c.genre then p.genres[2].probability
       else p.genres[1].probability end as rival_probability,
  c.era,
  case when era_of(regexp_extract(p.eras[1].label, '^-?[0-9]+')::integer) = p.eras[1].label
       then p.eras[1].label end as predicted_era
from predictions p join catalog c using (picture_id)
where p.model_id = (select mode(model_id) from predictions);

-- view: hardest_genres
-- Genres by how often the model misses them.
-- genre: true main genre
-- pictures_count: judged pictures
-- right_ratio: share for which it was the most probable genre
-- mean_probability: mean probability that it was given
-- mistaken_for: genre that is most often put in its place
select genre, count(*) as pictures_count, avg((predicted_genre = genre)::integer) as right_ratio,
  avg(genre_probability) as mean_probability,
  mode(predicted_genre) filter (predicted_genre <> genre) as mistaken_for
from judged where genre is not null and predicted_genre is not null
group by genre order by right_ratio, genre;

-- view: genre_confusion
-- How often each genre is taken for each other.
-- genre: true main genre
-- predicted: most probable genre
-- pictures_count: judged pictures
-- share: share of the true genre's pictures
select genre, predicted_genre as predicted, count(*) as pictures_count,
  count(*) / sum(count(*)) over (partition by genre) as share
from judged where genre is not null and predicted_genre is not null
group by genre, predicted_genre order by genre, share desc, predicted;

-- view: era_confusion
-- How often each era is taken for each other.
-- era: true era
-- predicted: most probable era
-- pictures_count: judged pictures
-- share: share of the true era's pictures
select era, predicted_era as predicted, count(*) as pictures_count,
  count(*) / sum(count(*)) over (partition by era) as share
from judged where era is not null and predicted_era is not null
group by era, predicted_era order by era, predicted;

-- view: title_genre_fit
-- How well each title fits its genre: the most distinctive and the most ambiguous ones.
-- title_id: the title
-- title: its name
-- author: main author
-- genre: true main genre
-- pictures_count: judged pictures
-- own_probability: mean probability of the true genre
-- rival: most probable wrong genre over its pictures
-- rival_probability: its mean probability
-- margin: own_probability - rival_probability; near 0 is ambiguous, near 1 distinctive
with by_rival as (
  select title_id, genre, rival_genre, count(*) as pictures_count,
    sum(genre_probability) as own, sum(coalesce(rival_probability, 0)) as other
  from judged where genre is not null and predicted_genre is not null
  group by title_id, genre, rival_genre
), summed as (
  select title_id, genre, sum(pictures_count) as pictures_count,
    sum(own) / sum(pictures_count) as own_probability,
    arg_max(rival_genre, other) as rival, max(other) / sum(pictures_count) as rival_probability
  from by_rival group by title_id, genre
)
select s.title_id, t.name as title,
  coalesce(list_filter(t.authors, lambda a: a.role = 'painter')[1].name, t.authors[1].name)
    as author,
  s.genre, s.pictures_count::bigint as pictures_count, s.own_probability, s.rival,
  s.rival_probability, s.own_probability - s.rival_probability as margin
from summed s join titles t using (title_id) order by margin desc, title_id;

-- view: picture_colors
-- Each picture's mean colour and how dark, vivid and colourful it is.
-- picture_id: the picture
-- r: mean red 0-255
-- g: mean green 0-255
-- b: mean blue 0-255
-- saturation: mean saturation 0-1
-- value: mean value 0-1
-- spread: mean distance of its colours from their mean, 0-255
with mean as (
  select picture_id, sum(share * r) / sum(share) as r, sum(share * g) / sum(share) as g,
    sum(share * b) / sum(share) as b, sum(share * s) / sum(share) as saturation,
    sum(share * v) / sum(share) as value,
    sum(share * (r * r + g * g + b * b)) / sum(share) as square
  from colors group by picture_id
)
select picture_id, r, g, b, saturation, value,
  sqrt(greatest(square - r * r - g * g - b * b, 0)) as spread
from mean;

-- view: genre_palette
-- The colours of each genre, in cubes 32 levels wide.
-- genre: main genre
-- r: mean red of the cube 0-255
-- g: mean green
-- b: mean blue
-- share: share of the genre's area
select genre, (sum(w * r) / sum(w))::integer as r, (sum(w * g) / sum(w))::integer as g,
  (sum(w * b) / sum(w))::integer as b, sum(w) / sum(sum(w)) over (partition by genre) as share
from (select c.genre, k.r, k.g, k.b, k.share as w
      from colors k join catalog c using (picture_id) where c.genre is not null and k.share > 0)
group by genre, r // 32, g // 32, b // 32 order by genre, share desc;

-- view: era_palette
-- The colours of each era, in cubes 32 levels wide.
-- era: era
-- r: mean red of the cube 0-255
-- g: mean green
-- b: mean blue
-- share: share of the era's area
select era, (sum(w * r) / sum(w))::integer as r, (sum(w * g) / sum(w))::integer as g,
  (sum(w * b) / sum(w))::integer as b, sum(w) / sum(sum(w)) over (partition by era) as share
from (select c.era, k.r, k.g, k.b, k.share as w
      from colors k join catalog c using (picture_id) where c.era is not null and k.share > 0)
group by era, r // 32, g // 32, b // 32 order by era, share desc;

-- view: title_palette
-- The colours of each title, in cubes 64 levels wide, the largest eight.
-- title_id: the title
-- r: mean red of the cube 0-255
-- g: mean green
-- b: mean blue
-- share: share of the title's area
select title_id, r, g, b, share from (
  select title_id, (sum(w * r) / sum(w))::integer as r, (sum(w * g) / sum(w))::integer as g,
    (sum(w * b) / sum(w))::integer as b, sum(w) / sum(sum(w)) over (partition by title_id) as share
  from (select c.title_id, k.r, k.g, k.b, k.share as w
        from colors k join catalog c using (picture_id) where k.share > 0)
  group by title_id, r // 64, g // 64, b // 64)
qualify row_number() over (partition by title_id order by share desc, r, g, b) <= 8
order by title_id, share desc;

-- view: color_by_year
-- How colour moves over the years.
-- year: year
-- pictures_count: pictures with colours
-- r: mean red 0-255
-- g: mean green
-- b: mean blue
-- saturation: mean saturation 0-1
-- value: mean value 0-1
-- spread: mean distance of a picture's colours from their mean, 0-255
select c.year, count(*) as pictures_count, avg(k.r) as r, avg(k.g) as g, avg(k.b) as b,
  avg(k.saturation) as saturation, avg(k.value) as value, avg(k.spread) as spread
from picture_colors k join catalog c using (picture_id) where c.year is not null
group by c.year order by c.year;

-- view: coverage
-- What became of every picture.
-- source: the import or site that brought it
-- status: stored, skipped or failed
-- reason: why it was skipped or failed
-- pictures_count: pictures
select source, status, reason, count(*) as pictures_count
from pictures group by source, status, reason order by source, status, reason;

-- view: freshness
-- When pictures came in.
-- day: day (UTC)
-- pictures_count: pictures written on it
-- stored_count: of those, stored
select fetched_at::date as day, count(*) as pictures_count,
  count(*) filter (status = 'stored') as stored_count
from pictures group by day order by day;

-- view: shared_pictures
-- Pictures that several titles hold, byte for byte.
-- picture_id: the picture
-- titles_count: titles that hold it
-- authors_count: main authors of those titles
-- title_ids: the titles
select picture_id, count(*) as titles_count, count(distinct author) as authors_count,
  list(title_id order by title_id) as title_ids
from catalog group by picture_id having count(*) > 1 order by titles_count desc, picture_id;

-- The views that `toonsearch sql` knows besides the tables; each becomes a DuckDB view.
-- Lines that start with "-- name: text" are the comments of its columns. A view marked
-- [kept] reads whole tables: its result is kept until one of them changes.

-- view: catalog
-- One row for each picture of a title, with the words of `query --where`.
-- picture_id: SHA-256 of the picture
-- title_id: platform:id of the title
-- platform: where the title comes from
-- title: name of the title
-- author: main author (the painter, else the first)
-- authors: all authors
-- genre: main genre
-- genres: all genres
-- tags: other labels
-- year: year of the picture, else of its title
-- era: decade of that year
-- star_score: mean score of the title
-- kind: thumbnail, cover, panel or strip
-- episode_no: episode, for thumbnails and strips
-- source_path: path inside the import, or URL
-- file: stored file, relative to pictures/
-- width_px: as stored
-- height_px: as stored
-- fetched_at: when the row was written (UTC)
select p.picture_id, p.title_id, t.platform, t.name as title,
  coalesce(list_filter(t.authors, lambda a: a.role = 'painter')[1].name, t.authors[1].name)
    as author,
  list_transform(t.authors, lambda a: a.name) as authors,
  t.genres[1] as genre, t.genres, t.tags,
  coalesce(p.year, year(p.published), t.year)::integer as year,
  (coalesce(p.year, year(p.published), t.year) // 10 * 10) || 's' as era,
  t.star_score, p.kind, p.episode_no, p.source_path, p.file, p.width_px, p.height_px,
  p.fetched_at
from pictures p join titles t using (title_id)
where p.status = 'stored';

"""Search by colour: which pictures hold these colours, or the colours of that picture.

A picture is known by its 18 dominant colours with their shares. It *holds* a colour by the
share of its area that is near to it, where nearness falls off smoothly in OKLab, a space in
which equal distances look about equally different.

    --palette       how much of each asked colour: the geometric mean of what it holds
    --like-colors   how much of the given picture's colours it holds, at most as much as
                    that picture itself does; the picture itself scores 1

Source:  Ottosson 2020, "A perceptual color space for image processing" (OKLab)
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import numpy as np

from indexer.palette import REGIONS, picture_palette
from indexer.vector_index.generations import Generation
from indexer.vector_index.ranking import top_titles
from schemas.errors import InputError
from schemas.images import PictureLimits
from schemas.records import Answer
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, create_views
from search.filters import NO_FILTERS, Filters, allowed, unknown_names
from search.inputs import read_picture
from search.results import Found, answer_without_style, picture_rows, share_below

NEAR = 0.09
"""OKLab distance at which a colour counts as e^-1 of the asked one; neighbouring named
colours (navy, blue) lie 0.1 to 0.2 apart."""
MIN_SHARE = 0.02
"""A picture holds a palette when at least so much of its area is near each colour."""
BITS = 5  # colours are compared as cubes 8 levels wide
MAX_COLORS = 8


@dataclass(frozen=True)
class ColorQuery:
    """Asked colours.

    `whole` says that they are all colours of a picture and not just some that it must hold.

    Shapes:  rgb (M, 3) uint8; weight (M,), sums to 1
    """

    rgb: np.ndarray
    weight: np.ndarray
    whole: bool
    said: str


def parse_palette(text: str) -> ColorQuery:
    """Colours such as `#1b2a49, #f2c14e` or `navy,gold`, each with `*2` for twice the weight.

    Errors:  InputError names the colour that cannot be read
    """
    from PIL import ImageColor

    colors, weights = [], []
    for part in (p.strip() for p in text.split(",")):
        name, _, weight = part.partition("*")
        try:
            bare = re.sub(r"^(?=([0-9a-fA-F]{3}){1,2}$)", "#", name.strip())
            colors.append(ImageColor.getrgb(bare)[:3])
            weights.append(float(weight) if weight else 1.0)
            if not 0 < weights[-1] < 1e6:
                raise ValueError(weight)
        except ValueError:
            raise InputError(
                f"the palette has no colour {part!r}", "Write #1b2a49,#f2c14e or navy,gold."
            ) from None
    if len(colors) > MAX_COLORS:
        raise InputError(f"the palette has {len(colors)} colours, at most {MAX_COLORS} are read")
    share = np.asarray(weights) / sum(weights)
    return ColorQuery(np.asarray(colors, dtype=np.uint8), share, False, text)


def palette_of_file(name: str, limits: PictureLimits) -> ColorQuery:
    """The colours of a picture file.

    Errors:  InputError when it cannot be read
    """
    from search.inputs import STDIN

    if name == STDIN:
        raise InputError("--like-colors reads a file, not standard input")
    palette = picture_palette(read_picture(name, limits).image(limits, 256))
    share = palette.share.ravel() / REGIONS
    there = share > 0
    return ColorQuery(palette.rgb.reshape(-1, 3)[there], share[there], True, name)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB to OKLab; (..., 3) uint8 -> (..., 3) float64."""
    unit = rgb.astype(np.float64) / 255.0
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.asarray(
        np.cbrt(cones)
        @ np.array(
            [
                [0.2104542553, 1.9779984951, 0.0259040371],
                [0.7936177850, -2.4285922050, 0.7827717662],
                [-0.0040720468, 0.4505937099, -0.8086757660],
            ]
        )
    )


def nearness(asked: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much each of the other colours counts as each asked one, 0..1.

    Shapes:  (M, 3), (N, 3) uint8 -> (N, M)
    """
    gap = oklab(other)[:, None] - oklab(asked)[None]
    return np.asarray(np.exp(-(gap * gap).sum(axis=2) / NEAR**2))


def held_colors(layout: Layout, query: ColorQuery) -> tuple[np.ndarray, np.ndarray]:
    """Share of each picture's area that is near each asked colour.

    Shapes:  -> picture ids (N,), shares (N, M)
    Errors:  InputError when no picture's colours are known
    """
    import duckdb

    snapshot = Snapshot.take(layout)
    if not snapshot.tables["colors"].files:
        raise InputError("no picture's colours are known yet", "Run `toonsearch colors`.")
    side = 1 << BITS
    cubes = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    middle = (cubes * (256 // side) + 128 // side).astype(np.uint8)
    near = nearness(query.rgb, middle)  # (32768, M)
    columns = {f"k{m}": np.ascontiguousarray(near[:, m]) for m in range(near.shape[1])}
    sums = ", ".join(f"sum(share * k{m}) / {REGIONS}" for m in range(near.shape[1]))
    with duckdb.connect(":memory:") as connection:
        create_views(connection, snapshot)
        connection.register("cubes", {"cube": np.arange(len(cubes)), **columns})
        found = connection.execute(
            f"select picture_id, {sums} from colors join cubes"
            f" on cube = (r // {256 // side}) * {side * side} + (g // {256 // side}) * {side}"
            f" + b // {256 // side} where share > 0 group by picture_id order by picture_id"
        ).fetchnumpy()
    ids, *shares = found.values()
    return np.asarray(ids, dtype=np.str_), np.stack([np.asarray(s) for s in shares], axis=1)


def color_scores(query: ColorQuery, held: np.ndarray) -> np.ndarray:
    """How well pictures fit the asked colours, 0..1.

    Shapes:  held (N, M) -> (N,)
    """
    if not query.whole:
        return np.asarray(np.exp(np.log(np.maximum(held, 1e-6)) @ query.weight))
    own = query.weight @ nearness(query.rgb, query.rgb).T  # what the picture itself holds
    return np.asarray(np.minimum(held / own, 1.0) @ query.weight)


def holders(layout: Layout, query: ColorQuery) -> list[str]:
    """Ids of the pictures that hold every asked colour; for a filter before a style search.

    For the colours of a whole picture: the tenth of the catalog that fits best.
    """
    ids, held = held_colors(layout, query)
    if query.whole:
        scores = color_scores(query, held)
        chosen = scores >= np.quantile(scores, 0.9)
    else:
        chosen = (held >= MIN_SHARE).all(axis=1)
    return [str(picture) for picture in ids[chosen]]


def query_by_color(
    layout: Layout,
    query: ColorQuery,
    *,
    k: int,
    by: str,
    filters: Filters = NO_FILTERS,
) -> Answer:
    """Titles or pictures whose colours fit best; no style is compared and no label predicted.

    `similarity` of a hit is its colour score, `percentile` the share of the index's pictures
    that fit less well.

    Errors:  NoIndexError without an index; InputError when a filter is wrong
    """
    started = time.perf_counter()
    ids, held = held_colors(layout, query)
    score_of = dict(zip(ids.tolist(), color_scores(query, held).tolist(), strict=True))
    with Generation.open(layout) as generation:
        meta = generation.meta
        rows = meta.execute("select row_id, picture_id from pictures order by row_id").fetchall()
        chosen = allowed(generation, filters)
        row_ids = np.asarray([row for row, _ in rows], dtype=np.int64)
        scores = np.asarray([score_of.get(picture, 0.0) for _, picture in rows])
        scale = share_below(scores)
        percentile = scale.percentile(scores)
        place = np.arange(len(rows)) if chosen is None else np.searchsorted(row_ids, chosen)
        order = place[np.argsort(-scores[place], kind="stable")][: max(200, 20 * k)]
        passed = percentile[order] >= filters.min_percentile
        rows_of = picture_rows(meta, row_ids[order])
        found = Found(scores[order], passed, rows_of, scale)
        ranked = top_titles(found.similarity, found.title_ids, found.passed)
        notes = (*unknown_names(meta, filters), "similarity is of colours, not of style")
        return answer_without_style(
            generation,
            query.said,
            found,
            ranked,
            notes,
            k=k,
            by=by,
            count=len(place),
            started=started,
        )

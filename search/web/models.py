"""The shapes of requests and answers; FastAPI checks every answer against them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class Error(BaseModel):
    """What went wrong, in one sentence; `code` is for programs."""

    error: str
    hint: str
    code: str


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may fail with these statuses."""
    return {status: {"model": Error} for status in (*statuses, 422, 429, 503)}


# --- Queries


class PanelPlace(BaseModel):
    """Where a panel of the index lies: in its strip, which is a stored picture or several joined,
    and in each of those; boxes are left, top, width and height in pixels. `url` is the page of its
    episode."""

    strip: str
    box: tuple[int, int, int, int]
    slices: list[tuple[str, tuple[int, int, int, int]]]
    order: int
    episode: int | None
    url: str | None


class PictureHit(BaseModel):
    """A picture found; `percentile` is its place among pairs by different authors, `closeness` the
    same in words. `expanded` ones are not among the nearest, and come last."""

    picture_id: str
    closeness: str
    similarity: float
    percentile: float
    expanded: bool
    year: int | None
    panel: PanelPlace | None = None
    asked_by: int | None = Field(None, description="The panel of the query nearest to it.")


class TitleFacts(BaseModel):
    """What is known of a title."""

    title_id: str
    title: str
    authors: list[str]
    genres: list[str]
    year: int | None
    url: str | None


class FoundTitle(TitleFacts):
    """A title with the pictures that carried it; `similarity` orders a list."""

    rank: int
    closeness: str
    similarity: float
    percentile: float
    pictures: list[PictureHit]


class FoundPicture(TitleFacts, PictureHit):
    """A picture with its title."""

    rank: int


class Label(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class LabelBar(BaseModel):
    """A bar as people see it; `what` is label, nobody or others."""

    label: str
    percent: int
    what: Literal["label", "nobody", "others"]


class LabelGroups(BaseModel):
    """Probabilities; `unknown_author` is that of nobody in the catalog. The higher
    `out_of_distribution`, the more genres and eras only say how common each is in the catalog.
    `conclusion` is what they allow to say, `sentence` says it; the `bars` of a kind add up to 100.
    `by_softmax` are the kinds in which a trained model's own softmax took part.
    """

    authors: list[Label]
    unknown_author: float
    genres: list[Label]
    eras: list[Label]
    out_of_distribution: float
    by_softmax: list[str]
    conclusion: Literal["", "looks like", "not sure", "nobody", "other kind"]
    sentence: str
    bars: dict[str, list[LabelBar]]


class QueryFacts(BaseModel):
    """What was asked, of which index."""

    pictures: list[str]
    by: Literal["title", "picture"]
    subject: float = Field(0.0, description="How much the subject counted beside the style.")
    generation: str
    model: str
    preprocessing: str
    pictures_count: int
    candidates_count: int
    elapsed_ms: float
    notes: list[str]


class RefusedPicture(Error):
    """A picture of a query that could not be used, while others could."""

    picture: int = Field(description="Its place in the request, from 1.")
    name: str


class AskedPart(BaseModel):
    """A part of a picture of the query: its place, from 1, and left, top, width and height in its
    pixels."""

    picture: int
    box: tuple[int, int, int, int]


class AskedPanel(BaseModel):
    """A panel of the query, or a whole picture beside panels; `asks` whether it took part in the
    answer, `similarity` how near it is to the first title."""

    panel: int = Field(description="Its number, from 1; ?panel= of a result asks with some alone.")
    parts: list[AskedPart]
    confidence: float
    asks: bool
    similarity: float | None


class AskedPicture(TitleFacts):
    """A picture of the index that was asked about."""

    picture_id: str


class QueryAnswer(BaseModel):
    """`titles` or `pictures`, as `query.by` says; `id` asks again under /v1/results/{id}.
    `weights` are those of the pictures of the request and then of `others`, which are of the index
    and were asked about as well.
    `panels` are those of strips and pages, empty where each picture asked whole. `refused` stands
    where some of the pictures could not be used."""

    id: str | None
    query: QueryFacts
    titles: list[FoundTitle] | None = None
    pictures: list[FoundPicture] | None = None
    labels: LabelGroups
    panels: list[AskedPanel]
    weights: list[float]
    others: list[AskedPicture]
    refused: list[RefusedPicture] | None = None
    picture: AskedPicture | None = None


class BatchAnswer(QueryAnswer):
    """The answer to one picture of several that were asked about by themselves."""

    name: str
    problem: None


class BatchProblem(BaseModel):
    """A picture that could not be used, and why."""

    name: str
    problem: Error


class SharedLink(BaseModel):
    """A link that can be passed on."""

    id: str
    link: str
    expires: str


class WhyMap(BaseModel):
    """By how much the similarity falls when a cell of a picture is wiped; below 0 where it rises.
    `box` is what of the picture the cells lie on: left, top, width and height as shares of it.
    `even` when no part carries enough to be pointed at."""

    box: tuple[float, float, float, float]
    falls: list[list[float]]
    even: bool


class WhyAnswer(BaseModel):
    """Two pictures compared part by part: of each, what makes it like the other."""

    similarity: float
    query: WhyMap
    hit: WhyMap


# --- The catalog


class TitleCard(TitleFacts):
    """A title as it is listed, with one picture."""

    platform: str | None
    pictures_count: int
    picture_id: str | None


class TitleList(BaseModel):
    """One page of titles; `count` is the number of all that were found."""

    count: int
    titles: list[TitleCard]


class AuthorCard(BaseModel):
    """An author as listed, with one picture."""

    author: str
    pictures_count: int
    picture_id: str | None


class AuthorList(BaseModel):
    """One page of authors; `count` is the number of all that were found."""

    count: int
    authors: list[AuthorCard]


class TitlePicture(BaseModel):
    """A picture of a title."""

    picture_id: str
    year: int | None
    kind: str | None
    episode_no: int | None
    width_px: int | None
    height_px: int | None


class YearStyle(BaseModel):
    """A year's mean picture against the first year's; `picture_id` is the nearest to the mean."""

    year: int
    pictures_count: int
    similarity: float
    percentile: float
    picture_id: str


class ColorShare(BaseModel):
    """A colour as `#rrggbb`, and its share of the main colours."""

    colour: str
    share: float


class TitlePage(TitleCard):
    """A title; what comes after `pictures` stands on its first page alone."""

    pictures: list[TitlePicture]
    similar: list[FoundTitle] | None = None
    drift: list[YearStyle] | None = None
    palette: list[ColorShare] | None = None


class SimilarAuthor(FoundTitle):
    """An author with their title that came nearest."""

    author: str


class AuthorPage(BaseModel):
    """An author's titles, and who draws alike."""

    author: str
    pictures_count: int
    titles_count: int
    titles: list[TitleCard]
    similar: list[SimilarAuthor]
    drift: list[YearStyle]
    palette: list[ColorShare]


class Facet(BaseModel):
    """A genre or platform."""

    name: str
    pictures_count: int


class Years(BaseModel):
    """The earliest and the latest year of the index."""

    first: int | None
    last: int | None


class Facets(BaseModel):
    """What the index can be filtered by."""

    genres: list[Facet]
    platforms: list[Facet]
    years: Years
    pictures_count: int
    titles_count: int
    authors_count: int
    generation: str
    subjects: bool = Field(description="Whether ?subject= can be asked.")
    colors: bool = Field(description="Whether a palette can be asked for.")


class Colors(BaseModel):
    """The main colours of each picture that the catalog has some of."""

    colors: dict[str, list[ColorShare]]


class MapState(BaseModel):
    """Whether the index has a map, and what the colours of its points mean."""

    state: Literal["ready", "none"]
    hint: str
    generation: str
    pictures_count: int
    points_count: int
    labels: dict[str, list[str]]


class MapPicture(BaseModel):
    """What the point with number `n` is."""

    n: int
    picture_id: str
    title_id: str
    title: str
    author: str | None
    year: int | None


class MapPictures(BaseModel):
    """What some points are."""

    pictures: list[MapPicture]


class MapFound(BaseModel):
    """Points whose names hold a text; `count` is the number of all that were found."""

    count: int
    points: list[int]


class MapPlace(BaseModel):
    """A place on the map, 0 to 1 each way, and the points of the nearest pictures, nearest first."""

    x: float
    y: float
    near: list[int]


# --- Accounts and galleries


class Credentials(BaseModel):
    """A name and its password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class SessionState(BaseModel):
    """Who is signed in, and what this server offers."""

    account: str | None
    accounts: str
    share_days: int
    url_queries: bool
    sql: bool


class GalleryFacts(BaseModel):
    """What a gallery is and whose."""

    id: str
    name: str
    owner: str
    public: bool


class GalleryEntry(GalleryFacts):
    """A gallery as it is listed."""

    pictures_count: int
    picture_id: str | None


class GalleryList(BaseModel):
    """One's own galleries, and the public ones of others."""

    mine: list[GalleryEntry]
    public: list[GalleryEntry]


class GalleryPicture(BaseModel):
    """A picture of a gallery; its title is null when the index no longer has it."""

    picture_id: str
    title_id: str
    title: str | None
    authors: list[str]


class Gallery(GalleryFacts):
    """A gallery with its pictures, the latest first."""

    mine: bool
    pictures: list[GalleryPicture]


class NewGallery(BaseModel):
    """A gallery to be made."""

    name: str = Field(max_length=400)
    public: bool = False


class GalleryChange(BaseModel):
    """What is to change; null leaves it as it is."""

    name: str | None = Field(default=None, max_length=400)
    public: bool | None = None


class NewGalleryPicture(BaseModel):
    """A picture of the index that goes into a gallery."""

    picture_id: str = Field(max_length=64)


class GalleryFile(BaseModel):
    """Pictures of the index that are to be had as a file."""

    name: str = Field(min_length=1, max_length=400)
    pictures: list[Annotated[str, Field(max_length=64)]] = Field(min_length=1, max_length=1000)
    format: Literal["zip", "html"]


# --- SQL and operation


class Statement(BaseModel):
    """One SELECT statement; `parameters` are its named values ($name)."""

    sql: str = Field(max_length=20_000)
    parameters: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, max_length=50
    )


class Rows(BaseModel):
    """What a statement gave; `truncated` when there was more."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool
    elapsed_ms: float


class Health(BaseModel):
    """Whether index and catalog answer; `refused` says why a newer index does not."""

    status: Literal["ok", "old index"]
    nearest: float
    generation: str
    catalog: Literal["ok", "missing", "unreadable"]
    refused: str | None

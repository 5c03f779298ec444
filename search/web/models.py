"""The shapes of answers, for the API's description."""

from __future__ import annotations

from pydantic import BaseModel


class Error(BaseModel):
    """What went wrong, in one sentence; `code` is for programs."""

    error: str
    hint: str
    code: str


class PictureHit(BaseModel):
    """A picture found; `percentile` is its place among pairs by different authors."""

    picture_id: str
    similarity: float
    percentile: float
    year: int | None


class TitleFacts(BaseModel):
    """What is known of a title."""

    title_id: str
    title: str
    authors: list[str]
    genres: list[str]
    year: int | None
    url: str | None


class FoundTitle(TitleFacts):
    """A title with the pictures that carried it."""

    rank: int
    score: float
    similarity: float
    percentile: float
    pictures: list[PictureHit]


class FoundPicture(TitleFacts, PictureHit):
    """A picture with its title."""

    rank: int


class Label(BaseModel):
    label: str
    probability: float


class LabelGroups(BaseModel):
    """Probabilities; `unknown_author` is that of none of the known ones. `out_of_distribution` is how surely
    the picture is of quite another kind than the catalog's: so much of genres and eras is no more
    than how common each is there."""

    authors: list[Label]
    unknown_author: float
    genres: list[Label]
    eras: list[Label]
    out_of_distribution: float = 0.0


class Asked(BaseModel):
    """What was asked, of which index."""

    pictures: list[str]
    by: str
    generation: str
    model: str
    preprocessing: str
    pictures_count: int
    candidates_count: int
    elapsed_ms: float
    notes: list[str]


class QueryAnswer(BaseModel):
    """`titles` or `pictures`, as `query.by` says; `id` asks again under /v1/results/{id}."""

    id: str | None = None
    query: Asked
    titles: list[FoundTitle] | None = None
    pictures: list[FoundPicture] | None = None
    labels: LabelGroups


class Shared(BaseModel):
    """A link that can be passed on."""

    id: str
    link: str
    expires: str


class Session(BaseModel):
    """Who is signed in, and what this server offers."""

    account: str | None
    accounts: str
    share_days: int
    url_queries: bool
    sql: bool


def errors(*statuses: int) -> dict[int | str, dict[str, type[BaseModel]]]:
    """The `responses` of a route that may fail so."""
    return {status: {"model": Error} for status in (*statuses, 422, 429, 503)}

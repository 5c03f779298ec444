"""Which pictures of an index may answer a query; filters run before the search."""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import InputError, nearest
from schemas.names import author_key, without_accents

if TYPE_CHECKING:
    from indexer.vector_index.generations import Generation


@dataclass(frozen=True)
class Filters:
    """What a picture must be to answer; the same for the command line, the API and the page.

    A tuple with several names means any of them; years count at both ends. `where` is an SQL
    expression over the view `catalog`. `exclude_same_author` leaves out the authors that the
    query itself is by. `min_percentile` is the least share of pairs by different authors that
    a picture must be nearer than. `pictures` are the only picture ids that may answer. The words
    of `text` must all stand in a picture's title, authors, tags, genres or file name
    (`search/words.py`).

    Units:   min_percentile 0..100
    Errors:  InputError when the years contradict each other
    """

    where: str | None = None
    genres: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None
    exclude_authors: tuple[str, ...] = ()
    exclude_same_author: bool = False
    exclude_titles: tuple[str, ...] = ()
    min_percentile: float = 0.0
    pictures: tuple[str, ...] | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if (
            self.year_from is not None
            and self.year_to is not None
            and self.year_from > self.year_to
        ):
            raise InputError(
                f"no year is from {self.year_from} to {self.year_to}",
                "Give the earlier year first.",
            )

    def without_authors(self, names: Iterable[str]) -> Filters:
        """The same filters that also leave out these authors."""
        return replace(self, exclude_authors=(*self.exclude_authors, *names))


NO_FILTERS = Filters()


def allowed(generation: Generation, filters: Filters) -> np.ndarray | None:
    """Row ids of the pictures that the filters leave; None when they leave all of them.

    `min_percentile` and `exclude_same_author` depend on the query: the engine applies them.

    Shapes:  -> (N,) int64, ascending
    Errors:  InputError when the expression is wrong or a name is not in the index
    """
    meta = generation.meta
    conditions: list[tuple[str, str]] = []  # SQL with one placeholder, and its value
    if filters.genres:
        named = "select title_no from names where kind = 'genre' and name in"
        genres, _ = label_names(meta, "genre", filters.genres)
        conditions.append((f"title_no in ({named} {_LIST})", json.dumps(genres)))
    if filters.platforms:
        platforms, _ = label_names(meta, "platform", filters.platforms)
        conditions.append((f"t.platform in {_LIST}", json.dumps(platforms)))
    if filters.pictures is not None:
        conditions.append((f"p.picture_id in {_LIST}", json.dumps(filters.pictures)))
    for sign, year in ((">=", filters.year_from), ("<=", filters.year_to)):
        if year is not None:
            conditions.append((f"coalesce(p.year, t.year) {sign} cast(? as integer)", str(year)))
    chosen = []
    if conditions:
        sql, values = zip(*conditions, strict=True)
        chosen.append(_rows(meta, " and ".join(sql), values))
    if filters.text:
        from search.words import matching

        chosen.append(matching(generation, filters.text))
    if filters.where is not None:
        sandbox = generation.connect_meta()
        try:
            chosen.append(matching_rows(sandbox, filters.where))
        finally:
            sandbox.close()
    authors = author_names(meta, filters.exclude_authors)
    titles = title_ids(meta, filters.exclude_titles)
    if not (chosen or authors or titles):
        return None
    left = reduce(np.intersect1d, chosen) if chosen else generation.row_ids
    if authors or titles:
        named = "select title_no from names where kind = 'author' and name in"
        excluded = _rows(
            meta,
            f"title_no in ({named} {_LIST}) or t.title_id in {_LIST}",
            [json.dumps(authors), json.dumps(titles)],
        )
        left = np.setdiff1d(left, excluded, assume_unique=True)
    return left


_LIST = "(select value from json_each(?))"


def _rows(meta: sqlite3.Connection, condition: str, values: Sequence[str]) -> np.ndarray:
    """Row ids of the pictures for which a condition of our own holds; (N,) int64, ascending."""
    rows = meta.execute(
        "select p.row_id from pictures p join titles t using (title_no)"
        f" where {condition} order by 1",
        values,
    )
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


# --- The expression of `--where`. It is not trusted: it runs on a read-only connection
# of its own, whose authorizer knows one view and harmless functions, for two seconds at most.

COLUMNS = (
    "row_id", "picture_id", "title_id", "platform", "title", "author", "authors", "genre",
    "genres", "tags", "year", "era", "star_score", "age_rating", "finished", "first_date",
    "last_date", "kind", "episode_no", "source_path", "width_px", "height_px",
)  # fmt: skip
"""The columns of the view `catalog`, which are the words of an expression."""

FUNCTIONS = frozenset(
    {
        "abs", "coalesce", "date", "glob", "ifnull", "iif", "instr", "julianday", "length",
        "like", "lower", "ltrim", "max", "min", "nullif", "round", "rtrim", "sign", "substr",
        "substring", "trim", "unicode", "upper",
    }
)  # fmt: skip
"""Functions whose result is never larger than their arguments and that read nothing."""

MAX_CHARACTERS = 2_000
MAX_SECONDS = 2.0
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,  # bytes of one value
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 16_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 2,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,  # LIKE's cost grows fast with its wildcards
}
ONLY_COLUMNS = "--where may only compare the columns of the catalog, without sub-queries"
LIST_OF_COLUMNS = f"The columns are {', '.join(COLUMNS)}."
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_TABLES = frozenset({"pictures", "titles", "json_each"})


def matching_rows(connection: sqlite3.Connection, expression: str) -> np.ndarray:
    """Row ids of the pictures for which an SQL expression over `catalog` is true.

    Takes a fresh connection of its own and leaves it restricted; the caller closes it.

    Shapes:  -> (N,) int64, ascending
    Errors:  InputError says what is wrong with the expression, and where
    """
    _check_text(expression)
    for category, limit in _LIMITS.items():
        connection.setlimit(category, limit)
    connection.execute("pragma query_only = on")
    connection.set_authorizer(_authorize)
    deadline = time.monotonic() + MAX_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
    try:
        # Alone it must be an expression, and in parentheses as well: `1) or (1` passes only
        # the second test, `1 order by 1` only the first.
        for text in (f"where {expression}\n", f"where ({expression}\n)"):
            connection.execute(f"explain select row_id from catalog {text}").fetchall()
        rows = connection.execute(f"select row_id from catalog where ({expression}\n)")
        found = np.fromiter((row[0] for row in rows), dtype=np.int64)
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        raise _explained(connection, expression, str(error)) from error
    return np.sort(found)


def _check_text(expression: str) -> None:
    if not expression.strip():
        raise InputError("--where is empty", "Example: --where \"genre = 'animals'\".")
    if len(expression) > MAX_CHARACTERS:
        raise InputError(
            f"--where has {len(expression):,} characters, at most {MAX_CHARACTERS:,} are read"
        )
    if re.search(r"[^\S\t\r\n ]|[\x00-\x08\x0e-\x1f]", expression):
        raise InputError("--where holds a control character")
    if re.search(r"\b(select|values|with)\b", _QUOTED.sub("''", expression), re.IGNORECASE):
        raise InputError(ONLY_COLUMNS, LIST_OF_COLUMNS)
    try:
        expression.encode()
    except UnicodeEncodeError:
        raise InputError("--where is not valid UTF-8") from None


def _authorize(
    action: int, first: str | None, second: str | None, _database: str | None, view: str | None
) -> int:
    """SQLite asks this of everything that a statement would do, before it runs."""
    inside = view == "catalog"
    if action == sqlite3.SQLITE_SELECT:
        allowed = True  # the view has some of its own; the user's were refused as words
    elif action == sqlite3.SQLITE_READ:
        # An empty column is SQLite's way of saying "joined, but nothing of it is read".
        allowed = first == "catalog" or (first in _TABLES and (inside or not second))
    elif action == sqlite3.SQLITE_FUNCTION:
        allowed = second in FUNCTIONS or (inside and second == "group_concat")
    else:
        allowed = False
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _explained(connection: sqlite3.Connection, expression: str, message: str) -> InputError:
    """SQLite's message as one line about the user's own text."""
    if found := re.search(r"no such column: (.+)", message):
        name = found[1].split(".")[-1].strip("\"'`[]")
        return InputError(f"--where: there is no column {name!r}", nearest(name.lower(), COLUMNS))
    if "interrupted" in message:
        return InputError(f"--where took longer than {MAX_SECONDS:g} seconds", "Ask for less.")
    if found := re.search(r'near "(.*)": syntax error', message, re.DOTALL):
        return _syntax_error(connection, expression, found[1])
    if "incomplete input" in message:
        return InputError("--where ends too early", f"It was read up to: {expression} \u25c2")
    if found := re.search(r"no such function: (\S+)|use function: (\S+)", message):
        return InputError(
            f"--where: the function {found[1] or found[2]!r} is not available",
            f"Available are {', '.join(sorted(FUNCTIONS))}.",
        )
    if "not authorized" in message or "prohibited" in message:
        return InputError(ONLY_COLUMNS, LIST_OF_COLUMNS)
    return InputError(f"--where: {message.rstrip('.')}", LIST_OF_COLUMNS)


def _syntax_error(connection: sqlite3.Connection, expression: str, token: str) -> InputError:
    """Point at the token that the parser stumbled over.

    SQLite names the token, not its place. It reads from left to right, so the place is the
    first occurrence at which the text up to and including the token already fails.
    """
    for found in re.finditer(re.escape(token), expression):
        before, after = expression[: found.start()], expression[found.end() :]
        try:
            connection.execute(f"explain select row_id from catalog where {before}{token}")
        except (sqlite3.Error, sqlite3.Warning) as error:
            if f'near "{token}"' in str(error):
                return InputError(
                    f"--where has a syntax error at character {found.start() + 1}:"
                    f" {before}\u25b8{token}\u25c2{after}"
                )
    return InputError(f"--where has a syntax error near {token!r}", "It is one SQL expression.")


# --- Names of authors and titles, as people type them.


MOST_NAMED = 12
"""So few names are all told where none is near."""


def folded(name: str) -> str:
    """A name as people compare it: as `author_key`, and without accents."""
    return without_accents(author_key(name))


def author_names(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[str]:
    """The index's spellings of authors' names.

    Errors:  InputError when the index has no such author; names the nearest
    """
    sql = "select distinct name, name from names where kind = 'author'"
    return _known("author", connection, sql, wanted)


def title_ids(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[str]:
    """Ids of titles that are given by id or by name.

    Errors:  InputError when the index has no such title; names the nearest
    """
    sql = (
        "select name, title_id from titles where name is not null"
        " union select title_id, title_id from titles order by 1"
    )
    return _known("title", connection, sql, wanted)


_LABELS = {
    "genre": ("name", "names where kind = 'genre'"),
    "platform": ("platform", "titles where platform is not null"),
}


def label_names(
    connection: sqlite3.Connection, what: str, wanted: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The index's spellings of genres or platforms, and a note on each that it does not have."""
    column, table = _LABELS[what]
    sql = f"select distinct {column}, {column} from {table}"
    is_there = f"select 1 from {table} and {column} = ? limit 1"
    found: list[str] = []
    notes = []
    for name in wanted:
        if connection.execute(is_there, (name,)).fetchone():
            found.append(name)
            continue
        try:
            found += _known(what, connection, sql, [name])
        except InputError as error:
            notes.append(str(error))
    return found, notes


def unknown_names(connection: sqlite3.Connection, filters: Filters) -> list[str]:
    """Notes on genres and platforms that the index does not have, with the nearest that it has."""
    _, genres = label_names(connection, "genre", filters.genres)
    _, platforms = label_names(connection, "platform", filters.platforms)
    return [*genres, *platforms]


def _known(what: str, connection: sqlite3.Connection, sql: str, wanted: Sequence[str]) -> list[str]:
    if not wanted:  # folding a hundred thousand names takes longer than the search
        return []
    by_key: dict[str, list[tuple[str, str]]] = {}
    for name, value in connection.execute(sql):
        by_key.setdefault(folded(name), []).append((name, value))
    found: list[str] = []
    for name in wanted:
        if folded(name) not in by_key:
            near = difflib.get_close_matches(folded(name), by_key, n=3, cutoff=0.6)
            names = " or ".join(repr(by_key[key][0][0]) for key in near)
            hint = f"Did you mean {names}?" if near else ""
            if not near and 0 < len(by_key) <= MOST_NAMED:
                hint = f"It has {', '.join(sorted(repr(of[0][0]) for of in by_key.values()))}."
            raise InputError(f"the index has no {what} {name!r}", hint)
        found += [value for _, value in by_key[folded(name)]]
    return found

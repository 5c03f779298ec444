"""Which pictures of an index may answer: the `--where` expression and the excluded names.

A filter becomes a set of row ids before the search, so it never thins out a finished list.
The expression comes from a person or, later, from a web page: it runs on a connection of
its own that is read-only, whose authorizer knows one view and a list of harmless functions,
and that is stopped after two seconds.
"""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import InputError
from schemas.names import author_key, without_accents

if TYPE_CHECKING:
    from indexer.vector_index.generations import Generation


# --- What may be asked of a title without writing an expression: genre, platform, years.


@dataclass(frozen=True)
class Facets:
    """Any of these genres, any of these platforms, drawn in these years (both ends count)."""

    genres: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None

    def __bool__(self) -> bool:
        return self != Facets()

    def rows(self, meta: sqlite3.Connection) -> np.ndarray:
        """Row ids of the pictures that have what is asked of them.

        Shapes:  -> (N,) int64, ascending
        """
        conditions, values = ["1"], []
        if self.genres:
            conditions.append(
                "t.title_no in (select title_no from names where kind = 'genre'"
                " and name in (select value from json_each(?)))"
            )
            values.append(json.dumps(self.genres))
        if self.platforms:
            conditions.append("t.platform in (select value from json_each(?))")
            values.append(json.dumps(self.platforms))
        for sign, year in ((">=", self.year_from), ("<=", self.year_to)):
            if year is not None:
                conditions.append(f"coalesce(p.year, t.year) {sign} cast(? as integer)")
                values.append(str(year))
        rows = meta.execute(
            "select p.row_id from pictures p join titles t using (title_no)"
            f" where {' and '.join(conditions)} order by 1",
            values,
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64)


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
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_TABLES = frozenset({"pictures", "titles", "json_each"})


def matching_rows(connection: sqlite3.Connection, expression: str) -> np.ndarray:
    """Row ids of the pictures for which an SQL expression over `catalog` is true.

    Takes a fresh connection of its own and leaves it restricted; the caller closes it.

    Shapes:  -> (N,) int64, ascending
    Errors:  InputError says what is wrong with the expression, and where
    """
    _check_text(expression)
    _restrict(connection)
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
    if not expression.isprintable() and re.search(r"[^\S\t\r\n ]|[\x00-\x08\x0e-\x1f]", expression):
        raise InputError("--where holds a control character")
    if re.search(r"\b(select|values|with)\b", _QUOTED.sub("''", expression), re.IGNORECASE):
        raise InputError(
            "--where may only compare the columns of the catalog, without sub-queries",
            f"The columns are {', '.join(COLUMNS)}.",
        )
    try:
        expression.encode()
    except UnicodeEncodeError:
        raise InputError("--where is not valid UTF-8") from None


def _restrict(connection: sqlite3.Connection) -> None:
    for category, limit in _LIMITS.items():
        connection.setlimit(category, limit)
    connection.execute("pragma query_only = on")
    connection.set_authorizer(_judge)


def _judge(
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
    """SQLite's complaint as one line about the user's own text."""
    if found := re.search(r"no such column: (.+)", message):
        name = found[1].split(".")[-1].strip("\"'`[]")
        return InputError(f"--where: there is no column {name!r}", _nearest_column(name))
    if "interrupted" in message:
        return InputError(f"--where took longer than {MAX_SECONDS:g} seconds", "Ask for less.")
    if found := re.search(r'near "(.*)": syntax error', message, re.DOTALL):
        return _syntax_error(connection, expression, found[1])
    if "incomplete input" in message:
        return InputError("--where ends too early", f"It was read up to: {expression} \u25c2")
    if found := re.search(r"no such function: (\S+)|use function: (\S+)", message):
        name = next(part for part in found.groups() if part)
        return InputError(
            f"--where: the function {name!r} is not available",
            f"Available are {', '.join(sorted(FUNCTIONS))}.",
        )
    if "not authorized" in message or "prohibited" in message:
        return InputError(
            "--where may only compare the columns of the catalog, without sub-queries",
            f"The columns are {', '.join(COLUMNS)}.",
        )
    return InputError(f"--where: {message}", f"The columns are {', '.join(COLUMNS)}.")


def _nearest_column(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"The columns are {', '.join(COLUMNS)}."


def _syntax_error(connection: sqlite3.Connection, expression: str, token: str) -> InputError:
    """Point at the token that the parser stumbled over.

    SQLite names the token, not its place. It reads from left to right, so the place is the
    first occurrence at which the text up to and including the token already fails.
    """
    for found in re.finditer(re.escape(token), expression):
        try:
            connection.execute(
                f"explain select row_id from catalog where {expression[: found.end()]}"
            )
        except sqlite3.Error as error:
            if f'near "{token}"' in str(error):
                before, after = expression[: found.start()], expression[found.end() :]
                return InputError(
                    f"--where has a syntax error at character {found.start() + 1}:"
                    f" {before}\u25b8{token}\u25c2{after}"
                )
        except sqlite3.Warning:
            continue
    return InputError(f"--where has a syntax error near {token!r}", "It is one SQL expression.")


def folded(name: str) -> str:
    """A name as people compare it: as `author_key`, and without accents."""
    return without_accents(author_key(name))


def author_names(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[str]:
    """The index's spellings of authors' names.

    Errors:  InputError when the index has no such author; names the nearest
    """
    if not wanted:  # folding a hundred thousand names takes longer than the search
        return []
    known = [row[0] for row in connection.execute(
        "select distinct name from names where kind = 'author'")]  # fmt: skip
    return _spellings("author", known, wanted)


def title_ids(connection: sqlite3.Connection, wanted: Sequence[str]) -> list[str]:
    """Ids of titles that are given by id or by name.

    Errors:  InputError when the index has no such title; names the nearest
    """
    if not wanted:
        return []
    by_name: dict[str, list[str]] = {}
    for title_id, name in connection.execute("select title_id, name from titles"):
        for key in {title_id, name or title_id}:
            by_name.setdefault(key, []).append(title_id)
    return [i for name in _spellings("title", by_name, wanted) for i in by_name[name]]


def _spellings(what: str, known: Iterable[str], wanted: Iterable[str]) -> list[str]:
    by_folded: dict[str, list[str]] = {}
    for name in known:
        by_folded.setdefault(folded(name), []).append(name)
    found: list[str] = []
    for name in wanted:
        if folded(name) not in by_folded:
            near = difflib.get_close_matches(folded(name), by_folded, n=3, cutoff=0.6)
            names = " or ".join(repr(by_folded[key][0]) for key in near)
            raise InputError(
                f"the index has no {what} {name!r}",
                f"Did you mean {names}?" if near else "",
            )
        found += by_folded[folded(name)]
    return found


def rows_by_authors(connection: sqlite3.Connection, names: Sequence[str]) -> np.ndarray:
    """Row ids of the pictures of titles that any of these people made; (N,) int64."""
    return _rows(
        connection,
        "select row_id from pictures where title_no in (select title_no from names"
        " where kind = 'author' and name in (select value from json_each(?)))",
        names,
    )


def rows_of_titles(connection: sqlite3.Connection, ids: Sequence[str]) -> np.ndarray:
    """Row ids of the pictures of these titles; (N,) int64."""
    return _rows(
        connection,
        "select row_id from pictures where title_no in (select title_no from titles"
        " where title_id in (select value from json_each(?)))",
        ids,
    )


def rows_of_pictures(connection: sqlite3.Connection, ids: Sequence[str]) -> np.ndarray:
    """Row ids of the pictures with these ids, in all their titles; (N,) int64, ascending."""
    return np.sort(
        _rows(
            connection,
            "select row_id from pictures where picture_id in (select value from json_each(?))",
            ids,
        )
    )


def _rows(connection: sqlite3.Connection, sql: str, values: Sequence[str]) -> np.ndarray:
    import json

    rows = connection.execute(sql, (json.dumps(list(values)),))
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


# --- Which pictures may answer a query: every filter becomes row ids before the search.


@dataclass(frozen=True)
class Candidates:
    """Only `wanted` pictures (None: all) without `unwanted` ones.

    Shapes:  both (N,) int64 row ids
    """

    wanted: np.ndarray | None
    unwanted: np.ndarray
    count: int

    @property
    def everything(self) -> bool:
        """Whether no picture is left out."""
        return self.wanted is None and not self.unwanted.size

    def parameters(self) -> Any:
        """The filter as FAISS applies it while it searches; None when there is none.

        Of one call only: the index is shared between threads.
        """
        import faiss

        selector: Any
        if self.wanted is not None:
            selector = faiss.IDSelectorBatch(self.wanted)
        elif self.unwanted.size:
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(self.unwanted))
        else:
            return None
        return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]


def choose(
    generation: Generation,
    *,
    where: str | None,
    authors: Sequence[str],
    titles: Sequence[str],
    facets: Facets | None = None,
    pictures: Sequence[str] | None = None,
) -> Candidates:
    """Pictures for which `where` holds, without those of the named authors and titles.

    `pictures` narrows the choice to these ids.

    Errors:  InputError when the expression is wrong or a name is not in the index
    """
    meta = generation.meta
    unwanted = np.union1d(
        rows_by_authors(meta, author_names(meta, authors)),
        rows_of_titles(meta, title_ids(meta, titles)),
    )
    if where is None and not facets and pictures is None:
        return Candidates(None, unwanted, generation.pictures_count - len(unwanted))
    chosen = [facets.rows(meta)] if facets else []
    if pictures is not None:
        chosen.append(rows_of_pictures(meta, pictures))
    if where is not None:
        sandbox = generation.connect_meta()
        try:
            chosen.append(matching_rows(sandbox, where))
        finally:
            sandbox.close()
    wanted = reduce(np.intersect1d, chosen)
    wanted = np.setdiff1d(wanted, unwanted, assume_unique=True)
    return Candidates(wanted, unwanted, len(wanted))

"""What is wrong with a statement, as one line about the user's own text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from schemas.errors import InputError, ToonsearchError
from schemas.storage.snapshot import all_views

OUT_OF_MEMORY = "the statement needs more memory than it may have"
ASK_FOR_LESS = "Ask for less."

_CARET = re.compile(r"LINE (\d+): (.*)\n( *)(\^+)")


def explain(error: Exception, sql: str, cause: ToonsearchError | None = None) -> ToonsearchError:
    """What a statement that DuckDB refused did wrong, where, and what was probably meant.

    `cause` is the error that one of our own functions raised while the statement ran.
    """
    if cause is not None:
        return cause
    text = str(error).replace("\nnanobind", "")
    head = text.splitlines()[0] if text else type(error).__name__
    head = re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", head)
    where = _place(text)

    def found(pattern: str) -> str | None:
        """What the first group that matched holds; empty when none did."""
        match = re.search(pattern, text, re.DOTALL)
        return None if match is None else next((part for part in match.groups() if part), "")

    if (token := found(r"syntax error at (?:or near \"(.*?)\"|end of input)")) is not None:
        what = f"near {token!r}" if token else "at its end"
        return InputError(f"the statement has a syntax error {what}{where}")
    if name := found(r"Table with name (\S+) does not exist"):
        return InputError(f"there is no view {name!r}{where}", nearest_name(name, all_views()))
    if name := found(r"Table Function with name (\S+) does not exist"):
        known = [*all_views(), "similar", "similar_titles"]
        return InputError(f"there is no table function {name!r}{where}", nearest_name(name, known))
    if name := found(
        r"Referenced column \"?(.+?)\"? not found in FROM|does not have a column named \"(.+?)\""
    ):
        return InputError(f"there is no column {name!r}{where}", nearest_name(name, _columns(sql)))
    if name := found(r"Function with name \"?(\S+?)\"? does not exist"):
        meant = found(r"Did you mean \"(.+?)\"")
        hint = f"Did you mean {meant!r}?" if meant else ""
        return InputError(f"there is no function {name!r}{where}", hint)
    if names := found(r"not provided for the following parameters: ([^\n]+)"):
        missing = [name.strip() for name in names.split(",")]
        return InputError(
            "the statement has parameters without a value: "
            + ", ".join(f"${name}" for name in missing),
            f"Give each one: -p {missing[0]}=VALUE.",
        )
    if message := found(r"executing the UDF: (?:\w+: )?([^\n]+)"):
        return InputError(message.strip())
    if "Out of Memory" in text or "bad allocation" in text or "bad_alloc" in text:
        return InputError(OUT_OF_MEMORY, ASK_FOR_LESS)
    if "file system operations are disabled" in text or "Loading external extensions" in text:
        return InputError("the statement reaches outside the catalog", "It may only read views.")
    if "'pytz'" in text:  # of a statement that is no SELECT
        return InputError("a time with time zone cannot be told here", "Cast it to timestamp.")
    if "configuration has been locked" in text:
        return InputError("the statement changes a setting", "It may only read views.")
    return InputError(f"the statement cannot be run: {head}{where}")


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint: the known name that is spelt most alike, or where all of them are listed."""
    near = difflib.get_close_matches(name.strip('"').lower(), list(known), n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return "`toonsearch sql --schema` lists all views and columns."


def _place(text: str) -> str:
    """The place that DuckDB's caret shows, with a few words around it."""
    found = _CARET.search(text)
    if found is None:
        return ""
    start = max(0, len(found[3]) - len(f"LINE {found[1]}: "))
    line, end = found[2], start + len(found[4])
    marked = f"{line[:start]}\u25b8{line[start:end]}\u25c2{line[end:]}".strip()
    return f" on line {found[1]}: {marked}"


def _columns(sql: str) -> set[str]:
    """Columns of the views that a statement names, or of all."""
    words = set(re.findall(r"\w+", sql.lower()))
    named = [view for name, view in all_views().items() if name in words]
    return {column for view in named or all_views().values() for column, _ in view.columns}

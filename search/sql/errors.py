"""DuckDB's errors as one line about the user's own statement."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from schemas.errors import InputError, ToonsearchError
from schemas.storage.snapshot import all_views

TOO_MUCH = "the statement needs more memory than it may have"

_CARET = re.compile(r"LINE (\d+): (.*)\n( *)(\^+)")
_UDF = re.compile(r"executing the UDF: (?:\w+: )?(.+)", re.DOTALL)


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
    if found := re.search(r"syntax error at (?:or near \"(.*?)\"|end of input)", text, re.DOTALL):
        what = f"near {found[1]!r}" if found[1] else "at its end"
        return InputError(f"the statement has a syntax error {what}{where}")
    if found := re.search(r"Table with name (\S+) does not exist", text):
        return InputError(f"there is no view {found[1]!r}{where}", _nearest(found[1], _views()))
    if found := re.search(r"Table Function with name (\S+) does not exist", text):
        return InputError(
            f"there is no table function {found[1]!r}{where}",
            _nearest(found[1], [*_views(), "similar", "similar_titles"]),
        )
    if found := re.search(r"Referenced column \"?(.+?)\"? not found in FROM|"
                          r"does not have a column named \"(.+?)\"", text):  # fmt: skip
        name = next(part for part in found.groups() if part)
        return InputError(f"there is no column {name!r}{where}", _nearest(name, _columns(sql)))
    if found := re.search(r"Function with name \"?(\S+?)\"? does not exist", text):
        hint = re.search(r"Did you mean \"(.+?)\"", text)
        return InputError(
            f"there is no function {found[1]!r}{where}",
            f"Did you mean {hint[1]!r}?" if hint else "",
        )
    if found := re.search(r"not provided for the following parameters: (.+)", head):
        names = ", ".join(f"${name.strip()}" for name in found[1].split(","))
        return InputError(
            f"the statement has parameters without a value: {names}",
            f"Give each one: -p {found[1].split(',')[0].strip()} VALUE.",
        )
    if found := _UDF.search(text):
        return InputError(found[1].strip().splitlines()[0])
    if "Out of Memory" in text or "bad allocation" in text or "std::bad_alloc" in text:
        return InputError(TOO_MUCH, "Ask for less.")
    if "file system operations are disabled" in text or "Loading external extensions" in text:
        return InputError("the statement reaches outside the catalog", "It may only read views.")
    if "configuration has been locked" in text:
        return InputError("the statement changes a setting", "It may only read views.")
    return InputError(f"the statement cannot be run: {head}{where}")


def _place(text: str) -> str:
    """The place that DuckDB's caret shows, with a few words around it."""
    found = _CARET.search(text)
    if found is None:
        return ""
    shown = len(f"LINE {found[1]}: ")
    start = max(0, len(found[3]) - shown)
    line, end = found[2], start + len(found[4])
    marked = f"{line[:start]}\u25b8{line[start:end]}\u25c2{line[end:]}".strip()
    return f" on line {found[1]}: {marked}"


def _views() -> list[str]:
    return list(all_views())


def _columns(sql: str) -> list[str]:
    """Columns of the views that a statement names, or of all."""
    views: Mapping[str, object] = all_views()
    words = set(re.findall(r"\w+", sql.lower()))
    named = [view for name, view in all_views().items() if name in words]
    return sorted({c for view in (named or all_views().values()) for c, _ in view.columns}) or list(
        views
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    words = list(known)
    near = difflib.get_close_matches(name.strip('"').lower(), words, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return "`toonsearch sql --schema` lists all views and columns."

"""What a stranger's statement may name: the documented views, and a few harmless functions.

The check reads DuckDB's own syntax tree of the statement, so that nothing can hide behind
quotes, comments or brackets. Views are expanded only later: what they read is not the
statement's own doing.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from schemas.views import all_views

if TYPE_CHECKING:
    import duckdb

TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "similar", "similar_titles", "unnest"}
)
"""Functions that a statement may read like tables; none of them opens anything."""

REFUSED_FUNCTIONS = frozenset({"current_setting", "getenv", "query", "query_table", "write_log"})
"""Scalar functions that tell of, or write to, what is not the catalog."""


def one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one SELECT that a text holds, checked.

    Errors:  InputError when it is anything else, or names what it may not
             duckdb.ParserException when it is no SQL at all
    """
    import duckdb

    found = connection.extract_statements(sql)
    if len(found) != 1:
        raise InputError(
            "there is no statement" if not found else "only one statement is run at a time"
        )
    if found[0].type != duckdb.StatementType.SELECT:
        kind = found[0].type.name.lower().replace("_", " ")
        raise InputError(f"{kind} statements are not allowed here", "Only SELECT is.")
    row = connection.execute("select json_serialize_sql(?)", [found[0].query]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        raise InputError("the statement is not a plain SELECT")
    _check(tree)
    return found[0]


def _check(tree: dict[str, Any]) -> None:
    nodes = list(_nodes(tree))
    known = {name.lower() for name in all_views()} | {
        str(entry.get("key", "")).lower() for node in nodes for entry in _named_parts(node)
    }
    for node in nodes:
        kind = node.get("type")
        if kind == "BASE_TABLE":
            _check_table(node, known)
        elif kind == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name")).lower()
            if name not in TABLE_FUNCTIONS:
                raise InputError(
                    f"the table function {name!r} is not available here",
                    f"Available are {', '.join(sorted(TABLE_FUNCTIONS))}.",
                )
        elif kind == "SHOW_REF" and node.get("query") is None and node.get("table_name"):
            _check_table({**node, "schema_name": ""}, known | {'"tables"', "tables"})
        elif str(node.get("function_name", "")).lower() in REFUSED_FUNCTIONS:
            raise InputError(f"the function {node['function_name']!r} is not available here")


def _named_parts(node: dict[str, Any]) -> list[dict[str, Any]]:
    """The `with` parts of a query."""
    parts = node.get("cte_map")
    return list(parts.get("map", [])) if isinstance(parts, dict) else []


def _check_table(node: dict[str, Any], known: set[str]) -> None:
    name = str(node.get("table_name"))
    outside = node.get("schema_name") not in ("", "main") or node.get("catalog_name")
    if outside or name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.5)
        raise InputError(
            f"there is no view {name!r}",
            f"Did you mean {near[0]!r}?" if near else "Known: " + ", ".join(all_views()) + ".",
        )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree; without recursion, which a deep statement would exhaust."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)

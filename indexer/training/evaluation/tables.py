"""The figures of an evaluation as tables, and those in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from indexer.training.evaluation.confounders import HITS
from indexer.training.evaluation.labels import STRANGERS, LabelResult
from indexer.training.evaluation.protocol import Evaluation, Gain, Interval, RetrievalRow, ShownRow
from indexer.training.evaluation.retrieval import Failure
from schemas.records import CONCLUSIONS


class Table(NamedTuple):
    """A table of the report; the caption may be empty."""

    caption: str
    header: list[str]
    rows: list[list[str]]


def tables(found: Evaluation) -> list[Table]:
    """All tables that have a row."""
    several = [
        retrieval_table(found.retrieval),
        gain_table(found.gains),
        view_table(found.retrieval),
        shown_table(found.confounded),
        style_table(found.confounded),
        label_table(found.labels, found.shown.name),
        unknown_table(found.labels),
        said_table(found.labels),
        failure_table(found.failures, found.shown.name),
    ]
    return [table for table in several if table.rows]


def lines(found: Evaluation) -> str:
    """What stands below the tables, in a paragraph."""
    return " ".join([found.model_authors, *found.notes])


def render(found: Evaluation) -> str:
    """All tables in Markdown."""
    return "\n\n".join([*map(markdown, tables(found)), lines(found)]).strip()


def markdown(table: Table) -> str:
    """A table with its caption."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table.caption}\n\n{rows}".strip()


def retrieval_table(table: Sequence[RetrievalRow]) -> Table:
    """R@1, R@10, macro R@1, AP@100, mAP@10; with several splits R@1 of each."""
    rows = []
    several = any(len(row.by_split) > 1 for row in table)
    for row in table:
        f = row.figures
        values = (f.r_at_1, f.r_at_10, f.macro_r_at_1, f.ap_at_100, f.map_at_10)
        by_split = [" ".join(f"{r_at_1:.3f}" for r_at_1 in row.by_split)] if several else []
        name = f"{row.name} ({row.note})" if row.note else row.name
        rows.append([name, *(f"{value:.3f}" for value in values), *by_split])
    header = ["features", "R@1", "R@10", "macro R@1", "AP@100", "mAP@10"]
    return Table("", [*header, "R@1 by split"] if several else header, rows)


def gain_table(gains: Sequence[Gain]) -> Table:
    """Gains of R@1 and AP@100 with their intervals."""

    def cell(interval: Interval) -> str:
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*interval)

    rows = [[one.name, one.over, cell(one.r_at_1), cell(one.ap_at_100)] for one in gains]
    caption = "Gains, with 95 % intervals over authors, whose queries are paired:"
    return Table(caption, ["features", "over", "R@1", "AP@100"], rows)


def view_table(table: Sequence[RetrievalRow]) -> Table:
    """R@1 of each degraded copy."""
    rows = [row for row in table if row.views]
    cells = [
        [row.name, *(f"{r:.3f}" for r in (row.figures.r_at_1, *row.views.values()))] for row in rows
    ]
    header = ["features", "clean", *(rows[0].views if rows else ())]
    return Table("R@1 when only the query is changed:", header, cells)


def shown_table(table: Sequence[ShownRow]) -> Table:
    """Content and colour."""
    kinds = sorted({kind for row in table for kind in row.colour})
    asked = [next(row.colour[kind] for row in table if kind in row.colour) for kind in kinds]
    has_content = any(row.content is not None for row in table)
    rows = []
    for row in table:
        content = [f"{row.content:.3f}" if row.content is not None else ""] if has_content else []
        kept = [
            f"{HITS * row.colour[kind].share:.1f}" if kind in row.colour else "" for kind in kinds
        ]
        if any(content + kept):
            rows.append([row.name, *content, *kept])
    header = ["features", *(["content"] if has_content else ())]
    header += [
        f"colour: {kind} ({one.queries} of {one.pictures:,})"
        for kind, one in zip(kinds, asked, strict=True)
    ]
    caption = (
        "Content: share of pictures whose nearest neighbour of another content is in their style."
        f" Colour: how many of the first {HITS} results stay when the query's hues are turned."
    )
    return Table(caption, header, rows)


def style_table(table: Sequence[ShownRow]) -> Table:
    """Content by style, of the last row: the model."""
    last = next((row for row in reversed(table) if row.by_style), None)
    rows = [[style, f"{share:.3f}"] for style, share in last.by_style.items()] if last else []
    return Table(f"Content by style, {last.name if last else ''}:", ["style", "share"], rows)


def label_table(labels: LabelResult, name: str) -> Table:
    """Accuracy and calibration of each kind of label, by each way of predicting it."""
    rows = []
    for row in labels.figures:
        values = (row.top1, row.top5, row.macro_f1, row.calibration_error, row.chance_error)
        shares = ["" if value is None else f"{value:.3f}" for value in values]
        rows.append([row.kind, row.method, *shares, str(row.queries)])
    header = [
        "label",
        "by",
        "top-1",
        "top-5",
        "macro-F1",
        "calibration error",
        "of chance",
        "queries",
    ]
    return Table(f"Labels of series held out, {name}:", header, rows)


def unknown_table(labels: LabelResult) -> Table:
    """How well strangers are told from authors of the catalog."""
    rows = [
        [one.against, f"{one.auroc:.3f}", f"{one.fpr95:.3f}", f"{one.strangers} / {one.known}"]
        for one in labels.unknown
    ]
    header = ["strangers against", "AUROC", "false positives at 95 % recall", "pictures"]
    return Table("Unknown authors: pictures by authors who are not in the catalog", header, rows)


def said_table(labels: LabelResult) -> Table:
    """What is concluded of known authors' pictures and of strangers'."""
    rows = [
        [
            one.asked,
            *(f"{one.said[what]:.3f}" for what in CONCLUSIONS),
            f"{one.right:.3f}" if one.right == one.right and one.asked != STRANGERS else "",
            str(one.pictures),
        ]
        for one in labels.said
    ]
    header = ["asked", *CONCLUSIONS, "right where an author is named", "pictures"]
    return Table("What is concluded, share of the pictures", header, rows)


def failure_table(failures: Sequence[Failure], name: str) -> Table:
    """The authors who are found worst, and whom their pictures find."""
    rows = []
    for one in failures:
        instead = ", ".join(f"{author} {share:.2f}" for author, share in one.instead)
        rows.append([one.author, str(one.queries), f"{one.r_at_1:.3f}", instead])
    header = ["author", "queries", "R@1", "found instead, share of the queries"]
    return Table(f"Who is found worst, {name}:", header, rows)

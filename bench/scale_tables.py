"""The tables of docs/scale.md, from what `python -m bench --only scale` and `--only peers` measured."""

from __future__ import annotations

import json
from pathlib import Path

from bench.figures import Figure

Found = dict[str, Figure]
COMMANDS = {
    "fill": "the generated catalog written", "build": "`index build`", "verify": "`index verify`",
    "sql": "`sql`: count of the view catalog", "colors": "`colors`, of pictures without files",
    "judge": "`judge`", "report": "`report --as-is`", "backup": "`backup`",
    "nightly": "`nightly`, one in a hundred new",
}  # fmt: skip
KINDS = ("flat", "ivf", "ivfpq", "hnsw")
SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
SHARD_PICTURES = 20_000_000
"""What one machine is given in the sizing: its lists then are a few GB."""
CORES = 16
BUILD_CORES = 2
"""Much of a build takes one core: more than were measured are not reckoned with."""
ENCODED_A_SECOND = 94.4
"""Pictures that two cores decode and encode, where bench/results has no newer figure."""


def measured(results: Path, part: str) -> dict[int, Found]:
    """Figures by name for each size that was measured, smallest first."""
    found = {}
    for path in results.glob(f"{part}-*.json"):
        figures = [Figure(**one) for one in json.loads(path.read_text())["figures"]]
        found[int(path.stem.rpartition("-")[2])] = {one.name: one for one in figures}
    return dict(sorted(found.items()))


def said(figure: Figure | None) -> str:
    """A figure as a cell, a missed target marked."""
    if figure is None:
        return ""
    digits = (
        3 if figure.unit == "" else 0 if figure.value >= 100 else 1 if figure.value >= 10 else 2
    )
    text = f"{figure.value:,.{digits}f} {figure.unit}".strip()
    return text if figure.reached else f"**{text}** ({figure.wanted})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def scale_tables(results: Path) -> list[str]:
    """Commands, queries and kinds for each size."""
    lines: list[str] = []
    for size, of in measured(results, "scale").items():
        rows = [
            [what, *(said(of.get(f"{name}_{key}")) for key in ("cpu", "wall", "own", "peak"))]
            for name, what in COMMANDS.items()
            if f"{name}_cpu" in of
        ]
        head = [f"{size:,} pictures", "processors", "clock", "memory", "with mapped files"]
        lines += [*table(head, rows), ""]
        rows = [
            [of[name].what, said(of[name])]
            for name in ("cold", "cold_cpu", "cold_own", "cold_peak", "warm", "warm_p99",
                         "warm_cpu", "warm_cpu_p99",
                         "warm_recall", "meta_rows", "meta_rows_p99")
            if name in of
        ]  # fmt: skip
        lines += [*table([f"queries at {size:,}", "measured"], rows), ""]
        keys = ("build", "bytes", "recall", "recall_new", "p50", "p99")
        head = [f"kinds at {size:,}", "candidates made", "for each picture", "recall",
                "recall, new vectors", "nearest 200, median", "p99"]  # fmt: skip
        rows = [
            [f"`{kind}`", *(said(of.get(f"{kind}_{key}")) for key in keys)]
            for kind in KINDS
            if f"{kind}_p50" in of
        ]
        lines += [*table(head, rows), ""]
    return lines[:-1]


def peer_tables(results: Path) -> list[str]:
    """What else finds vectors, for each size."""
    lines: list[str] = []
    for size, of in measured(results, "peers").items():
        keys = ("build", "memory", "recall", "cold", "cold_cpu", "cold_memory", "warm", "warm_cpu")
        names = [name.removesuffix("_warm") for name in of if name.endswith("_warm")]
        head = [f"{size:,} vectors", "build, processors", "its memory", "recall of ten",
                "cold process", "processors", "its memory", "warm query", "processor"]  # fmt: skip
        rows = [
            [
                of[f"{name}_warm"].what.partition(",")[0],
                *(said(of.get(f"{name}_{key}")) for key in keys),
            ]
            for name in names
        ]
        lines += [*table(head, rows), ""]
    return lines[:-1]


def sizing_table(results: Path) -> list[str]:
    """Disk, memory, hours and queries of catalogs of SIZES, from the largest that was measured.

    What is written or read for each picture grows with their number; sorting a vector into lists,
    and reading the lists of a query, with the square root of a shard's.
    """
    needed = {"build_cpu", "ivf_build", "ivf_p50", "ivf_bytes", "ivfpq_bytes"}
    sizes = {size: of for size, of in measured(results, "scale").items() if needed <= of.keys()}
    if not sizes:
        return []
    base, of = max(sizes.items())
    encoding = results / "encoding.json"
    encoded = ENCODED_A_SECOND
    if encoding.exists():
        figures = json.loads(encoding.read_text())["figures"]
        encoded = next(one["value"] for one in figures if one["name"] == "bulk_encoding")
    disk = sum(one.value for name, one in of.items() if name.startswith("disk_"))
    sorted_s = of["ivf_build"].value
    rest_s = max(of["build_cpu"].value - sorted_s, 0.0)
    rows = []
    for count in SIZES:
        shards = -(-count // SHARD_PICTURES)
        each = count / shards
        grown = (each / base) ** 0.5
        build_h = (rest_s + sorted_s * grown) * each / base / BUILD_CORES / 3600
        query_ms = of["ivf_p50"].value * grown
        rows.append([
            f"{count:,}", f"{shards:,}", f"{disk * count / 1e9:,.0f} GB",
            f"{of['ivf_bytes'].value * each / 1e9:,.1f} GB",
            f"{of['ivfpq_bytes'].value * each / 1e9:,.1f} GB",
            f"{count / (encoded / 2 * CORES * shards) / 3600:,.1f} h", f"{60 * build_h:,.0f} min",
            f"{query_ms:,.1f} ms", f"{1e3 * CORES / query_ms:,.0f} 1/s",
        ])  # fmt: skip
    head = ["pictures", "shards", "disk, without pictures", "lists of `ivf`, a shard",
            "of `ivfpq`", "encoding", "build", "search for vectors", "a shard's queries"]  # fmt: skip
    return table(head, rows)

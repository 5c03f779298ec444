"""Strips and pages of the catalog: which stored pictures make one, and cutting those that are new.

A strip is cut once for each version of the cutter and each set of pictures. Its panels are
committed before the row of the strip that says so: a run that was killed in between does it again
and finds the same panels, under the same keys.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.attempt import WorkReport, in_order
from schemas.images import PictureError, PictureLimits, stored_bytes
from schemas.names import natural_key
from schemas.progress import Progress
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from indexer.panels.stitch import CutPanel, Strip

CUTTER = "2"
"""Raise it when the cutter finds other panels: all strips are cut again."""

TALL = 2.5
"""A picture so many times as tall as wide is a strip, whatever it was brought in as."""
TESTED = 8
"""Pictures of a folder that are looked at to tell slices of a strip from pictures of their own."""
EPISODE_DEPTH = 2
"""Slashes in the path of an episode's folder: author/title/episode."""
SAME_WIDTH = 0.8
"""Share of a strip's slices that have the most frequent width."""
DRAWN = 12.0
"""Levels: a row that varies by more has something drawn on it."""
COMMIT_STRIPS = 32
COMMIT_SECONDS = 30.0
WINDOW = 3  # strips that are cut ahead

CUT, WHOLE, FAILED = "cut", "whole", "failed"
APART = "no drawing runs on from one picture to the next"
NOTHING = "no panels were found"
ONE_DRAWING = "one drawing, and no strip"


class Slice(NamedTuple):
    """What the catalog says of a stored picture that may be a page or a slice."""

    picture_id: str
    title_id: str
    kind: str
    episode_no: int | None
    source: str
    source_path: str
    file: str
    width_px: int
    height_px: int

    @property
    def is_tall(self) -> bool:
        return self.height_px > TALL * self.width_px

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.source_path).parent)


@dataclass(frozen=True)
class Candidate:
    """A strip or page of one title, its slices in order. `is_guess` when nothing but their folder
    says that they belong together."""

    slices: tuple[Slice, ...]
    is_guess: bool = False

    @property
    def title_id(self) -> str:
        return self.slices[0].title_id

    @property
    def is_named(self) -> bool:
        """Whether somebody said that it is a strip or page, or its folder does."""
        return len(self.slices) > 1 or self.slices[0].kind in ("strip", "page")

    @property
    def strip_id(self) -> str:
        """The picture's own id, or a hash of the ids."""
        ids = [one.picture_id for one in self.slices]
        return ids[0] if len(ids) == 1 else hashlib.sha256("\n".join(ids).encode()).hexdigest()

    @property
    def key(self) -> tuple[str, str]:
        return self.strip_id, self.title_id


def cut_pending(
    layout: Layout,
    settings: Settings,
    *,
    retry_failed: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> WorkReport:
    """Cut every strip and page that is new into panels, or as many as are done when `is_over` says
    that time is up. With the setting `panels.cut` off, what was cut becomes whole again.

    Counts: cut, panels, whole, failed, already, pending, left, removed (strips whose pictures have
    changed or are gone). The caller holds the data root's lock, but for a dry run.

    Errors:  InputError when the catalog cannot be read or written
    """
    started = time.perf_counter()
    catalog = Catalog(layout)
    rtl = settings.panels.direction == "rtl"
    work = _Work(catalog, f"{CUTTER} rtl" if rtl else CUTTER)
    report = WorkReport({"already": 0})
    if settings.panels.cut == "off":
        candidates: list[Candidate] = []
    else:
        candidates = list(work.candidates())
    pending = [one for one in candidates if not work.is_done(one, retry_failed)]
    report.counts["already"] = len(candidates) - len(pending)
    pending = pending[:limit]
    if dry_run:
        report.counts["pending"] = len(pending)
        return report
    report.counts |= dict.fromkeys(("cut", "panels", "whole", "failed"), 0)
    if removed := work.remove_all_but(candidates):
        report.counts["removed"] = removed
    limits = settings.decode.limits
    done = 0
    try:
        while pending and not report.counts.get("left"):
            apart: list[Candidate] = []
            total = done + len(pending)
            for one, found in in_order(partial(_cut, layout, limits, rtl), pending, WINDOW):
                done += 1
                if isinstance(found, PictureError):
                    found = _Found(FAILED, str(found.reason), notes=[found.message])
                work.add(one, found, report)
                if found.reason == APART:
                    apart += [each for each in _alone(one.slices) if not work.is_done(each)]
                if progress:
                    progress(done, total + len(apart))
                if is_over() and done < total:
                    report.counts["left"] = total - done
                    break
            pending = apart  # tall pictures of a folder of pictures of their own
    finally:  # Ctrl-C keeps what was already cut
        work.commit()
    report.seconds = time.perf_counter() - started
    return report


# --- Which pictures make a strip.


def find_candidates(
    slices: Sequence[Slice], is_apart: Callable[[Candidate], bool] = lambda one: False
) -> Iterator[Candidate]:
    """Strips and pages among the stored pictures of a catalog: pages and tall pictures are one
    each; slices belong together by their episode, or else by their folder; and so do, as a guess,
    numbered pictures of one width in an imported folder below that of a title (author/title/12),
    unless it is known that they are apart.
    """
    strips: defaultdict[tuple[Any, ...], list[Slice]] = defaultdict(list)
    folders: defaultdict[tuple[str, ...], list[Slice]] = defaultdict(list)
    alone: list[Slice] = []
    for one in slices:
        if one.kind == "strip" and (one.episode_no is not None or not one.is_tall):
            place = one.folder if one.episode_no is None else one.episode_no
            strips[one.title_id, one.source, place].append(one)
        elif one.kind in ("page", "strip"):
            alone.append(one)
        elif one.source.startswith("folder:"):
            folders[one.title_id, one.source, one.folder].append(one)
        else:
            alone.append(one)
    for group in strips.values():
        yield Candidate(_ordered(group))
    for group in folders.values():
        guess = Candidate(_ordered(group), is_guess=True)
        # Pictures that lie in the folder of a title are pictures of their own: backgrounds that run
        # on from one to the next would make strips of them.
        is_episode = group[0].folder.count("/") >= EPISODE_DEPTH
        if is_episode and _may_be_strip(guess.slices) and not is_apart(guess):
            yield guess
        else:
            alone += group
    yield from _alone(alone)


def _alone(slices: Sequence[Slice]) -> Iterator[Candidate]:
    for one in slices:
        if one.is_tall or one.kind in ("page", "strip"):
            yield Candidate((one,))


def _ordered(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    def place(one: Slice) -> tuple[int, list[tuple[int, str]]]:
        # Slices from a site have their place behind their address where that does not sort.
        _, _, number = one.source_path.rpartition("#")
        return (int(number) if number.isdecimal() else 0, natural_key(one.source_path))

    return tuple(sorted(slices, key=place))


def _may_be_strip(slices: Sequence[Slice]) -> bool:
    if len(slices) < 2 or not all(re.search(r"\d", Path(s.source_path).stem) for s in slices):
        return False
    widths = [one.width_px for one in slices]
    return widths.count(max(widths, key=widths.count)) >= SAME_WIDTH * len(widths)


# --- One strip.


@dataclass(frozen=True)
class _Found:
    """What came of one strip: its panels as rows, without title and strip."""

    status: str
    reason: str | None = None
    panels: list[dict[str, Any]] = field(default_factory=list)
    width: int = 0
    height: int = 0
    left_out: str = "[]"
    notes: list[str] = field(default_factory=list)


def _cut(layout: Layout, limits: PictureLimits, rtl: bool, candidate: Candidate) -> _Found:
    """Cut one strip, whose slices are read and verified one after the other."""
    from indexer.panels.cut import CutOptions, is_one_drawing
    from indexer.panels.stitch import Strip

    paths = {layout.picture(one.file): one for one in candidate.slices}
    if candidate.is_guess and not _runs_on([*paths][:TESTED], limits):
        return _Found(WHOLE, APART)
    strip = Strip([*paths], limits, decode=_decoded)
    found = [(one.panel, *_looked_at(one, limits)) for one in strip.panels(CutOptions(rtl=rtl))]
    names = {path.name: one.source_path for path, one in paths.items()}
    notes = [re.sub(r"\S+", lambda word: names.get(word[0], word[0]), note) for note in strip.notes]
    size = (strip.width, strip.height)
    if not strip.slices:
        return _Found(FAILED, next(iter(strip.failed.values()), NOTHING), notes=notes)
    left_out = json.dumps([{"what": one.what, "box": one.box} for one in strip.left_out])
    if not any(panel.border != "page" for panel, *_ in found):
        return _Found(WHOLE, NOTHING, [], *size, left_out, notes)
    if not candidate.is_named and is_one_drawing([panel for panel, *_ in found], *size):
        return _Found(WHOLE, ONE_DRAWING, [], *size, left_out, notes)
    rows = []
    for order, (panel, digits, reason) in enumerate(found, 1):
        parts = _parts(strip, panel.box, paths)
        rows.append(
            {
                "picture_id": _panel_id(parts),
                "order_no": order,
                "box": list(panel.box),
                "slices": parts,
                "border": panel.border,
                "confidence": float(panel.confidence),
                "perceptual_hash": digits,
                "cutter": CUTTER,
                "status": "stored" if reason is None else "skipped",
                "reason": reason,
            }
        )
    return _Found(CUT, None, rows, *size, left_out, notes)


def _decoded(path: Path, limits: PictureLimits) -> Image.Image:
    from schemas.images import decode_picture

    return decode_picture(stored_bytes(path, path.stem), limits)


def _looked_at(one: CutPanel, limits: PictureLimits) -> tuple[str, str | None]:
    """The perceptual hash of a panel, and why it is of no use, if it is."""
    from PIL import Image

    from schemas.images import Reason, is_blank, perceptual_hash

    image = Image.fromarray(one.pixels)
    reason = None
    if min(image.size) < limits.min_side_px:
        reason = str(Reason.TOO_SMALL)
    elif is_blank(image):
        reason = str(Reason.BLANK)
    return f"{perceptual_hash(image):016x}", reason


def _parts(
    strip: Strip, box: tuple[int, int, int, int], paths: dict[Path, Slice]
) -> list[dict[str, Any]]:
    """The parts of a panel in pixels of the stored pictures, as a column has them."""
    parts = []
    for one, (x, y, w, h) in strip.in_slices(box):
        known = paths[one.path]
        # A very large JPEG is decoded at half its size.
        read = (one.height + one.skipped) / one.scale
        times = max(
            1, round(max(known.height_px, known.width_px) / max(read, strip.width / one.scale))
        )
        if w and h:
            shown = [value * times for value in (x, y, w, h)]
            parts.append({"picture_id": known.picture_id, "file": known.file, "box": shown})
    return parts


def _panel_id(parts: Sequence[dict[str, Any]]) -> str:
    """The id of a panel: of what it shows, so that it stays when its strip grows."""
    lines = [f"panel {CUTTER}", *(f"{part['picture_id']} {part['box']}" for part in parts)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _runs_on(paths: Sequence[Path], limits: PictureLimits) -> bool:
    """Whether drawings run on from picture to picture: at a quarter of the seams or more, and at half
    of those that have something drawn on both sides. Pictures that all begin alike tell nothing."""
    import numpy as np

    from indexer.panels.stitch import continues

    edges: list[tuple[np.ndarray, np.ndarray]] = []
    for path in paths:
        try:
            rows = np.asarray(_decoded(path, limits))
        except PictureError:
            continue
        if len(rows) > 2:
            edges.append((rows[:3].copy(), rows[-3:].copy()))
    drawn = running = 0
    for (first, above), (below, _) in pairwise(edges):
        if min(above[-1].std(), below[0].std()) <= DRAWN or _alike(first[0], below[0]):
            continue
        drawn += 1
        running += continues(above, below)
    return running > 0 and 4 * running >= len(edges) - 1 and 2 * running >= drawn


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    return float(abs(one.astype(int) - other.astype(int)).mean()) < DRAWN


# --- The tables.


class _Work:
    """What the tables know of strips, and what is to be committed."""

    def __init__(self, catalog: Catalog, cutter: str) -> None:
        self.catalog = catalog
        self.cutter = cutter
        """Version of the cutter, and that pages are read from right to left, if so: panels keep
        their ids then, and get their new order."""
        names = ["strip_id", "title_id", "cutter", "status", "reason"]
        self.known = {
            (row["strip_id"], row["title_id"]): row
            for row in catalog.read("strips", names).to_pylist()
        }
        self.panels: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        columns = catalog.read("panels", ["picture_id", "title_id", "strip_id"]).columns
        for picture, title, strip in zip(*(c.to_pylist() for c in columns), strict=True):
            self.panels[strip, title].add((picture, title))
        self.apart: set[tuple[str, str]] = set()
        self.strip_rows: list[dict[str, Any]] = []
        self.panel_rows: list[dict[str, Any]] = []
        self.gone: set[tuple[str, str]] = set()
        self.gone_strips: set[tuple[str, str]] = set()
        self.last = time.monotonic()

    def candidates(self) -> Iterator[Candidate]:
        import pyarrow.compute as pc

        table = self.catalog.read("pictures", [*Slice._fields, "status"])
        usable = pc.and_(pc.equal(table["status"], "stored"), pc.is_valid(table["width_px"]))
        tall = pc.greater(table["height_px"], pc.multiply(table["width_px"], TALL))
        is_named = pc.is_in(table["kind"], _strings(("strip", "page")))
        wanted = pc.or_(pc.or_(tall, is_named), pc.starts_with(table["source"], "folder:"))
        table = table.filter(pc.and_(usable, wanted))
        columns = (table[name].to_pylist() for name in Slice._fields)
        slices = [Slice(*values) for values in zip(*columns, strict=True)]
        return find_candidates(slices, self._is_apart)

    def _is_apart(self, guess: Candidate) -> bool:
        """Whether a folder was found to hold pictures of their own, which is remembered."""
        row = self.known.get(guess.key)
        if row is None or (row["cutter"], row["reason"]) != (self.cutter, APART):
            return False
        self.apart.add(guess.key)
        return True

    def is_done(self, candidate: Candidate, retry_failed: bool = False) -> bool:
        row = self.known.get(candidate.key)
        if row is None or row["cutter"] != self.cutter:
            return False
        return not (retry_failed and row["status"] == FAILED)

    def remove_all_but(self, candidates: Sequence[Candidate]) -> int:
        """Remove strips that are none any more, and panels of no strip; how many strips."""
        stay = {one.key for one in candidates} | self.apart
        # Tall pictures of a folder that has grown stay cut, unless it turns out to be one strip.
        stay |= {each.key for one in candidates if one.is_guess for each in _alone(one.slices)}
        gone = self.known.keys() - stay
        lost = {key for strip in self.panels.keys() - stay for key in self.panels[strip]}
        # Strips first: panels without one are not searched.
        self.catalog.upsert("strips", [], gone=gone)
        self.catalog.upsert("panels", [], gone=lost)
        return len(gone)

    def add(self, candidate: Candidate, found: _Found, report: WorkReport) -> None:
        """Take the outcome of one strip into account."""
        report.counts["panels"] += len(found.panels)
        first = candidate.slices[0]
        place = first.source_path if len(candidate.slices) == 1 else first.folder
        if found.status == FAILED:
            report.fail(place, "; ".join(found.notes) or found.reason)
        else:
            report.counts[found.status] += 1
        strip_id, title_id = candidate.key
        rows = [{**row, "strip_id": strip_id, "title_id": title_id} for row in found.panels]
        self.panel_rows += rows
        self.gone |= self.panels[candidate.key]
        if candidate.is_guess and found.status == CUT:
            for each in _alone(candidate.slices):
                if each.key in self.known:
                    self.gone_strips.add(each.key)
                    self.gone |= self.panels[each.key]
        self.strip_rows.append(
            {
                "strip_id": strip_id,
                "title_id": title_id,
                "episode_no": first.episode_no,
                "source_path": place,
                "parents": [one.picture_id for one in candidate.slices],
                "width_px": found.width or None,
                "height_px": found.height or None,
                "panels_count": len(rows),
                "left_out": found.left_out,
                "notes": found.notes,
                "cutter": self.cutter,
                "status": found.status,
                "reason": found.reason,
            }
        )
        is_due = len(self.strip_rows) >= COMMIT_STRIPS
        if is_due or time.monotonic() - self.last > COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        self.catalog.upsert("panels", self.panel_rows, gone=self.gone)
        self.catalog.upsert("strips", self.strip_rows, gone=self.gone_strips)
        self.strip_rows, self.panel_rows, self.gone, self.gone_strips = [], [], set(), set()
        self.last = time.monotonic()


def _strings(values: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.array(values)

"""What of a query's pictures asks: each of them whole, or the panels of strips and pages.

pictures                     B files
-> _strips                   slices that run on from one another are one strip
-> indexer.panels            strips and pages are cut
-> Seen                      what the network is to see of each panel, and where that lies
-> PanelVectors.pooled       one common style
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from schemas.errors import InputError, UsageError
from schemas.images import PictureError, PictureLimits, is_animated, is_blank
from schemas.records import Answer, AskedPanel, AskedPart
from search.inputs import QueryPicture

if TYPE_CHECKING:
    from PIL import Image

    from indexer.embedding.preprocess import PixelSpec
    from indexer.panels.cut import Panel
    from indexer.panels.stitch import CutPanel, Strip

Box = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""

LONG = 2
"""A picture so many times as long as wide loses its strokes when it is shrunk to what the network
takes: a longer panel asks in parts."""
STRIP = 2.5
"""A picture so many times as long as wide is cut, whatever is found on it."""
MOST_PANELS = 24
"""Panels that ask, unless a number was given: more change an answer no more."""
MOST_ASKED = 200
MOST_SHOWN = 6
"""Panels that are shown as those that carried an answer."""
SIDE_PX = 1000
"""Pictures are cut with a shorter side (slices: width) of no more than this, and of less when all
of them together have more than MOST_PIXELS then."""
MOST_PIXELS = 60_000_000
PAGE_PX = 350
"""Longest side of the copy on which a page is recognised: with 700 px it took two and a half times
as long, and one more page of 34 was recognised."""
LEAST_PAGE_PX = 400
"""Longest side of a page: on a smaller one no panel could be made out."""
PAGE_CONFIDENCE = 0.7
"""Of drawings of books 1 in 100 is taken for a page, of pages with several panels 22 in 34 are
recognised."""
SMALL = 0.15
"""Of the width of the strip: a panel whose shorter side is smaller asks only when all are."""


@dataclass(frozen=True)
class Cutting:
    """Which pictures of a query are cut, and how many panels ask at most.

    `auto` are strips, and pages where several panels are found with confidence; `always` is every
    picture.
    """

    when: Literal["auto", "off", "always"] = "auto"
    most: int = MOST_PANELS

    @classmethod
    def parse(cls, text: str) -> Cutting:
        """Read `auto`, `off` or a number of panels.

        Errors:  UsageError
        """
        if text in ("auto", "off"):
            return cls(when="off" if text == "off" else "auto")
        if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_ASKED:
            return cls("always", int(text))
        raise UsageError(
            f"--panels {text[:40]!r} is not auto, off or a number",
            f"A number says how many panels ask at most, 1 to {MOST_ASKED}.",
        )


AUTO = Cutting()


@dataclass
class Seen:
    """What the network is to see: a picture or panel each, (H, W, 3) uint8.

    panels   where each of them lies
    is_cut   whether any picture was cut
    notes    on how the pictures were seen
    refused  by its place, from 0, each picture that cannot be used
    """

    pixels: list[np.ndarray] = field(default_factory=list)
    panels: tuple[AskedPanel, ...] = ()
    is_cut: bool = False
    notes: tuple[str, ...] = ()
    refused: dict[int, InputError] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse when a picture cannot be used.

        Errors:  PictureError, InputError
        """
        for error in self.refused.values():
            raise error
        if not self.pixels:
            raise InputError("there is no picture to search with")


def joined(each: Sequence[Seen]) -> Seen:
    """What was seen of pictures one by one, as if they had been looked at together."""
    made = Seen(is_cut=any(seen.is_cut for seen in each))
    for at, seen in enumerate(each):
        made.pixels += seen.pixels
        made.notes += seen.notes
        made.refused.update((at, error) for error in seen.refused.values())
        for panel in seen.panels:
            parts = tuple(AskedPart(at + 1, part.box) for part in panel.parts)
            made.panels += (replace(panel, number=len(made.panels) + 1, parts=parts),)
    return made


@dataclass(frozen=True)
class PanelVectors:
    """The panels that may ask, with the vectors and out-of-distribution scores of those that do;
    `is_cut` is whether any of the `pictures_count` pictures was cut, otherwise each panel is a
    whole picture.

    Shapes:  vectors (P, D) float32 unit, ood (P,), subjects (P, S) float32 unit
    """

    panels: tuple[AskedPanel, ...]
    vectors: np.ndarray
    ood: np.ndarray
    subjects: np.ndarray | None = None
    is_cut: bool = True
    pictures_count: int = 1

    def chosen(self, numbers: Sequence[int]) -> PanelVectors:
        """Only these panels ask.

        Errors:  InputError when none of that number asked before
        """
        asked = [panel.number for panel in self.panels if panel.asks]
        for number in numbers:
            if number not in asked:
                raise InputError(f"no panel {number} has asked", "Their numbers are in `panels`.")
        places = [place for place, number in enumerate(asked) if number in numbers]
        panels = tuple(replace(one, asks=one.number in numbers) for one in self.panels)
        subjects = None if self.subjects is None else self.subjects[places]
        vectors, ood = self.vectors[places], self.ood[places]
        return replace(self, panels=panels, vectors=vectors, ood=ood, subjects=subjects)

    def shares(self, weights: Sequence[float]) -> list[float]:
        """How much each panel counts when its picture has a weight, (pictures_count,), which all of
        its panels share. -> (P,)"""
        of = [panel.parts[0].picture - 1 for panel in self.panels if panel.asks]
        return [weights[place] / of.count(place) for place in of]


def pooled(
    vectors: np.ndarray, ood: np.ndarray, shares: Sequence[float] | None = None
) -> tuple[np.ndarray, float]:
    """The common style of pictures or panels: the normalised mean of their unit vectors, and the
    geometric mean of their out-of-distribution scores; weighted by their shares where some are
    given. A score that is NaN is not known, and left out.

    Shapes:  vectors (P, D), ood (P,), shares (P,) -> (D,) float32 unit
    Errors:  InputError when they cancel out, or no share is above 0
    """
    if shares is not None and not sum(shares) > 0:
        raise InputError("none of the pictures counts", "Give one of them a weight above 0.")
    mean = np.average(vectors.astype(np.float32), axis=0, weights=shares)
    length = float(np.linalg.norm(mean))
    if not length > 1e-6:
        raise InputError("the pictures have nothing in common", "Ask about them one by one.")
    each = np.ones(len(ood)) if shares is None else np.asarray(shares, np.float64)
    each = np.where(np.isnan(ood), 0.0, each)
    if not each.any():
        return np.asarray(mean / length, np.float32), float("nan")
    logs = np.log(np.maximum(np.nan_to_num(ood), 1e-6))
    return np.asarray(mean / length, np.float32), float(np.exp(np.average(logs, weights=each)))


@dataclass(frozen=True)
class PanelPicture(QueryPicture):
    """A panel as the network saw it, to be shown."""

    shape: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, name: str, pixels: np.ndarray) -> PanelPicture:
        return cls(name, pixels.tobytes(), shape=(pixels.shape[1], pixels.shape[0]))

    def preview(self, limits: PictureLimits, side_px: int) -> Image.Image:
        from PIL import Image

        made = Image.frombytes("RGB", self.shape, self.data)
        made.thumbnail((side_px, side_px))
        return made


def panel_pictures(
    answer: Answer, seen: Seen, pictures: Sequence[QueryPicture]
) -> list[QueryPicture]:
    """The panels that carried an answer, the first first; none where no picture was cut."""
    asked = [panel for panel in answer.panels if panel.asks]
    made = {
        panel.number: PanelPicture.of(
            f"{Path(pictures[panel.parts[0].picture - 1].name).name} panel {panel.number}", pixels
        )
        for panel, pixels in zip(asked, seen.pixels, strict=False)
    }
    return [made[panel.number] for panel in carriers(answer)]


def carriers(answer: Answer) -> list[AskedPanel]:
    """The panels nearest to the first title, the nearest first."""
    asked = [panel for panel in answer.panels if panel.similarity is not None]
    return sorted(asked, key=lambda panel: -(panel.similarity or 0.0))[:MOST_SHOWN]


def see(
    pictures: Sequence[QueryPicture], limits: PictureLimits, spec: PixelSpec, cutting: Cutting
) -> Seen:
    """Decode the pictures, join slices, and cut strips and pages."""
    return _Sight(pictures, limits, spec, cutting).seen()


@dataclass(eq=False)
class _Found:
    """A picture or panel that may ask."""

    parts: tuple[AskedPart, ...]
    confidence: float
    pixels: np.ndarray | None


class _Sight:
    """One query's pictures while they are looked at."""

    def __init__(
        self,
        pictures: Sequence[QueryPicture],
        limits: PictureLimits,
        spec: PixelSpec,
        cutting: Cutting,
    ) -> None:
        self.pictures, self.limits, self.spec, self.cutting = pictures, limits, spec, cutting
        self.notes: list[str] = []
        self.refused: dict[int, InputError] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        self.decoded: dict[int, Image.Image] = {}
        """In full size."""
        for at, picture in enumerate(pictures):
            try:
                left, top, right, bottom = picture.part(limits)
                self.sizes[at] = (right - left, bottom - top)
            except InputError as error:
                self.refused[at] = error
        ratios = sum(max(size) / min(size) for size in self.sizes.values())
        self.side_px = min(SIDE_PX, max(1, int((MOST_PIXELS / max(ratios, 1)) ** 0.5)))

    def seen(self) -> Seen:
        """All of them, in the order in which they were given; a strip stands where the first of its
        slices does."""
        cuts = self.cutting.when != "off"
        strip = self._strip() if cuts and len(self.sizes) > 1 else []
        found: list[_Found] = []
        was_cut = False
        for at in self.sizes:
            if at in strip and at != min(strip):
                continue
            members = strip if at in strip else [at]
            panels = self._panels(members) if cuts else []
            was_cut |= bool(panels)
            found += panels or [one for one in map(self._whole, members) if one is not None]
        return self._chosen(found, was_cut)

    def _whole(self, at: int) -> _Found | None:
        picture = self.pictures[at]
        try:
            pixels = picture.pixels(self.limits, self.spec, self.decoded.pop(at, None))
        except InputError as error:
            self.refused[at] = error
            return None
        if max(pixels.shape[:2]) > LONG * min(pixels.shape[:2]):
            self.notes.append(
                f"too long to be seen whole: {picture.name} was shrunk until it fits, ask about a"
                " part"
            )
        left, top = picture.part(self.limits)[:2]
        return _Found((AskedPart(at + 1, (left, top, *self.sizes[at])),), 1.0, pixels)

    def _cut_width(self, at: int, is_slice: bool) -> int:
        """The width at which a picture is cut."""
        width, height = self.sizes[at]
        side = width if is_slice else min(width, height)
        return max(1, round(width * min(1.0, self.side_px / side)))

    def _decoded(self, at: int, width_px: int) -> Image.Image:
        """A picture at the width at which it is cut.

        Errors:  PictureError
        """
        from PIL import Image

        width, height = self.sizes[at]
        size = (width_px, max(1, round(height * width_px / width)))
        image = self.pictures[at].image(self.limits, max(size))
        return image if image.size == size else image.resize(size, Image.Resampling.BOX)

    def _strip(self) -> list[int]:
        """Places of the pictures that are slices of one strip, in the order of their names; none
        where no drawing runs on from one to the next."""
        from indexer.panels.stitch import runs_on
        from schemas.names import natural_key

        order = sorted(self.sizes, key=lambda at: natural_key(self.pictures[at].name))
        joined: set[int] = set()
        above: np.ndarray | None = None
        for at, after in pairwise(order):
            same_width = self.sizes[at][0] == self.sizes[after][0]
            if not same_width or (joined and self.sizes[after][0] in self._widths(joined)):
                above = None
                continue
            try:
                width_px = self._cut_width(at, is_slice=True)
                above = np.asarray(self._decoded(at, width_px)) if above is None else above
                below = np.asarray(self._decoded(after, width_px))
            except PictureError:
                above = None
                continue
            if runs_on(above, below):
                joined |= {at, after}
            above = below
        widths = self._widths(joined)
        return [at for at in order if self.sizes[at][0] in widths]

    def _widths(self, places: set[int]) -> set[int]:
        return {self.sizes[at][0] for at in places}

    def _panels(self, members: Sequence[int]) -> list[_Found]:
        """The panels of a strip or page; none where it is rather a single picture."""
        from indexer.panels.cut import CutOptions
        from indexer.panels.stitch import Strip

        if not (self._is_strip(members) or self.cutting.when == "always" or self._is_page(members)):
            return []
        widths = {at: self._cut_width(at, len(members) > 1) for at in members}
        places = {Path(str(at), Path(self.pictures[at].name).name): at for at in members}
        strip = Strip(
            list(places),
            self.limits,
            width_of=lambda path, _: widths[places[path]],
            decode=lambda path, _: self._slice(places[path], widths[places[path]]),
        )
        height = self.sizes[members[0]][1] * widths[members[0]] // self.sizes[members[0]][0]
        least = SMALL * (strip.width if len(members) > 1 else min(strip.width, height))
        kept = _Thinned(self.cutting.most)
        for one in strip.panels(CutOptions()):
            for box, pixels in _windows(one):
                parts = tuple(
                    AskedPart(at + 1, self._of_picture(at, widths[at], inner))
                    for part, inner in strip.in_slices(box)
                    for at in (places[part.path],)
                )
                is_small = min(box[2:]) < least
                kept.add(parts, one.panel.confidence, is_small, partial(self._prepared, pixels))
        if len(kept.found) < (1 if self._is_strip(members) else 2):
            return []
        self._say(strip, members)
        return kept.found

    def _is_strip(self, members: Sequence[int]) -> bool:
        short, long = sorted(self.sizes[members[0]])
        return len(members) > 1 or long > STRIP * short

    def _is_page(self, members: Sequence[int]) -> bool:
        """Whether several panels are found with confidence, on a small copy."""
        from PIL import Image

        from indexer.panels.cut import cut_page

        (at,) = members
        width, height = self.sizes[at]
        if max(width, height) < LEAST_PAGE_PX:
            return False
        try:
            image = self.pictures[at].image(self.limits, 2 * PAGE_PX)
        except PictureError:
            return False  # which is told where the whole picture is tried
        if image.size == self.sizes[at]:
            self.decoded[at] = image.copy()
        image.thumbnail((PAGE_PX, PAGE_PX), Image.Resampling.BOX)
        return is_page(cut_page(np.asarray(image)).panels, *image.size)

    def _slice(self, at: int, width_px: int) -> Image.Image:
        try:
            return self._decoded(at, width_px)
        except PictureError as error:
            self.refused[at] = error
            raise

    def _of_picture(self, at: int, width_px: int, box: Box) -> Box:
        """A box of a slice as it was cut, in pixels of the picture that was given."""
        part, (width, height) = self.pictures[at].part(self.limits), self.sizes[at]
        x, y, w, h = (round(value * width / width_px) for value in box)
        return x + part[0], y + part[1], min(w, width - x), min(h, height - y)

    def _say(self, strip: Strip, members: Sequence[int]) -> None:
        names = [self.pictures[at].name for at in members]
        if len(names) > 1:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self.notes.append(f"joined as slices of one strip: {', '.join(names[:3])}{more}")
        self.notes += [note for note in strip.notes if not note.endswith("goes on without it")]
        self.notes += [
            f"of the animation {self.pictures[at].name} one frame was cut"
            for at in members
            if at not in self.refused and is_animated(self.pictures[at].data, self.limits)
        ]
        if any(one.what == "advertisement" for one in strip.left_out):
            self.notes.append(f"what looks like advertisements did not ask: {names[-1]}")

    def _prepared(self, pixels: np.ndarray) -> np.ndarray | None:
        """What the network sees of a panel, None of one with nothing on it."""
        from PIL import Image

        from indexer.embedding.preprocess import prepare

        image = Image.fromarray(np.ascontiguousarray(pixels))
        return None if is_blank(image) else prepare(image, self.spec)

    def _chosen(self, found: list[_Found], was_cut: bool) -> Seen:
        """What asks of all that was found."""
        asking = [one for one in found if one.pixels is not None]
        if was_cut:
            places = np.linspace(0, len(asking) - 1, min(len(asking), self.cutting.most))
            asking = [asking[place] for place in places.round().astype(int)]
        asks = set(map(id, asking))
        panels = tuple(
            AskedPanel(number, one.parts, one.confidence, asks=True)
            for number, one in enumerate(found, 1)
            if id(one) in asks
        )
        if was_cut:
            names = dict.fromkeys(
                self.pictures[part.picture - 1].name for one in found for part in one.parts
            )
            some = "" if len(asking) == len(found) else f", of which {len(asking)} ask"
            s = "" if len(found) == 1 else "s"
            self.notes.append(f"cut into {len(found):,} panel{s}{some}: {', '.join(names)}")
        pixels = [one.pixels for one in asking if one.pixels is not None]
        return Seen(pixels, panels, was_cut, tuple(self.notes), self.refused)


class _Thinned:
    """Panels in reading order; of very many only every so-many-th keeps its pixels, and small ones
    only while there are no others."""

    def __init__(self, most: int) -> None:
        self.most, self.step = most, 1
        self.found: list[_Found] = []
        self._kept: dict[int, _Found] = {}
        self._count, self._is_small = 0, True

    def add(
        self,
        parts: tuple[AskedPart, ...],
        confidence: float,
        is_small: bool,
        prepared: Callable[[], np.ndarray | None],
    ) -> None:
        one = _Found(parts, confidence, None)
        if self._is_small and not is_small:
            self._is_small, self._count, self.step = False, 0, 1
            self._drop(lambda _: True)
        if is_small == self._is_small:
            if self._count % self.step == 0:
                one.pixels = prepared()
                if one.pixels is None:
                    return  # nothing is drawn on it
                self._kept[self._count] = one
            self._count += 1
        self.found.append(one)
        while len(self._kept) > 2 * self.most:
            self.step *= 2
            self._drop(lambda place: place % self.step != 0)

    def _drop(self, goes: Callable[[int], bool]) -> None:
        for place in [place for place in self._kept if goes(place)]:
            self._kept.pop(place).pixels = None


def _windows(one: CutPanel) -> Iterator[tuple[Box, np.ndarray]]:
    """A panel with its box in the strip; one that is too long to be seen whole in equal parts."""
    x, y, w, h = one.panel.box
    count = -(-max(w, h) // (LONG * min(w, h)))
    for k in range(count):
        start, stop = max(w, h) * k // count, max(w, h) * (k + 1) // count
        if h >= w:
            yield (x, y + start, w, stop - start), one.pixels[start:stop]
        else:
            yield (x + start, y, stop - start, h), one.pixels[:, start:stop]


def is_page(panels: Sequence[Panel], width: int, height: int) -> bool:
    """Whether these are surely several panels of a page, and not pieces of a single drawing: with
    space between them, none of them narrow, and most of what is drawn."""
    from indexer.panels.cut import are_apart

    side = min(width, height)
    sure = [
        one.box
        for one in panels
        if one.border not in ("ink", "page")
        and one.confidence >= PAGE_CONFIDENCE
        and min(one.box[2:]) >= 0.2 * side
    ]
    gap = max(1, 0.004 * side)
    apart = [
        box for box in sure if all(box is other or are_apart(box, other, gap) for other in sure)
    ]
    return len(apart) >= 2 and sum(w * h for _, _, w, h in apart) >= 0.4 * width * height

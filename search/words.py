"""Search by words: titles, authors, tags, genres and file names, however they are spelt.

Words are compared in Latin letters, so that a romanised name meets the Korean one, and by how they
sound: Korean has several romanisations (Gian and Kian, Shim and Sim). A typo is forgiven in a word
of four letters, two in one of eight, none in a number.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np

from indexer.vector_index.generations import Generation
from schemas.errors import InputError
from schemas.names import without_accents

MAX_WORDS = 12
NAME, LABEL, FILE = 1.0, 0.95, 0.9
"""What a word counts in a title's or an author's name, in a genre or tag, in a file's name."""
EXACT, BEGINS, HOLDS, TYPO, SOUND, LESS = 1.0, 0.95, 0.9, 0.85, 0.8, 0.1
"""What counts for two words; each further typo counts so much less."""
_SOUNDS = (
    ("ee", "i"),
    ("oo", "u"),
    ("eo", "o"),
    ("eu", "u"),
    ("ae", "e"),
    ("ch", "j"),
    ("sh", "s"),
)
_ALIKE = str.maketrans("gdbryv", "ktplib")
_WORD = re.compile(r"[a-z0-9]+")


def latin(text: str) -> str:
    """Text in small Latin letters, whatever its script.

    >>> latin("심청 Doré")
    'simcheong dore'
    """
    if not text.isascii():
        from anyascii import anyascii  # 30 ms that most catalogs do without

        text = anyascii(without_accents(text))
    return text.lower()


def words_of(text: str) -> list[str]:
    """The words of a text in Latin letters and digits."""
    return _WORD.findall(latin(text))


def sound(word: str) -> str:
    """What romanisations of one Korean word have in common.

    >>> sound("gian") == sound("kian"), sound("shim") == sound("sim")
    (True, True)
    """
    for one, other in _SOUNDS:
        word = word.replace(one, other)
    return re.sub(r"(.)\1+", r"\1", word.translate(_ALIKE))


class Words:
    """The words of an index and where they stand.

    Shapes:  row_ids and title (N,), ascending row ids and the number of the title of each
    """

    def __init__(self, meta: sqlite3.Connection) -> None:
        titles: dict[str, dict[int, float]] = defaultdict(dict)
        files: dict[str, list[int]] = defaultdict(list)
        cursor = meta.execute("select title_no, name, authors, genres, tags from titles")
        for number, name, authors, genres, tags in cursor:
            for text in (name or "", *json.loads(authors)):
                parts = words_of(text)
                # The whole name too: Korean and romanised names are spaced as one likes.
                for word in (*parts, "".join(parts)):
                    titles[word][number] = NAME
            for text in chain(json.loads(genres), json.loads(tags)):
                for word in words_of(text):
                    titles[word].setdefault(number, LABEL)
        rows = meta.execute("select row_id, title_no, source_path from pictures order by 1")
        ids, numbers = [], []
        for place, (row_id, number, path) in enumerate(rows):
            ids.append(row_id)
            numbers.append(number)
            for word in set(words_of(_stem(path or ""))):
                files[word].append(place)
        self.row_ids, self.title = np.asarray(ids, np.int64), np.asarray(numbers, np.int64)
        self._titles, self._files = titles, files
        self._words = sorted((titles.keys() | files.keys()) - {""})

    @cached_property
    def _sounds(self) -> list[str]:
        return [sound(word) for word in self._words]

    def scores(self, text: str) -> np.ndarray:
        """How well each picture fits all words of a text, 0 where one of them is missing; (N,)

        Errors:  InputError when there is no word in it, or too many
        """
        words = words_of(text)
        if not words:
            raise InputError(f"there is no word in {text!r}", "Name a title, an artist or a tag.")
        if len(words) > MAX_WORDS:
            raise InputError(
                f"{len(words)} words are too many", f"At most {MAX_WORDS} are looked for."
            )
        each = np.stack([self._word_scores(word) for word in words])  # (W, N)
        together = np.where((each > 0).all(axis=0), each.mean(axis=0), 0.0)
        if len(words) > 1:
            together = np.maximum(together, self._word_scores("".join(words)))
        return together

    def missing(self, text: str) -> list[str]:
        """The words of a text that nothing fits."""
        return [word for word in words_of(text) if not any(self._alike(word))]

    def _word_scores(self, word: str) -> np.ndarray:
        titles = np.zeros(int(self.title.max(initial=-1)) + 1)
        files = np.zeros(len(self.row_ids))
        for place, score in self._alike(word):
            for number, weight in self._titles.get(self._words[place], {}).items():
                if number < len(titles):
                    titles[number] = max(titles[number], weight * score)
            at = self._files.get(self._words[place], [])
            files[at] = np.maximum(files[at], FILE * score)
        return np.maximum(files, titles[self.title])

    def _alike(self, word: str) -> Iterator[tuple[int, float]]:
        """Places of the words that are like this one, each with how much, 0 to 1."""
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import cdist

        scores = np.zeros(len(self._words))
        typos = 0 if len(word) < 4 or any(map(str.isdigit, word)) else 1 if len(word) < 8 else 2
        for asked, known, most in (
            (word, self._words, TYPO),
            (sound(word), self._sounds, SOUND),
        ):
            if known and len(asked) > 1:
                far = cdist([asked], known, scorer=OSA.distance, score_cutoff=typos)[0]
                scores = np.maximum(scores, np.where(far <= typos, most - LESS * (far - 1.0), 0.0))
        for place, one in enumerate(self._words):
            if one == word:
                scores[place] = EXACT
            elif len(word) > 1 and one.startswith(word):
                scores[place] = max(scores[place], BEGINS)
            elif len(word) > 2 and word in one:
                scores[place] = max(scores[place], HOLDS)
        for place in np.flatnonzero(scores).tolist():
            yield place, float(scores[place])


def _stem(path: str) -> str:
    """A file's name without its ending, of a path or an address."""
    name = re.split(r"[/\\]", path.partition("?")[0])[-1]
    return name.rpartition(".")[0] or name


_known: WeakKeyDictionary[Generation, Words] = WeakKeyDictionary()


def words_in(generation: Generation) -> Words:
    """The words of an open index, read once."""
    found = _known.get(generation)
    if found is None:
        found = _known[generation] = Words(generation.meta)
    return found


def matching(generation: Generation, text: str) -> np.ndarray:
    """Row ids of the pictures that fit all words; (N,) int64, ascending. Errors:  InputError"""
    words = words_in(generation)
    return words.row_ids[words.scores(text) > 0]

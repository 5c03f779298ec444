"""The softmax heads that a network was trained with, as one more voice about labels.

They lie in one file beside the network. A head says nothing of labels that it was not trained
with, and nothing that could be fitted on of titles that it was trained on: which pictures those
were is part of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.errors import NoIndexError
from schemas.records import LABEL_KINDS
from schemas.storage.fsio import read_verified

SOFTMAX_FILE = "softmax.safetensors"
MAX_BYTES = 1 << 30
MIN_LABELS = 2
"""With fewer of a catalog's labels in common there is nothing to say."""
MIN_HELD_OUT = 150
"""Fewer pictures of titles that it has not learnt show not what a head is worth."""
MAX_CELLS = 250_000_000
DIGEST_BYTES = 8
HINT = "Train the model again, or build the index again."


@dataclass(frozen=True)
class Softmax:
    """Linear softmax heads on a network's vectors.

    `learnt` are digests of DIGEST_BYTES of the ids of the pictures that it was trained on.

    Shapes:  names kind -> C labels, weight kind -> (C, D)
    """

    names: Mapping[str, tuple[str, ...]]
    weight: Mapping[str, np.ndarray]
    learnt: frozenset[bytes]

    def log_probabilities(
        self, vectors: np.ndarray, labels: Mapping[str, Sequence[str]]
    ) -> dict[str, np.ndarray]:
        """What the heads say of the labels of a catalog, by kind; a kind of which it knows fewer
        than two is left out.

        The softmax is over the labels that both know. Each other label of the catalog gets the
        mean logarithm: nothing is said for or against it. A label of the heads alone is nowhere.

        Shapes:  (Q, D), kind -> C names -> kind -> (Q, C)
        """
        found = {}
        for kind, own in self.names.items():
            place = {name: number for number, name in enumerate(own)}
            at = [place.get(name, -1) for name in labels.get(kind, ())]
            known = np.flatnonzero(np.array(at) >= 0)
            if len(known) < MIN_LABELS:
                continue
            logits = vectors @ self.weight[kind][np.array(at)[known]].T
            logits -= logits.max(1, keepdims=True)
            log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            mean = (np.exp(log) * log).sum(1, keepdims=True)
            found[kind] = np.repeat(mean, len(at), 1).astype(np.float32)
            found[kind][:, known] = log
        return found

    def has_learnt(self, picture_ids: Sequence[str]) -> np.ndarray:
        """Which pictures it was trained on; (N,) bool"""
        return np.array([_digest(one) in self.learnt for one in picture_ids], bool)

    def held_out(
        self,
        vectors: np.ndarray,
        labels: Mapping[str, Sequence[str]],
        codes: Mapping[str, np.ndarray],
        learnt: np.ndarray,
        titles: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """The same for the pictures of a catalog, NaN in those of titles that it has learnt from;
        a kind that is left with too few is left out, and one that would take more than MAX_CELLS
        numbers.

        Shapes:  vectors (N, D), codes kind -> (N,), learnt (N,) bool as of `has_learnt`,
                 titles (N,) -> kind -> (N, C)
        """
        stale = np.isin(titles, titles[learnt])
        found = {}
        for kind, own in self.names.items():
            every, known = tuple(labels.get(kind, ())), set(own)
            is_known = np.array([name in known for name in every], bool)
            usable = ~stale & (codes[kind] >= 0)
            usable[usable] = is_known[codes[kind][usable]]
            if usable.sum() < MIN_HELD_OUT or len(vectors) * len(every) > MAX_CELLS:
                continue
            log = self.log_probabilities(vectors[usable], {kind: every}).get(kind)
            if log is not None:
                found[kind] = np.full((len(vectors), len(every)), np.nan, np.float32)
                found[kind][usable] = log
        return found

    def to_bytes(self) -> bytes:
        """As the file holds it."""
        from safetensors.numpy import save

        tensors: dict[str, np.ndarray] = {
            kind: np.ascontiguousarray(weight, np.float32) for kind, weight in self.weight.items()
        }
        tensors["learnt"] = np.frombuffer(b"".join(sorted(self.learnt)), np.uint8).copy()
        names = json.dumps({kind: list(own) for kind, own in self.names.items()})
        return bytes(save(tensors, metadata={"names": names}))

    @classmethod
    def of(
        cls,
        names: Mapping[str, tuple[str, ...]],
        weight: Mapping[str, np.ndarray],
        picture_ids: Sequence[str],
    ) -> Softmax:
        """Heads that were trained on these pictures."""
        return cls(names, weight, frozenset(map(_digest, picture_ids)))

    @classmethod
    def read(cls, model_dir: Path) -> Softmax | None:
        """That of a model's folder, None where its description names none.

        Errors:  NoIndexError when it is missing, damaged or of another width
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = model_dir / SOFTMAX_FILE
        if not (model_dir / "model.json").is_file():  # labels alone
            return None
        try:
            about = json.loads((model_dir / "model.json").read_bytes())
            facts = about["files"].get(SOFTMAX_FILE)
            if facts is None:
                return None
            data = read_verified(path, facts, MAX_BYTES)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            names = json.loads(header["__metadata__"]["names"])
            tensors = load(data)
            marks = tensors.pop("learnt").tobytes()
            for kind, weight in tensors.items():
                if kind not in LABEL_KINDS or weight.shape != (
                    len(names[kind]),
                    about["dimension"],
                ):
                    raise ValueError(f"the {kind} head has the wrong shape")
            cut = range(0, len(marks), DIGEST_BYTES)
            return cls(
                {kind: tuple(map(str, names[kind])) for kind in tensors},
                tensors,
                frozenset(marks[start : start + DIGEST_BYTES] for start in cut),
            )
        except OSError as error:
            raise NoIndexError(f"{path}: {error.strerror or error}", HINT) from error
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoIndexError(f"{path}: the heads cannot be used ({error})", HINT) from error


def _digest(picture_id: str) -> bytes:
    return hashlib.sha256(picture_id.encode()).digest()[:DIGEST_BYTES]

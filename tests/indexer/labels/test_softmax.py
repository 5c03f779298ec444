"""A network's own softmax: what it says of labels that it knows, and of those that it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from indexer.labels.softmax import MIN_HELD_OUT, SOFTMAX_FILE, Softmax
from schemas.errors import NoIndexError

NAMES = {"author": ("ann", "ben", "cy"), "genre": ("x", "y")}


def softmax() -> Softmax:
    weight = {"author": np.eye(3, 4, dtype=np.float32) * 5, "genre": np.eye(2, 4, dtype=np.float32)}
    return Softmax.of(NAMES, weight, ["p1", "p2"])


def write(folder: Path, data: bytes, dimension: int = 4) -> Path:
    facts = {"bytes": len(data), "blake3": blake3(data).hexdigest()}
    body = {"dimension": dimension, "files": {SOFTMAX_FILE: facts}}
    (folder / "model.json").write_text(json.dumps(body))
    (folder / SOFTMAX_FILE).write_bytes(data)
    return folder


def test_only_labels_that_both_know_are_told_apart() -> None:
    vectors = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    found = softmax().log_probabilities(vectors, {"author": ("zoe", "ben", "ann"), "genre": ("y",)})
    assert set(found) == {"author"}  # one genre in common tells nothing
    likely = np.exp(found["author"])
    assert np.allclose(likely[:, 1:].sum(1), 1)  # cy is no label of this catalog
    assert likely[0, 2] == pytest.approx(1 / (1 + np.exp(-5)))
    # Nothing is said of zoe: she loses against the likely one and wins against the unlikely.
    assert likely[0, 1] < likely[0, 0] < likely[0, 2]
    assert likely[1].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_titles_that_were_learnt_say_nothing_of_new_ones() -> None:
    count = 2 * MIN_HELD_OUT
    vectors = np.random.default_rng(0).standard_normal((count, 4))
    titles = np.repeat(np.arange(count // 4), 4)
    ids = [f"p{number}" for number in range(count)]
    labels = {"author": ("ann", "ben", "cy", "zoe"), "genre": ("x", "y")}
    codes = {"author": titles % 4, "genre": np.where(titles < 3, 0, -1)}
    found = softmax().held_out(vectors, labels, codes, softmax().has_learnt(ids), titles)
    assert set(found) == {"author"}  # hardly any picture has a genre
    missing = np.isnan(found["author"]).all(1)
    assert missing[:4].all()  # all of a title of which two pictures were learnt
    assert missing[titles % 4 == 3].all()  # zoe's
    assert not missing[4:][titles[4:] % 4 != 3].any()


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    folder = write(tmp_path, softmax().to_bytes())
    found = Softmax.read(folder)
    assert found is not None and found.names == NAMES and found.learnt == softmax().learnt
    assert np.array_equal(found.weight["author"], softmax().weight["author"])


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "width", "kind"])
def test_a_damaged_file_is_refused(tmp_path: Path, harm: str) -> None:
    data: Any = softmax().to_bytes()
    if harm == "kind":
        data = Softmax.of({"colour": NAMES["genre"]}, {"colour": np.eye(2, 4)}, []).to_bytes()
    write(tmp_path, data, 5 if harm == "width" else 4)
    file = tmp_path / SOFTMAX_FILE
    if harm == "cut":
        file.write_bytes(data[:-1])
    elif harm == "changed":
        file.write_bytes(data[:-1] + b"!")
    elif harm == "missing":
        file.unlink()
    with pytest.raises(NoIndexError, match=SOFTMAX_FILE):
        Softmax.read(tmp_path)


def test_a_file_that_the_description_does_not_name_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, softmax().to_bytes())
    (tmp_path / "model.json").write_text('{"dimension": 4, "files": {}}')
    assert Softmax.read(tmp_path) is None

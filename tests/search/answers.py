"""Answers made by hand, with hostile text in every place that holds text."""

from __future__ import annotations

from schemas.records import Answer, Hit, LabelProbability, Labels, TitleHit

NASTY = "<script>alert(1)</script>\"'&\x1b[31m신의 탑 e\u0301"


def hit(number: int = 0, file: str | None = None, similarity: float = 0.8) -> Hit:
    return Hit(
        f"{number:064x}",
        "t:1",
        similarity,
        99.95,
        file,
        f"deep/{NASTY}.png",
        1999,
        "very close" if similarity > 0.7 else "loose",
    )


def answer(*, name: str = NASTY, url: str | None = None, file: str | None = None,
           unknown: float = 0.2, titles: int = 1, strange: float = 0.0) -> Answer:  # fmt: skip
    return Answer(
        titles=tuple(
            TitleHit(rank, "t:1", name, (name, "Second"), (name,), 2001, url, 0.7, 99.95,
                     (hit(1, file), hit(2, file, 0.5)), "close")
            for rank in range(1, titles + 1)
        ),
        pictures=(hit(1, file), hit(2, file, 0.5)),
        labels=Labels(
            (LabelProbability(name, (1 - unknown) * 0.9), LabelProbability("x", 0.0001)),
            unknown, (LabelProbability(name, 1.0),), (LabelProbability("1990s", 0.6),),
            strange,
        ),
        generation_id="g1", model_id="m1", preprocessing="p1", pictures_count=10,
        candidates_count=9, elapsed_ms=1.23456, queries=(name,), notes=(name,),
    )  # fmt: skip

"""Which pictures may answer a query: every filter becomes row ids before the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from search import filters
from search.facets import Facets

if TYPE_CHECKING:
    from indexer.generations import Generation


@dataclass(frozen=True)
class Candidates:
    """Only `wanted` pictures (None: all) without `unwanted` ones.

    Shapes:  both (N,) int64 row ids
    """

    wanted: np.ndarray | None
    unwanted: np.ndarray
    count: int

    @property
    def everything(self) -> bool:
        """Whether no picture is left out."""
        return self.wanted is None and not self.unwanted.size

    def parameters(self) -> Any:
        """The filter as FAISS applies it while it searches; None when there is none.

        Of one call only: the index is shared between threads.
        """
        import faiss

        selector: Any
        if self.wanted is not None:
            selector = faiss.IDSelectorBatch(self.wanted)
        elif self.unwanted.size:
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(self.unwanted))
        else:
            return None
        return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]


def choose(
    generation: Generation,
    *,
    where: str | None,
    authors: Sequence[str],
    titles: Sequence[str],
    facets: Facets | None = None,
    pictures: Sequence[str] | None = None,
) -> Candidates:
    """Pictures for which `where` holds, without those of the named authors and titles.

    `pictures` narrows the choice to these ids.

    Errors:  InputError when the expression is wrong or a name is not in the index
    """
    meta = generation.meta
    unwanted = np.union1d(
        filters.rows_by_authors(meta, filters.author_names(meta, authors)),
        filters.rows_of_titles(meta, filters.title_ids(meta, titles)),
    )
    if where is None and not facets and pictures is None:
        return Candidates(None, unwanted, generation.pictures_count - len(unwanted))
    chosen = [facets.rows(meta)] if facets else []
    if pictures is not None:
        chosen.append(filters.rows_of_pictures(meta, pictures))
    if where is not None:
        sandbox = generation.connect_meta()
        try:
            chosen.append(filters.matching_rows(sandbox, where))
        finally:
            sandbox.close()
    wanted = reduce(np.intersect1d, chosen)
    wanted = np.setdiff1d(wanted, unwanted, assume_unique=True)
    return Candidates(wanted, unwanted, len(wanted))

"""The far end of a long list: what is near to the query and its nearest pictures together.

One picture says little about a hand; ten that it resembles say what they have in common. Their
mean with the query finds much more of the same hand than the query does alone, though it may
be led astray: the nearest pictures themselves are better ranked without it. So the head of a
list stays as it is, and its far end is ordered by the mean (docs/model-card.md has figures).
"""

from __future__ import annotations

import numpy as np

KEPT = 10
"""Pictures at the head of a list, which are ordered by similarity to the query alone."""


def expanded(query: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """The query and its nearest pictures as one query, each weighted by its similarity.

    Shapes:  query (D,) unit, nearest (K, D) unit rows -> (D,) unit
    Source:  Chum et al. 2007 (average query expansion), weighted as in Radenovic et al. 2019
             with power 1
    """
    weights = np.maximum(nearest @ query, 0.0)
    mean = query + weights @ nearest
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)

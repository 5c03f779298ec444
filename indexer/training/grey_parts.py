"""Parts of drawings without their colours: what a part loses is not what the whole does."""

from __future__ import annotations

from PIL import Image

from indexer.training.augmentation import named
from indexer.training.nuisances import part


def grey_part(image: Image.Image) -> Image.Image:
    """The part that `part` makes of a drawing, in grey."""
    return part(image).convert("L").convert("RGB")


GREY_PART = named("grey part", part), grey_part
"""With its name for kept results, which changes when the part does as well."""

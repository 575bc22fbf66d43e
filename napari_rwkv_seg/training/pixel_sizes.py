"""How large the pixels of images with labels are: a network sees pixels, not micrometres."""

import math
from collections.abc import Sequence

_MUCH = 1.5  # as long: more than the variations of a crop, which are up to 1.3


def common_size(sizes: Sequence[float | None]) -> float | None:
    """Return the size of pixels in micrometres that serves for all; None if there is no such."""
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes) or max(known) > _MUCH * min(known):
        return None
    return float(f"{math.exp(sum(map(math.log, known)) / len(known)):.4g}")


def size_warnings(sizes: Sequence[tuple[str, float | None]]) -> list[str]:
    """Return a warning if pixels of images differ much in size.

    Parameters
    ----------
    sizes : sequence of (name, size)
        Of each image; in micrometres, None where its file says nothing.
    """
    known = [(size, name) for name, size in sizes if size is not None]
    if not known:
        return []
    (least, fine), (most, coarse) = min(known), max(known)
    if most <= _MUCH * least:
        return []
    return [
        f"Pixels of {fine!r} measure {least:.3g} µm and those of {coarse!r} {most:.3g} µm, so the "
        f"same object is {most / least:.2g} times as long in one as in the other. The model sees "
        "pixels alone: bring the images to one pixel size if their objects are alike."
    ]

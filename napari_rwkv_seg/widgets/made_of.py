"""Which image a Labels layer was made of, as long as both are open: names may change."""

import weakref

from napari.layers import Image, Labels

_MADE_OF: "weakref.WeakKeyDictionary[Labels, weakref.ref[Image]]" = weakref.WeakKeyDictionary()


def remember_image(labels: Labels, image: Image | None) -> None:
    """Take note of the image that labels were made of, if it is still there."""
    if image is not None:
        _MADE_OF[labels] = weakref.ref(image)


def made_of(labels: Labels) -> Image | None:
    """Return the image that labels were made of; None if nobody has said so, or it is gone."""
    known = _MADE_OF.get(labels)
    return known() if known is not None else None

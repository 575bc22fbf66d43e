"""Segment a region of a large image without segmenting the rest of it.

Only the tiles of the plane that show any of the region are run, and they see its
pixels as bright as they are in the whole plane; so the answer is the one that
users get there, but a small region of a large image costs little.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.evaluation.regions import ClassMap, Mask, predict_classes
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.normalize import match_channels, scale_pixels
from napari_rwkv_seg.inference.tiles import pieces
from napari_rwkv_seg.inference.windows import window_of
from napari_rwkv_seg.zoo.card import Normalization

Part = tuple[slice, slice]
"""Rows and columns."""


def part_to_see(region: Mask, tile_size: int) -> Part:
    """Return the smallest part of a plane that holds all tiles which show any of a region.

    Parameters
    ----------
    region : bool array (Y, X)
        Not empty.
    tile_size : int
        Of the tiles of the plane, in pixels.
    """
    return _span(np.any(region, 1), tile_size), _span(np.any(region, 0), tile_size)


def predict_part(
    model: Model, image: NDArray[Any], part: Part, should_stop: Callable[[], bool] = lambda: False
) -> ClassMap:
    """Return the class labels of a plane (Y, X) or (Y, X, C), which are 0 outside of a part of it.

    Raises
    ------
    CancelledError
        If `should_stop`, asked before every tile, says so.
    """
    card = model.card
    plane, _ = match_channels(image.reshape(*image.shape[:2], -1), card.input_channels)
    windows = [window_of(plane[..., n], card.normalization) for n in range(plane.shape[2])]
    unit = card.normalization.model_copy(update={"mean": [0.0], "std": [1.0]})
    pixels, invalid = scale_pixels(plane[part], windows, unit, card.input_channels)
    labels = np.zeros(image.shape[:2], np.uint8)
    if not (invalid.all() and all(windows)):  # bad pixels here alone are background
        pixels[:, invalid] = np.nan
        seen = Normalization(
            kind="fixed", scale=1, mean=card.normalization.mean, std=card.normalization.std
        )
        model = replace(model, card=card.model_copy(update={"normalization": seen}))
        labels[part] = predict_classes(model, np.moveaxis(pixels, 0, -1), should_stop)
    return labels


def _span(line: NDArray[np.bool_], tile_size: int) -> slice:
    """Return from where to where the tiles along one axis lie that show anything of a region."""
    places = np.flatnonzero(line)
    first, last = int(places[0]), int(places[-1])
    tiles = [tile for tile, _ in pieces(len(line), tile_size)]
    shown = [tile for tile in tiles if tile.start <= last and tile.stop > first]
    return slice(shown[0].start, shown[-1].stop)

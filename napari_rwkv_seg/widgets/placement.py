"""Where a result belongs: the shape of its layer and the transform that lays it over the image.

A Labels layer has no channel axis. A leading one is dropped; one further in
becomes an axis of length 1 that is stretched over all channels, since napari
aligns layers by their last axes. Everything here is a snapshot of plain values,
taken when a run starts, and still good if the image is deleted meanwhile.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.napari_io import SOURCE_KEY

from .regions import Region, level_data

if TYPE_CHECKING:
    import weakref


@dataclass(frozen=True)
class Placement:
    """Where the labels of a region go.

    Parameters
    ----------
    shape : tuple of int
        The shape of the layer that covers the whole image.
    box : tuple of slice
        Where in it the region lies.
    mask : bool array, or None
        Which pixels of the box count; it broadcasts to the box.
    transform : dict
        Keywords for napari's layers: scale, translate, rotate, shear, affine, units, axis_labels.
    source : dict
        What the image's metadata say of the file it came from, for the layer's metadata; so
        labels are saved with the exact geometry of that file.
    """

    shape: tuple[int, ...]
    box: tuple[slice, ...]
    mask: NDArray[np.bool_] | None
    transform: dict[str, Any]
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Whether the region leaves out a part of the image."""
        sizes = tuple(part.stop - part.start for part in self.box)
        return self.mask is not None or sizes != self.shape

    @property
    def box_transform(self) -> dict[str, Any]:
        """The keywords for a layer that covers the region alone."""
        start = np.array([part.start for part in self.box], dtype=np.float64)
        return shifted(self.transform, start)

    def fill(self, whole: NDArray[Any], part: NDArray[Any]) -> None:
        """Write `part`, (*spatial) of the region, into `whole`, in place, where the mask allows."""
        view = whole[self.box]
        part = part.reshape(view.shape)
        if self.mask is None:
            view[...] = part
        else:
            mask = np.broadcast_to(self.mask, view.shape)
            view[mask] = part[mask]


def place(layer: Image, axes: str, level: int, region: Region) -> Placement:
    """Return where the labels of `region` of an image belong.

    Parameters
    ----------
    layer : Image
        The image.
    axes : str
        One letter for every axis of its array.
    level : int
        The level of a multiscale image.
    region : Region
        In pixels of that level.

    Raises
    ------
    ImageError
        If the layer's scale holds a zero, NaN or infinity.
    """
    scale = np.asarray(layer.scale, dtype=np.float64)
    if not np.isfinite(scale).all() or not scale.all():
        raise ImageError(
            f"Layer {layer.name!r} has the scale {tuple(scale.tolist())}, "
            "which is no size of a pixel; correct it and run again."
        )
    transform = transform_of(layer, level)
    data_shape = level_data(layer, level).shape
    channel = axes.find("C")
    shape, box, letters = list(data_shape), list(region.box), list(axes)
    if layer.rgb or channel == 0:
        del shape[channel], box[channel], letters[channel]
        if not layer.rgb:
            transform = without_axis(transform, channel)
    elif channel > 0:
        transform = _stretched(transform, channel, shape[channel])
        shape[channel], box[channel] = 1, slice(0, 1)
    source = {key: told for key, told in layer.metadata.items() if key == SOURCE_KEY}
    return Placement(tuple(shape), tuple(box), _mask(region, letters), transform, source)


def _mask(region: Region, letters: list[str]) -> NDArray[np.bool_] | None:
    """Return the region's mask with an axis of length 1 for every axis but Y and X."""
    if region.mask is None:
        return None
    sides = dict(zip("YX", region.mask.shape, strict=True))
    return region.mask.reshape([sides.get(letter, 1) for letter in letters])


def transform_of(layer: Image | Labels, level: int = 0) -> dict[str, Any]:
    """Return the keywords that give another layer the place of `layer`, at a level."""
    keywords: dict[str, Any] = {
        "scale": np.array(layer.scale, dtype=np.float64),
        "translate": np.array(layer.translate, dtype=np.float64),
        "rotate": np.array(layer.rotate, dtype=np.float64),
        "shear": _shear_matrix(np.asarray(layer.shear, dtype=np.float64), layer.ndim),
        "affine": np.array(layer.affine.affine_matrix, dtype=np.float64),
    }
    for name in ("units", "axis_labels"):  # newer than the oldest napari that we support promises
        value = getattr(layer, name, None)
        if value is not None:
            keywords[name] = tuple(value)
    if not layer.multiscale:
        return keywords
    factors = np.asarray(layer.downsample_factors[level], dtype=np.float64)[: layer.ndim]
    keywords = shifted(keywords, (factors - 1) / 2)  # a coarse pixel lies amid those it stands for
    return {**keywords, "scale": keywords["scale"] * factors}


def lay_over(layer: Image | Labels, transform: dict[str, Any]) -> None:
    """Give an existing layer the place that the keywords say."""
    for name, value in transform.items():
        setattr(layer, name, value)


def shifted(transform: dict[str, Any], start: NDArray[np.float64]) -> dict[str, Any]:
    """Return the keywords for a layer that begins at the pixel `start` of another."""
    linear = transform["rotate"] @ transform["shear"] @ np.diag(transform["scale"])
    return {**transform, "translate": transform["translate"] + linear @ start}


def _shear_matrix(shear: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Return napari's shear, a vector of the upper triangle or a matrix, as a matrix."""
    if shear.ndim == 2:
        return shear.copy()
    matrix = np.eye(ndim)
    matrix[np.triu_indices(ndim, k=1)] = shear
    return matrix


def without_axis(transform: dict[str, Any], axis: int) -> dict[str, Any]:
    """Return the keywords for a layer that lacks one axis."""

    def reduced(name: str, value: Any) -> Any:
        if name in ("units", "axis_labels"):
            return value[:axis] + value[axis + 1 :]
        for side in range(np.ndim(value)):
            value = np.delete(value, axis, axis=side)
        return value

    return {name: reduced(name, value) for name, value in transform.items()}


def _stretched(transform: dict[str, Any], axis: int, count: int) -> dict[str, Any]:
    """Return the keywords for a layer with one pixel along `axis` where the image has `count`."""
    shift = np.zeros_like(transform["scale"])
    shift[axis] = (count - 1) / 2 * transform["scale"][axis]
    scale = transform["scale"].copy()
    scale[axis] *= count
    translate = transform["translate"] + transform["rotate"] @ transform["shear"] @ shift
    return {**transform, "scale": scale, "translate": translate}


@dataclass(frozen=True, eq=False)
class Asked:
    """What a job was asked for, as it was when it began."""

    image: "weakref.ref[Image]"
    name: str
    axes: str
    level: int
    region: Region
    place: Placement

    def name_now(self) -> str:
        """Return the image's present name, or the one it had."""
        image = self.image()
        return image.name if image is not None else self.name

    def place_now(self) -> Placement:
        """Return where the result belongs now that the image may have been moved, or is gone."""
        image = self.image()
        if image is None or level_data(image, self.level).ndim != len(self.axes):
            return self.place
        try:
            place_now = place(image, self.axes, self.level, self.region)
        except (ImageError, IndexError):  # no size of a pixel, or no such level any more
            return self.place
        return place_now if place_now.shape == self.place.shape else self.place

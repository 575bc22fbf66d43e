"""Pairs of an image layer and a Labels layer, and their planes.

Layers are held weakly and touched on the main thread; workers get copies, or views
that they only count in.
"""

import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Shapes
from numpy.typing import NDArray

from napari_rwkv_seg.controllers.finetune_pairs import (
    Checked,
    PairRow,
    PlacedPair,
    Planes,
    Untouched,
)
from napari_rwkv_seg.controllers.finetune_planes import all_planes, parse_planes, plane_name
from napari_rwkv_seg.errors import ImageError

from .as_written import planes_it_holds
from .finetune_matching import (
    Fit,
    check_same_place,
    fit,
    image_of,
    is_ours_to_show,
    meaning,
    model_of,
)
from .finetune_place import labels_axes, pixel_size_um
from .finetune_shapes import Outline, filled, outlines_on
from .marks import METADATA_KEY
from .regions import data_point, is_lazy, level_data


class LayerPair:
    """An image layer with a Labels layer; a `PairSource`.

    Parameters
    ----------
    viewer : napari viewer
        Has the Shapes layers; held weakly.
    image, labels : Image, Labels
        Held weakly.
    is_wanted : bool
        Whether the user has put them together.
    """

    def __init__(
        self, viewer: Any, image: Image, labels: Labels, *, is_wanted: bool = False
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self._image = weakref.ref(image)
        self._labels = weakref.ref(labels)
        self.key: Hashable = (image.unique_id, labels.unique_id)
        self.image_name = image.name
        self.labels_name = labels.name
        self.covers: tuple[Hashable, Hashable] = (image.unique_id, None)
        self.group = f"{image.name} {str(image.unique_id)[:8]}"
        self.means, self.made_by = meaning(labels), model_of(labels)
        self.problem = ""
        self.stack: tuple[int, ...] = ()
        try:
            self.fit = fit(image, labels, is_wanted=is_wanted)
            if is_wanted:
                check_same_place(image, labels, self.fit)
        except ImageError as error:
            self.fit = Fit("YX")
            self.problem = str(error)
            return
        self.covers = (image.unique_id, self.fit.box)
        self.labels_axes = labels_axes(self.fit.axes, labels.data.ndim)
        shape = labels.data.shape
        self.stack = tuple(
            length for length, letter in zip(shape, self.labels_axes, strict=True) if letter in "TZ"
        )

    @property
    def image(self) -> Image | None:
        """The image layer, if it is still there."""
        return self._image()

    @property
    def labels(self) -> Labels | None:
        """The Labels layer, if it is still there."""
        return self._labels()

    def shown_plane(self) -> tuple[int, ...]:
        """Return the plane that the viewer shows."""
        viewer, labels = self._viewer(), self._labels()
        if viewer is None or labels is None or not self.stack:
            return ()
        position = data_point(viewer, labels)
        axes = [axis for axis, letter in enumerate(self.labels_axes) if letter in "TZ"]
        return tuple(
            int(np.clip(np.round(position[axis]), 0, length - 1))
            for axis, length in zip(axes, self.stack, strict=True)
        )

    def planes(self, checked: Checked, *, copied: bool) -> Planes:
        """Return what gives the planes that are checked; see `PairSource`.

        Raises
        ------
        RwkvSegError
            If the planes or the boxes are not there.
        """
        image, labels = self._image(), self._labels()
        if image is None or labels is None or self.problem:
            raise ImageError(self.problem or f"The layers of {self.image_name!r} were removed.")
        places = self._places(checked)
        outlines = self._outlines(checked, labels)
        if outlines is not None:
            places = [place for place in places if _any_on(outlines, place)]
            if not places:
                raise ImageError("The boxes lie on none of its planes; draw them on the image.")
        pixels = level_data(image, self.fit.level)
        parts = [
            _Part(
                place,
                _taken(pixels, self._image_key(place), copied),
                _taken(labels.data, self._labels_key(place), copied),
            )
            for place in places
        ]
        size = pixel_size_um(image, self.fit.axes, self.fit.level)
        return lambda: self._read(parts, outlines, size, copied)

    def as_written(self) -> Callable[[], Untouched]:
        """Return what tells which planes nobody has edited; see `PairSource`."""
        labels = self._labels()
        if labels is None:
            return lambda: False
        told = labels.metadata.get(METADATA_KEY)
        if isinstance(told, dict) and "store" in told and is_lazy(labels.data):
            return lambda: True  # streamed labels cannot be painted on
        told_by = planes_it_holds(labels)
        return lambda: self._untouched(told_by())

    def _untouched(self, held: NDArray[np.bool_] | None) -> Untouched:
        """Return which planes are untouched, given where along its first axes the array is."""
        if held is None:
            return False
        if set(self.labels_axes[-2:]) != set("YX"):
            return bool(held.all())  # each of our planes lies across all those of the array
        places = all_planes(self.stack)
        return {place for place in places if held[self._labels_key(place)[:-2]]}

    def _read(
        self,
        parts: "list[_Part]",
        outlines: list[Outline] | None,
        size: float | None,
        copied: bool,
    ) -> Iterator[PlacedPair]:
        """Yield the planes; in a worker."""
        left = [
            letter
            for letter in self.fit.axes
            if letter in "YX" or (letter == "C" and self.fit.channel is None)
        ]
        for part in parts:
            pixels, labels = part.image(), np.asarray(part.labels())
            if "C" in left:
                pixels = np.moveaxis(pixels, left.index("C"), -1)
            if copied:  # counting needs no pixels of the image: a lazy one stays so
                pixels = np.asarray(pixels)
            shape = (labels.shape[0], labels.shape[1])
            mask = np.ones(shape, dtype=bool)
            if outlines is not None:
                mask = filled(outlines, part.place, shape)
            name = plane_name(self.image_name, part.place)
            yield PlacedPair(name, pixels, labels, mask, self.group, size, place=part.place)

    def _places(self, checked: Checked) -> list[tuple[int, ...]]:
        if checked.how == "these planes" and self.stack:
            return parse_planes(checked.planes, self.stack)
        return all_planes(self.stack)

    def _outlines(self, checked: Checked, labels: Labels) -> list[Outline] | None:
        if checked.how != "inside these boxes":
            return None
        viewer = self._viewer()
        layers = viewer.layers if viewer is not None else ()
        for layer in layers:
            if isinstance(layer, Shapes) and layer.unique_id == checked.boxes:
                return outlines_on(viewer, layer, labels, self.labels_axes)
        raise ImageError("Choose the Shapes layer with the boxes, or make one with 'New boxes'.")

    def _image_key(self, place: tuple[int, ...]) -> tuple[Any, ...]:
        at = iter(place)
        axes, channel = self.fit.axes, self.fit.channel
        key: list[Any] = []
        for letter, (start, stop) in zip(
            axes, self.fit.box or ((0, None),) * len(axes), strict=True
        ):
            if letter in "TZ":
                key.append(start + next(at))
            elif letter == "C" and channel is not None:
                key.append(channel)
            else:
                key.append(slice(start, stop))
        return tuple(key)

    def _labels_key(self, place: tuple[int, ...]) -> tuple[Any, ...]:
        at = iter(place)
        return tuple(
            next(at) if letter in "TZ" else 0 if letter == "C" else slice(None)
            for letter in self.labels_axes
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """A plane, and what gives its pixels in a worker."""

    place: tuple[int, ...]
    image: Callable[[], Any]
    labels: Callable[[], Any]


def find_pairs(viewer: Any) -> list[PairRow]:
    """Return the pairs of layers that belong together, those of the topmost labels first."""
    rows: list[PairRow] = []
    for labels in reversed(viewer.layers):  # topmost first
        if not isinstance(labels, Labels) or is_ours_to_show(labels):
            continue
        image = image_of(viewer, labels)
        if image is not None:
            rows.append(new_row(LayerPair(viewer, image, labels)))
    return rows


def new_row(source: LayerPair) -> PairRow:
    """Return a row; of a stack only the plane that is shown is taken as checked at first."""
    if source.stack:
        shown = "/".join(map(str, source.shown_plane()))
        return PairRow(source, checked=Checked("these planes", planes=shown))
    return PairRow(source)


def _any_on(outlines: list[Outline], place: tuple[int, ...]) -> bool:
    return any(outline.place in (None, place) for outline in outlines)


def _taken(data: Any, key: tuple[Any, ...], copied: bool) -> Callable[[], Any]:
    """Return what gives a plane of an array: a view or a copy of now; lazy ones are read later."""
    if is_lazy(data):
        return lambda: data[key]
    plane = data[key]
    plane = plane.copy() if copied else plane
    return lambda: plane

"""What a store of streamed labels holds, and what is done of it: plain values.

Knows no Zarr and no files. `Layout` is what the arrays are; `StoreState` is what
the progress file says; a run is a dict of what tells it from other runs.
"""

from dataclasses import dataclass, field
from typing import Any

from napari_rwkv_seg.images.geometry import Geometry
from napari_rwkv_seg.images.tiff_meaning import geometry_as_json
from napari_rwkv_seg.images.zarr_metadata import KEY

from .stream_plan import GROUP

_SMALLEST_CHUNK = 16  # of the coarsest level; pixels


@dataclass
class PlaneState:
    """What is done of one plane.

    Parameters
    ----------
    windows : list or None
        Low, high, offset and span of every channel; None before they are measured.
    flat, blank : bool
        Whether all of its pixels have one value, or none can be used.
    rows : list of [strip, row]
        The rows of blocks whose classes are written.
    invalid : int
        Pixels in these rows that were not a number.
    filled : list of int
        The classes whose holes are filled.
    objects : int or None
        How many objects it has; None before they are counted and written.
    """

    windows: list[list[float] | None] | None = None
    flat: bool = False
    blank: bool = False
    rows: list[list[int]] = field(default_factory=list)
    invalid: int = 0
    filled: list[int] = field(default_factory=list)
    objects: int | None = None

    def forget_labels(self) -> None:
        """Begin after the network anew."""
        self.filled, self.objects = [], None

    def forget_classes(self) -> None:
        """Begin after the brightness was measured anew."""
        self.rows, self.invalid = [], 0
        self.forget_labels()


@dataclass
class StoreState:
    """What is done of a run; kept in the progress file.

    Parameters
    ----------
    tile_size : int
        The present size of tiles, smaller than wished if memory ran out.
    planes : list of PlaneState
        In the order of the stack.
    complete : bool
        Whether the labels are final.
    provenance : dict
        How the labels were made, once they are.
    """

    tile_size: int
    planes: list[PlaneState]
    complete: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """What a store holds.

    Parameters
    ----------
    shape : tuple of int
        (*stack, Y, X).
    block : int
        The side of a block in pixels.
    dtype : str
        Of the labels.
    geometry : Geometry
        The letters of these axes, and where the pixels lie.
    """

    shape: tuple[int, ...]
    block: int
    dtype: str
    geometry: Geometry

    @property
    def levels(self) -> list[tuple[int, ...]]:
        """The shapes of the pyramid, each half of the one before; the last is small to draw."""
        shapes = [self.shape]
        longest, chunk = max(self.shape[-2:]), self.block
        while longest > 2 * self.block and chunk % 2 == 0 and chunk // 2 >= _SMALLEST_CHUNK:
            longest, chunk = -(-longest // 2), chunk // 2
            *stack, height, width = shapes[-1]
            shapes.append((*stack, -(-height // 2), -(-width // 2)))
        return shapes

    def chunk(self, level: int) -> tuple[int, int]:
        """Return height and width of a chunk: one block, on coarser levels several in a row."""
        side = self.block >> level
        return side, side * min(GROUP, 1 << level)


def attributes(layout: Layout) -> dict[str, Any]:
    """Return the metadata of OME-Zarr 0.5 for a multiscale image of labels."""
    geometry, kinds = layout.geometry, {"T": "time"}
    axes = [
        {"name": letter.lower(), "type": kinds.get(letter, "space")}
        | ({"unit": unit} if unit not in ("pixel", "frame") else {})
        for letter, unit in zip(geometry.axes, geometry.units, strict=True)
    ]
    datasets = []
    for level in range(len(layout.levels)):
        factors = [float(1 << level) if letter in "YX" else 1.0 for letter in geometry.axes]
        scale = [one * factor for one, factor in zip(geometry.spacing, factors, strict=True)]
        transforms = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": list(geometry.origin)},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    multiscale = {"name": "labels", "axes": axes, "datasets": datasets, "type": "nearest"}
    told = {"version": "0.5", "multiscales": [multiscale], "image-label": {}}
    if geometry.affine is not None:  # OME-Zarr has no words for it; read by `zarr_metadata`
        told[KEY] = {"geometry": geometry_as_json(geometry)}
    return {"ome": told}


def state_of(plain: dict[str, Any]) -> StoreState:
    """Return what a progress file says is done."""
    planes = [PlaneState(**one) for one in plain["planes"]]
    return StoreState(plain["tile_size"], planes, plain["complete"], plain["provenance"])


def same_classes(found: dict[str, Any], wished: dict[str, Any]) -> bool:
    """Return whether two runs differ in nothing that the network and the threshold see."""

    def without_labels(run: dict[str, Any]) -> dict[str, Any]:
        threshold, output = run["settings"]["threshold"], run["settings"]["output"]
        return run | {"settings": [threshold, output]}

    return without_labels(found) == without_labels(wished)


def differences(found: dict[str, Any], wished: dict[str, Any]) -> list[str]:
    """Return the names of what differs."""
    return [
        name for name in sorted(found.keys() | wished.keys()) if found.get(name) != wished.get(name)
    ]

"""What a user chose for all images of a batch: plain values that any worker understands."""

from dataclasses import dataclass, field, replace
from typing import Any

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.images.saving import FORMATS
from napari_rwkv_seg.inference.settings import (
    LabelSettings,
    Views,
    check_views,
    plain_channel,
    plain_tile_size,
    views_of,
)
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL

from .settings import DIRECTIONS, Directions, Output

ENDINGS: dict[str, str] = {
    "ome-tiff": ".tif",
    "png": ".png",
    "nifti": ".nii.gz",
    "ome-zarr": ".ome.zarr",
    "dicom-seg": ".dcm",
    "coco": ".coco.json",
}
"""Ending of a labels file by its format; which formats can be written, `images.FORMATS` says."""


@dataclass(frozen=True)
class BatchChoices:
    """What is done with every image of a batch.

    Parameters
    ----------
    model : str
        A model's name or folder.
    device : str
        "auto", "cpu", "cuda", or "cuda:N".
    output : "classes" or "objects"
        One number a class, or one number an object.
    wishes : dict
        Fields of `LabelSettings` that replace what the model's card recommends.
    axes : str, optional
        Meaning of the axes; None for what each file says.
    channel : int, optional
        The channel to use alone, from 0.
    tile_size : int, optional
        Side of a tile in pixels; None for the model's.
    directions : "Z", "Y", "X" or "ZYX"
        Across which axes a volume is cut into planes; of all three the mean is taken.
    views : 1, 4 or 8
        How often each tile is looked at, mirrored and turned, to take the mean.
    format : str
        How labels are saved, one of `images.FORMATS`.
    measure : bool
        Write measurements beside the labels.
    overlay : bool
        Write a picture of image and labels.
    overwrite : bool
        Do all images anew, whatever is there.
    stream : bool, optional
        Whether images are streamed into an OME-Zarr store, piece by piece; None for those that
        would take more than half of the memory that is free.

    Raises
    ------
    SettingsError
        If there is no such format, direction, channel, size of a tile or number of views.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    output: Output = "classes"
    wishes: dict[str, Any] = field(default_factory=dict)
    axes: str | None = None
    channel: int | None = None
    tile_size: int | None = None
    directions: Directions = "Z"
    views: Views = 1
    format: str = "ome-tiff"
    measure: bool = False
    overlay: bool = False
    overwrite: bool = False
    stream: bool | None = None

    def __post_init__(self) -> None:
        check_views(self.views)
        object.__setattr__(self, "channel", plain_channel(self.channel))
        object.__setattr__(self, "tile_size", plain_tile_size(self.tile_size))
        if self.format not in FORMATS:
            raise SettingsError(f"Format is one of {', '.join(FORMATS)}, not {self.format!r}.")
        if self.directions not in DIRECTIONS:
            raise SettingsError(
                f"Directions is one of {', '.join(DIRECTIONS)}, not {self.directions!r}."
            )

    def labels_for(self, card: ModelCard) -> LabelSettings:
        """Return how probabilities become labels with a model.

        Raises
        ------
        SettingsError
            If a value lies outside its range.
        """
        return replace(LabelSettings.for_model(card, self.output), **self.wishes)

    def asked(self, card: ModelCard) -> dict[str, Any]:
        """Return all that labels depend on besides the image, as plain values for JSON."""
        return {
            "model_sha256": card.weights_sha256,
            "settings": self.labels_for(card).to_dict(),
            "axes": self.axes,
            "channel": self.channel,
            "tile_size": self.tile_size,
            "directions": self.directions,
            "views": views_of(card, self.views),
        }

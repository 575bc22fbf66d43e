"""The choices of one segmentation, checked when they are made.

A frozen value that the window shows and a run keeps: which model, which part of
the image, how its axes are read, and how probabilities become labels. Knows no
Qt, no napari and no torch.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.inference.settings import LabelSettings, Views, check_views
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL

Scope = Literal["whole layer", "current slice", "current view", "selected shapes"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Output = Literal["classes", "objects"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
OUTPUT_NAMES: dict[Output, str] = {"classes": "Classes", "objects": "Separate objects"}

Directions = Literal["Z", "Y", "X", "ZYX"]
DIRECTIONS: tuple[Directions, ...] = get_args(Directions)

VIEW_NAMES: dict[Views, str] = {
    1: "1: as it is",
    4: "4: mirrored",
    8: "8: mirrored and turned",
}

Stream = Literal["auto", "always", "never"]

_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class SegmentSettings:
    """What to segment, with what, and what to make of it.

    Parameters
    ----------
    model : str
        Name of a model, or its folder.
    scope : str
        One of `SCOPES`: the part of the image that is run.
    axes : str
        The axes of the image's array in NumPy order, such as "ZYX"; "" while not known.
    channel : int, optional
        The one channel to use, from 0; None takes all.
    level : int
        The level of a multiscale image, 0 being the full resolution.
    device : str
        "auto", "cpu", "cuda", or "cuda:N".
    directions : "Z", "Y", "X" or "ZYX"
        Across which axis a volume is cut into planes; "ZYX" averages over all three.
    views : 1, 4 or 8
        How often each tile is looked at, mirrored and turned, to take the mean.
    spacing : (float, float, float), optional
        Distances of pixels along Z, Y and X; None while not known.
    stream : "auto", "always" or "never"
        Whether the result goes into a store block by block; "auto" if the image is too large.
    store : str
        The folder that holds such stores; "" for one in the user's data.
    labels : LabelSettings
        How probabilities become labels.

    Raises
    ------
    SettingsError
        If a value lies outside its range; the text names the setting.
    """

    model: str = DEFAULT_MODEL
    scope: Scope = "whole layer"
    axes: str = ""
    channel: int | None = None
    level: int = 0
    device: str = "auto"
    directions: Directions = "Z"
    views: Views = 1
    spacing: tuple[float, float, float] | None = None
    stream: Stream = "auto"
    store: str = ""
    labels: LabelSettings = field(default_factory=LabelSettings)

    def __post_init__(self) -> None:
        check_views(self.views)
        if self.directions not in DIRECTIONS:
            raise SettingsError(
                f"Directions is one of {', '.join(DIRECTIONS)}, not {self.directions!r}."
            )
        if self.stream not in get_args(Stream):
            raise SettingsError(f"Stream is auto, always or never, not {self.stream!r}.")
        if not isinstance(self.model, str) or not self.model.strip():
            raise SettingsError("No model is chosen; pick one under 'Model'.")
        if self.scope not in SCOPES:
            raise SettingsError(f"'Run on' is one of {', '.join(SCOPES)}, not {self.scope!r}.")
        if self.channel is not None and not _is_index(self.channel):
            raise SettingsError(f"Channel must be a whole number from 0, got {self.channel!r}.")
        if not _is_index(self.level):
            raise SettingsError(f"Level must be a whole number from 0, got {self.level!r}.")
        if self.device not in _DEVICES and not self.device.startswith("cuda:"):
            raise SettingsError(f"Device is one of {', '.join(_DEVICES)}, not {self.device!r}.")


def recommended_labels(card: ModelCard) -> LabelSettings:
    """Return how a model's probabilities become labels unless the user says otherwise.

    With one class besides the background its separate objects are what one wants
    to count; with more, the classes.
    """
    return LabelSettings.for_model(card, "objects" if len(card.classes) == 2 else "classes")


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

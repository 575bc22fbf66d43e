"""How probabilities become labels: the choices of one run, checked when they are made.

Knows no torch and no image; lengths are in pixels, areas in pixels.
"""

import math
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal, get_args

from napari_rwkv_seg.errors import SettingsError

if TYPE_CHECKING:
    from napari_rwkv_seg.zoo.card import ModelCard

Output = Literal["classes", "objects"]
Link = Literal["", "Z", "T", "TZ"]
Views = Literal[1, 4, 8]


@dataclass(frozen=True)
class LabelSettings:
    """What to make of the probabilities of a network.

    Parameters
    ----------
    output : "classes" or "objects"
        One number a class, or one number a separate object.
    threshold : float, 0 to 1
        A pixel is foreground if all foreground classes together have at least this probability.
    smallest_object : int
        Connected regions (objects) of fewer pixels are dropped; 0 keeps all.
    fill_holes : bool
        Fill background that a region encloses.
    split : bool
        Cut touching objects apart (objects only).
    split_distance : int
        Centres of objects that are to be separate lie at least this many pixels apart.
    link : "", "Z", "T" or "TZ"
        Along which axes objects that overlap from plane to plane get one number (objects only).
    link_overlap : float, 0 to 1
        The least IoU of two objects that are linked.

    Raises
    ------
    SettingsError
        If a value lies outside its range; the text names the setting.
    """

    output: Output = "classes"
    threshold: float = 0.5
    smallest_object: int = 0
    fill_holes: bool = True
    split: bool = True
    split_distance: int = 7
    link: Link = ""
    link_overlap: float = 0.3

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise SettingsError(f"Output is 'classes' or 'objects', not {self.output!r}.")
        if self.link not in get_args(Link):
            raise SettingsError(f"Link is '', 'Z', 'T' or 'TZ', not {self.link!r}.")
        plain = {
            "threshold": _number("Threshold", self.threshold, 0, 1),
            "link_overlap": _number("Link overlap", self.link_overlap, 0, 1),
            "smallest_object": _whole("Smallest object", self.smallest_object, 0, 10**9),
            "split_distance": _whole("Split distance", self.split_distance, 1, 1000),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)  # NumPy's numbers are none of JSON's

    @classmethod
    def for_model(cls, card: "ModelCard", output: Output = "classes") -> "LabelSettings":
        """Return the settings that the model's card recommends for `output`."""
        return cls(output=output, **card.objects.model_dump())

    def to_dict(self) -> dict[str, str | float | int | bool]:
        """Return the settings as plain values, for provenance and JSON."""
        return asdict(self)


def check_views(views: int) -> None:
    """Refuse a number of views that is none of `Views`.

    Raises
    ------
    SettingsError
        If it is.
    """
    if not isinstance(views, int) or isinstance(views, bool) or views not in get_args(Views):
        raise SettingsError(f"Views is 1, 4 or 8, not {views!r}.")


def views_of(card: "ModelCard", wished: Views) -> Views:
    """Return how often a model looks at a tile: once if mirrored ones mean something else to it."""
    return 1 if card.orientation == "fixed" else wished


def views_note(card: "ModelCard", wished: Views) -> str:
    """Return why a model does not look as often as is wished, or ""."""
    if views_of(card, wished) == wished:
        return ""
    return f"{card.name!r} tells sides apart, so it looks at no mirrored tiles."


def plain_channel(channel: int | None) -> int | None:
    """Return a channel as a plain number; how many there are, the image says.

    Raises
    ------
    SettingsError
        If it is no whole number, or below 0.
    """
    if channel is not None and (not _is_whole(channel) or channel < 0):
        raise SettingsError(f"Channel must be a whole number from 0, got {channel!r}.")
    return None if channel is None else int(channel)


def plain_tile_size(size: int | None) -> int | None:
    """Return the side of a tile in pixels as a plain number; None for the model's.

    Raises
    ------
    SettingsError
        If it is no whole number, or none from 64 to 4096.
    """
    return None if size is None else _whole("Tile size", size, 64, 4096)


def _number(name: str, value: float, low: float, high: float) -> float:
    """Return a number of any type as a plain one; refuse one not finite or outside low … high."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise SettingsError(f"{name} must be a number from {low} to {high}, got {value!r}.")
    return int(value) if _is_whole(value) else float(value)


def _whole(name: str, value: int, low: int, high: int) -> int:
    """Return a whole number of any type as a plain one; refuse one outside low … high."""
    if not _is_whole(value) or not low <= value <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}, got {value!r}.")
    return int(value)


def _is_whole(value: object) -> bool:
    """Return whether a value is a whole number, of Python or of NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool)

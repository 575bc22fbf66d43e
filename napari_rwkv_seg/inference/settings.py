"""How probabilities become labels: the choices of one run, checked when they are made.

Knows no torch and no image; lengths are in pixels, areas in pixels.
"""

import math
from dataclasses import asdict, dataclass
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
        _check_number("Threshold", self.threshold, 0, 1)
        _check_number("Link overlap", self.link_overlap, 0, 1)
        _check_whole("Smallest object", self.smallest_object, 0, 10**9)
        _check_whole("Split distance", self.split_distance, 1, 1000)

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


def _check_number(name: str, value: float, low: float, high: float) -> None:
    """Refuse a value that is no number, not finite, or outside low … high."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise SettingsError(f"{name} must be a number from {low} to {high}, got {value!r}.")


def _check_whole(name: str, value: int, low: int, high: int) -> None:
    """Refuse a value that is no whole number or outside low … high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}, got {value!r}.")

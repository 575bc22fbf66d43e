"""Images with labels that a user offers for training, and what of them is checked.

A `PairSource` stands for one image with its labels, wherever it lies: two layers,
two files, or a pair that an earlier run has kept. It is asked for its planes on the
main thread and answers with a function that a worker calls, so that layers are
touched on the main thread only and pixels are counted off it. Knows no Qt, no
napari and no torch.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, get_args

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.training.pairs import TrainingPair, summary
from napari_rwkv_seg.zoo.card import ClassCard

from .finetune_planes import planes_text

How = Literal["whole image", "these planes", "inside these boxes"]
HOWS: tuple[How, ...] = get_args(How)
Meaning = Literal["classes", "objects"]
Planes = Callable[[], Iterator[TrainingPair]]
Untouched = bool | Collection[tuple[int, ...]]
"""All planes, none, or the places of those that are as a model wrote them."""


@dataclass(frozen=True, eq=False)
class PlacedPair(TrainingPair):
    """A plane with its labels, and where in the stack it lies; () if there is no stack."""

    place: tuple[int, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What of an image the user has looked at; the rest counts for nothing.

    Parameters
    ----------
    how : str
        One of `HOWS`.
    planes : str
        For "these planes": numbers from 0 along the first axes, such as "3, 7-9".
    boxes : hashable, optional
        For "inside these boxes": which drawing, as the source knows it.
    """

    how: How = "whole image"
    planes: str = ""
    boxes: Hashable | None = None


class PairSource(Protocol):
    """One image with its labels."""

    key: Hashable
    """Tells the pair from the others."""
    covers: tuple[Hashable, Hashable]
    """The image, and which part of it is labelled; labels of one part may contradict each other."""
    image_name: str
    labels_name: str
    stack: tuple[int, ...]
    """How many planes there are along the first axes; () for a single plane."""
    means: Meaning | Literal[""]
    """What the numbers in the labels stand for, if that is known."""
    made_by: str
    """The model that made the labels, as far as the user has not; "" if that is not known."""
    problem: str
    """Why the pair cannot be used, in a sentence; "" if it can."""

    def planes(self, checked: Checked, *, copied: bool) -> Planes:
        """Return what gives the planes; called on the main thread, its answer in a worker.

        Parameters
        ----------
        checked : Checked
            What of the image counts.
        copied : bool
            Whether the pixels must be those of this moment.

        Raises
        ------
        RwkvSegError
            If `checked` does not fit the image.
        """

    def as_written(self) -> Callable[[], Untouched]:
        """Return what tells which planes of labels are a model's, edited by nobody.

        All or none, or their places if others were edited.
        Called on the main thread, its answer in a worker.
        """


@dataclass(frozen=True, eq=False)  # each count is one of its own: labels may have moved
class PairFacts:
    """What was counted in the planes of a pair.

    Parameters
    ----------
    pixels : tuple of (str, int)
        Checked pixels of each class, by name.
    objects : int
        Checked objects; 0 where numbers mean classes.
    checked, total : int
        Pixels that are checked, and all pixels of the planes that are.
    highest : int
        The highest number in the labels.
    problem : str
        What is wrong with it, or should be known, in a sentence; "" if nothing.
    as_written : bool
        Whether all planes that are checked are a model's, edited by nobody.
    uncorrected : str
        Which of the checked planes are, if only some; as a user writes planes.
    edited : str
        All planes of the stack, checked or not, that somebody has edited since a model wrote
        them; "" if there are none, or that is not known.
    """

    pixels: tuple[tuple[str, int], ...] = ()
    objects: int = 0
    checked: int = 0
    total: int = 0
    highest: int = 0
    problem: str = ""
    as_written: bool = False
    uncorrected: str = ""
    edited: str = ""


@dataclass(frozen=True, eq=False)
class PairRow:
    """A pair as the window lists it.

    Parameters
    ----------
    source : PairSource
        Where it lies.
    used : bool
        Whether the next run uses it.
    checked : Checked
        What of it counts.
    facts : PairFacts, optional
        What was counted; None while that is under way.
    is_said : bool
        Whether `checked` is what the user said, not a proposal.
    """

    source: PairSource
    used: bool = True
    checked: Checked = field(default_factory=Checked)
    facts: PairFacts | None = None
    is_said: bool = False

    @property
    def problem(self) -> str:
        """What is wrong with the pair, or ""."""
        return self.source.problem or (self.facts.problem if self.facts else "")


def with_plane(checked: Checked, place: tuple[int, ...]) -> Checked:
    """Return what is checked, with one plane more."""
    text = "/".join(map(str, place))
    parts = [part.strip() for part in checked.planes.split(",") if part.strip()]
    if checked.how == "these planes" and text in parts:
        return checked
    return Checked("these planes", ", ".join([*parts, text]))


def count(
    planes: Planes, labels: Meaning, classes: Sequence[ClassCard], untouched: Untouched = False
) -> PairFacts:
    """Return what is in the planes of a pair; a fault becomes the problem. For a worker.

    Parameters
    ----------
    planes : callable
        As a source returns it.
    labels : "classes" or "objects"
        What the numbers stand for.
    classes : sequence of ClassCard
        Background first.
    untouched : bool or collection of places
        Which planes are as a model wrote them.
    """
    facts: list[PairFacts] = []
    own: list[tuple[int, ...]] = []
    try:
        for pair in planes():
            facts.append(_plane_facts(pair, labels, classes))
            place = pair.place if isinstance(pair, PlacedPair) else ()
            if untouched if isinstance(untouched, bool) else place in untouched:
                own.append(place)
    except Exception as error:  # noqa: BLE001 - a damaged chunk may raise anything
        return PairFacts(problem=_why_not(error))
    is_all = 0 < len(own) == len(facts)
    return replace(_sum(facts), as_written=is_all, uncorrected="" if is_all else planes_text(own))


def _why_not(error: Exception) -> str:
    """Return a sentence on why a pair cannot be read."""
    if isinstance(error, RwkvSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory to read this pair."
    what = " ".join(str(error).split())[:300] or type(error).__name__
    return f"This pair cannot be read ({what}); save its data anew, or leave the pair out."


def _plane_facts(pair: TrainingPair, labels: Meaning, classes: Sequence[ClassCard]) -> PairFacts:
    told = summary(pair, labels, classes)
    return PairFacts(
        pixels=tuple(told.pixels.items()),
        objects=told.objects or 0,
        checked=told.checked,
        total=pair.labels.size,
        highest=int(pair.labels.max(initial=0)),
        problem=told.problem,
    )


def _sum(facts: Sequence[PairFacts]) -> PairFacts:
    """Return the facts of several planes together."""
    pixels: dict[str, int] = {}
    for one in facts:
        for name, number in one.pixels:
            pixels[name] = pixels.get(name, 0) + number
    return PairFacts(
        pixels=tuple(pixels.items()),
        objects=sum(one.objects for one in facts),
        checked=sum(one.checked for one in facts),
        total=sum(one.total for one in facts),
        highest=max((one.highest for one in facts), default=0),
        problem=next((one.problem for one in facts if one.problem), ""),
    )

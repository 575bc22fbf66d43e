"""The choices of the next fine-tuning run, checked when they are made.

A frozen value that the window shows and a run is made of. Knows no Qt, no
napari and no torch.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from napari_rwkv_seg.errors import SettingsError
from napari_rwkv_seg.training.run_settings import Depth, Orientation, RunSettings, make_settings
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, plain_text
from napari_rwkv_seg.zoo.manage import is_shipped
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, ModelEntry

from .finetune_pairs import Meaning, PairRow

DEPTHS: tuple[Depth, ...] = get_args(Depth)
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
MOST_MINUTES = 7 * 24 * 60.0
MOST_CLASSES = 256
NAME_LENGTH = 64

# Okabe and Ito's colours, told apart by colour-blind people too; black is the background's.
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


@dataclass(frozen=True)
class FinetuneChoices:
    """What to start from, what the labels mean, and for how long to train.

    Parameters
    ----------
    model : str
        The model to start from: its name, or its folder.
    labels : "classes" or "objects"
        What the numbers in the labels stand for.
    classes : tuple of ClassCard
        Of the new model, background first; () while no model is chosen.
    minutes : float, optional
        Time of the run; None for 5 minutes on a CPU and 2 on a GPU.
    depth : str
        One of `DEPTHS`: which part of the network learns.
    orientation : str
        One of `ORIENTATIONS`: whether images are turned and mirrored while the model learns.
    device : str
        "auto", "cpu" or "cuda".

    Raises
    ------
    SettingsError
        If a value lies outside its range; the text names the setting.
    """

    model: str = DEFAULT_MODEL
    labels: Meaning = "classes"
    classes: tuple[ClassCard, ...] = ()
    minutes: float | None = None
    depth: Depth = "auto"
    orientation: Orientation = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.labels not in get_args(Meaning):
            raise SettingsError(f"Numbers mean 'classes' or 'objects', not {self.labels!r}.")
        if self.depth not in DEPTHS:
            raise SettingsError(f"Depth is one of {', '.join(DEPTHS)}, not {self.depth!r}.")
        if self.orientation not in ORIENTATIONS:
            known = ", ".join(ORIENTATIONS)
            raise SettingsError(f"Orientation is one of {known}, not {self.orientation!r}.")
        if self.minutes is not None and not 0 < self.minutes <= MOST_MINUTES:
            raise SettingsError(f"Minutes must be above 0, got {self.minutes!r}.")

    def settings(self, name: str) -> RunSettings:
        """Return the settings of a run with these choices, for a new model called `name`.

        Raises
        ------
        SettingsError
            If they are not allowed.
        """
        return make_settings(
            name=name,
            model=self.model,
            labels=self.labels,
            classes=[one.model_dump() for one in self.classes],
            minutes=self.minutes,
            depth=self.depth,
            orientation=self.orientation,
            device=self.device,
        )


def with_class(classes: Sequence[ClassCard]) -> tuple[ClassCard, ...]:
    """Return the classes and one more, with a name and a colour that are free.

    Raises
    ------
    SettingsError
        If there are as many as a model can have.
    """
    if len(classes) >= MOST_CLASSES:
        raise SettingsError(f"A model has at most {MOST_CLASSES} classes.")
    taken = {one.color.lower() for one in classes}
    free = [color for color in COLORS if color not in taken]
    color = free[0] if free else COLORS[len(classes) % len(COLORS)]
    name = free_name(f"class {len(classes)}", {one.name for one in classes}, " ")
    return (*classes, ClassCard(name=name, color=color))


def with_changed_class(
    classes: Sequence[ClassCard], index: int, name: str = "", color: str = ""
) -> tuple[ClassCard, ...]:
    """Return the classes with another name or colour for one of them.

    Raises
    ------
    SettingsError
        If another class has the name, or it is no text, or no colour.
    """
    name = plain_text(name, 80) or classes[index].name
    if any(one.name == name for other, one in enumerate(classes) if other != index):
        raise SettingsError(f"There is a class {name!r} already; choose another name.")
    color = color or classes[index].color
    if not re.fullmatch("#[0-9a-fA-F]{6}", color):
        raise SettingsError(f"A colour is written like '#e69f00', not {color!r}.")
    changed = list(classes)
    changed[index] = ClassCard(name=name, color=color)
    return tuple(changed)


def guess_meaning(rows: Sequence[PairRow], card: ModelCard | None) -> Meaning:
    """Return what the numbers in the labels stand for, as far as can be known.

    Our own results say it themselves. Otherwise numbers that are no class of the
    model count objects.
    """
    used = [row for row in rows if row.used]
    told: set[Meaning] = {row.source.means for row in used if row.source.means != ""}
    if len(told) == 1:
        return told.pop()
    highest = max((row.facts.highest for row in used if row.facts), default=0)
    count = len(card.classes) if card is not None else 2
    return "objects" if count == 2 and highest >= count else "classes"


def guess_base(rows: Sequence[PairRow], models: Sequence[ModelEntry]) -> str:
    """Return the model to start from: the one whose labels were corrected; "" if none is known.

    Of one that the user has fine-tuned, the model that it was made of, if that is there: every
    round starts from there with all corrections, so that rounds do not drift. What is shipped
    is a base by itself, whatever it was made of.
    """
    made_by = {row.source.made_by for row in rows if row.used and row.source.made_by}
    usable = {entry.name: entry.card for entry in reversed(models) if entry.card is not None}
    shipped = {entry.name for entry in models if is_shipped(entry)}
    name = made_by.pop() if len(made_by) == 1 else ""
    for _ in usable:  # as many steps as there are models: cards may name each other
        parent = usable[name].parent if name in usable else None
        if parent not in usable or name in shipped:
            break
        name = parent
    return name if name in usable else ""


def guess_classes(rows: Sequence[PairRow], models: Sequence[ModelEntry]) -> ModelCard | None:
    """Return the card of the model by whose classes the labels were made; None if none is known.

    It may have others than the model that it was made of, which gives the weights (`guess_base`).
    """
    ours = [row.source for row in rows if row.used and row.source.means == "classes"]
    made_by = {source.made_by for source in ours if source.made_by}
    return card_of(made_by.pop(), models) if len(made_by) == 1 else None


def card_of(wanted: str, models: Sequence[ModelEntry]) -> ModelCard | None:
    """Return the card of a model by its name or its folder; None if it is not there."""
    for entry in models:
        if wanted in (entry.name, str(entry.folder)):
            return entry.card
    return None


def new_classes(base: ModelCard | None, classes: Sequence[ClassCard]) -> list[str]:
    """Return the names of the classes that the model started from does not know."""
    known = {one.name for one in base.classes} if base is not None else set()
    return [one.name for one in classes if one.name not in known]


def suggested_name(model: str, taken: Collection[str]) -> str:
    """Return a free name for what is made of `model`, such as "nuclei-tuned-2"."""
    stem = re.sub(r"-tuned(-\d+)?$", "", slug(model))
    return free_name(f"{stem[: NAME_LENGTH - 12]}-tuned", taken)


def free_name(wanted: str, taken: Collection[str], between: str = "-") -> str:
    """Return `wanted`, with a number if it is taken; capitals do not tell names apart."""
    lower = {name.lower() for name in taken}
    name, number = wanted, 1
    while name.lower() in lower:
        number += 1
        name = f"{wanted}{between}{number}"
    return name


def slug(text: str) -> str:
    """Return a text as the name of a model: letters, digits, `_`, `.` and `-`."""
    last = re.split(r"[\\/]", text.strip())[-1]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-._")
    return name[:NAME_LENGTH] or "model"


def changed(choices: FinetuneChoices, **changes: object) -> FinetuneChoices:
    """Return the choices with some changed; see `FinetuneChoices` for what it raises."""
    return replace(choices, **changes)  # type: ignore[arg-type]

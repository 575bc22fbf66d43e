"""Fine-tune from Python: images and labels in, a model folder and its scores out.

torch is imported when training begins. The command line prepares its runs by the
same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_rwkv_seg.errors import TrainingDataError
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model

from .control import Control
from .events import Event, Report
from .install import (
    check_target,
    install_model,
    is_installed,
    note_decision,
    target_folder,
)
from .pair_files import read_pair, read_pairs
from .pairs import TrainingPair, check_pairs
from .run_folder import RunFolder, new_run_path, prepare_run
from .run_settings import Depth, Labels, Orientation, RunSettings, make_settings, settled

_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Told apart by people with any colour vision (Okabe & Ito)."""


@dataclass(frozen=True)
class Finetuned:
    """What became of a run.

    Parameters
    ----------
    model : Path
        The folder of the new model.
    run : Path
        The folder of the run: everything that is needed to repeat it.
    before, after : dict
        The mean Dice on held-out regions, and that of each class.
    recommended : bool
        Whether the new model is better by more than chance.
    sentence : str
        The same in words.
    """

    model: Path
    run: Path
    before: dict[str, Any]
    after: dict[str, Any]
    recommended: bool
    sentence: str


def finetune(  # noqa: PLR0913 - the choices of a run are its parameters
    images: str | Path | Sequence[ArrayLike],
    masks: str | Path | Sequence[ArrayLike],
    output: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    labels: Labels = "classes",
    classes: Sequence[str] = (),
    minutes: float | None = None,
    depth: Depth = "auto",
    orientation: Orientation = "auto",
    device: str = "auto",
    seed: int = 42,
    run: str | Path | None = None,
    overwrite: bool = False,
    progress: Report = lambda _: None,
) -> Finetuned:
    """Train a model further on images with labels, and write the new model.

    A part of the images is held out; the new model is compared with the old one on it.

    Parameters
    ----------
    images : path or sequence of arrays
        A folder of images of any kind that can be opened (volumes count plane by plane), or
        planes (Y, X) or (Y, X, C).
    masks : path or sequence of arrays
        A folder of files of the same names, or whole numbers (Y, X), 0 for background.
    output : path
        The folder of the new model, which is named after it.
    model : str or path
        The model to start from: its name, or its folder.
    labels : "classes" or "objects"
        What the numbers in the masks stand for.
    classes : sequence of str
        Names of the foreground classes of the new model; those of `model` if empty.
    minutes : float, optional
        Of the whole run; 5 on a CPU and 2 on a GPU if not given.
    depth : "auto", "head", "decoder" or "everything"
        How much of the network is trained.
    orientation : "auto", "any" or "fixed"
        Whether images are turned and mirrored while the model learns; "fixed" where the side
        tells classes apart, such as left and right; "auto" as the card of `model` says.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    seed : int
        Of everything random.
    run : path, optional
        Folder of the run; one in the user's data folder if not given.
    overwrite : bool
        Replace a model that is at `output`.
    progress : callable
        Called with every event; see `docs/finetune.md`.

    Returns
    -------
    Finetuned
        Where the model is, and its scores.

    Raises
    ------
    TrainingDataError
        If nothing can be learnt from the images, or nothing held out.
    RwkvSegError
        If a file, the model, the device or a setting cannot be used.
    """
    pairs = pairs_of(images, masks)
    target = Path(output).absolute()
    choices: dict[str, Any] = {"labels": labels, "minutes": minutes, "depth": depth}
    choices |= {"orientation": orientation, "device": device, "seed": seed, "model": str(model)}
    settings = make_settings(
        name=target.name,
        output=str(target),
        classes=class_cards(classes, str(model)),
        **choices,
    )
    folder = begin(
        settled(settings, Path.cwd()), pairs, Path(run) if run else None, overwrite=overwrite
    )
    return finish(folder, progress, Control(), overwrite=overwrite)


def begin(
    settings: RunSettings,
    pairs: Sequence[TrainingPair],
    run: Path | None = None,
    *,
    overwrite: bool = False,
) -> RunFolder:
    """Make a run's folder, after everything that can be checked without torch.

    Raises
    ------
    RwkvSegError
        If the run could not be done, or its model not be written.
    """
    check_target(target_folder(settings), overwrite=overwrite)
    check_pairs(pairs, settings, base_card(settings.model).classes)
    return prepare_run(run or new_run_path(settings.name), settings, pairs)


def finish(
    run: RunFolder, report: Report, control: Control, *, overwrite: bool = False
) -> Finetuned:
    """Do a run, or the rest of it, and put its model where it was to go.

    Of a run whose model is there already only the result is returned, so that a job that a
    cluster begins once more ends well.

    Raises
    ------
    RwkvSegError
        If the run fails, or the model cannot be written.
    CancelledError
        If the run was cancelled.
    """
    from .finetune import run_finetune

    target = target_folder(run.settings())
    is_done = is_installed(run, target) and not overwrite
    if not is_done:
        check_target(target, overwrite=overwrite)
    result: Event = run_finetune(run.path, report, control)
    if is_done:
        note_decision(run, target.name)  # it may have been killed before that was noted
    else:
        install_model(run, target, overwrite=overwrite)
    return Finetuned(
        target,
        run.path,
        result["before"],
        result["after"],
        bool(result["recommended"]),
        str(result["sentence"]),
    )


def base_card(model: str) -> ModelCard:
    """Return the card of a usable model.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    card = find_model(model).card
    if card is None:  # find_model returns usable entries only; this tells the type checker
        raise ValueError(model)
    return card


def class_cards(names: Sequence[str], model: str) -> list[ClassCard]:
    """Return the classes of these names; those that the model knows keep their colours."""
    if not names:
        return []
    known = {each.name: each for each in base_card(model).classes}
    fresh = [
        known.get(name) or ClassCard(name=name, color=_COLORS[place % len(_COLORS)])
        for place, name in enumerate(names)
    ]
    return [base_card(model).classes[0], *fresh]


def pairs_of(
    images: str | Path | Sequence[ArrayLike], masks: str | Path | Sequence[ArrayLike]
) -> list[TrainingPair]:
    """Return pairs from two folders, or from arrays; all pixels are checked.

    Raises
    ------
    TrainingDataError
        If they do not fit each other.
    """
    if isinstance(images, str | Path) and isinstance(masks, str | Path):
        return list(read_pairs(Path(images), Path(masks)).pairs)
    if isinstance(images, str | Path) or isinstance(masks, str | Path):
        raise TrainingDataError("Give two folders, or two lists of arrays, not one of each.")
    if len(images) != len(masks):
        raise TrainingDataError(
            f"There are {len(images)} images and {len(masks)} masks; each image needs one."
        )
    arrays = [
        (np.asarray(image), np.asarray(mask)) for image, mask in zip(images, masks, strict=True)
    ]
    return [
        TrainingPair(f"image {number}", image, mask, np.ones(mask.shape, bool))
        for number, (image, mask) in enumerate(arrays, start=1)
    ]


def pairs_in(settings: RunSettings) -> list[TrainingPair]:
    """Return the pairs that settings name by absolute paths.

    Raises
    ------
    TrainingDataError
        If there is none, or files do not fit each other.
    UnreadableFileError
        If a file cannot be read.
    """
    return [
        pair
        for entry in settings.pairs
        for pair in read_pair(
            Path(entry.image),
            Path(entry.labels),
            Path(entry.checked) if entry.checked else None,
            name=entry.name,
            group=entry.group,
            pixel_size_um=entry.pixel_size_um,
        ).pairs
    ]

"""What a run starts from: base, network, pairs and split, checked against what it began with."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_rwkv_seg.errors import ImageError, RunError, TrainingDataError
from napari_rwkv_seg.inference.normalize import match_channels
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard

from .clean_up import suited
from .crops import CPU_PIXELS, CUDA_PIXELS, CropSource
from .depth import LAYER_DECAY, Depth, parameter_groups
from .events import Tell
from .heads import network_for_classes
from .pairs import LabelKind, TrainingPair, check_pairs, class_map
from .plan import base_of, depth_of, is_random
from .run_folder import RunFolder, read_snapshot
from .run_settings import RunSettings
from .split import BAND, Split, split_pairs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LEARNING_RATE = 5e-4
RANDOM_RATE = 1e-3  # of networks of which nothing was trained, as the starter models had it
WEIGHT_DECAY = 0.05


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Parameters
    ----------
    settings : RunSettings
        The choices of the run.
    base, card : ModelCard
        Of the model that it starts from, and of the new one, not complete yet.
    network : nn.Module
        The base's network with the classes of the new model, on the CPU; to be trained.
    weights : dict of str to Tensor
        A copy of its weights, which stays as it is.
    pairs : list of TrainingPair
        The snapshot.
    split : Split
        Of the pairs.
    depth : str
        What is trained.
    groups : list of dict
        Of parameters, for AdamW.
    crops : CropSource
        Makes the batches.
    labelled : int
        Labelled pixels to learn from.
    learning_rate : float
        Of the head and the decoder.
    """

    settings: RunSettings
    base: ModelCard
    card: ModelCard
    network: nn.Module
    weights: dict[str, torch.Tensor]
    pairs: list[TrainingPair]
    split: Split
    depth: Depth
    groups: list[dict[str, Any]]
    crops: CropSource
    labelled: int
    learning_rate: float

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the new model."""
        return [each.name for each in self.card.classes]

    @property
    def may_stay_near(self) -> bool:
        """Whether weights near the base may serve: it is trained, and no class is new to it."""
        return not self.base.untrained and all(self.known)

    @property
    def known(self) -> list[bool]:
        """Whether the base knows each foreground class."""
        names = {each.name for each in self.base.classes[1:]}
        return [name in names for name in self.classes[1:]]


def prepare(run: RunFolder, tell: Tell, fabric: "Fabric") -> Start:
    """Read all that a run needs; tell `prepared`.

    Raises
    ------
    RunError
        If the snapshot or the base is not what the run began with.
    TrainingDataError
        If nothing can be learnt from the pairs, or nothing held out.
    ModelError
        If the base is not there, or cannot be fine-tuned.
    """
    settings = run.settings()
    pairs = read_snapshot(run)
    base, network = base_of(run, settings)
    card = base.model_copy(update=_choices(settings, base))
    warnings = check_pairs(pairs, settings, card.classes)
    _check_channels(pairs, card.input_channels)
    split = _split(run, settings, pairs, len(card.classes), fabric)
    objects = suited(base.objects, pairs, split, settings.labels)
    card = card.model_copy(update={"objects": objects})
    labelled = _labelled(pairs, split, settings)
    torch.manual_seed(settings.seed)
    network = network_for_classes(network, base.classes, card.classes)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    depth = depth_of(run, settings, base, labelled, fabric)
    rate, layer_decay = (RANDOM_RATE, 1.0) if is_random(base) else (LEARNING_RATE, LAYER_DECAY)
    groups = parameter_groups(network, depth, rate, WEIGHT_DECAY, layer_decay)
    crops = _crops(pairs, split, card, settings, batch_pixels(card, fabric.device.type))
    card = _framed(card, network, crops.least_side)
    tell(
        "prepared",
        pairs=len(pairs),
        sentence=split.sentence,
        warnings=[*warnings, *unchecked_classes(pairs, split, settings.labels, card.classes)],
        train_pixels=sum(int(mask.sum()) for mask in split.train),
        regions=sum(bool(mask.any()) for mask in split.validation),
    )
    return Start(
        settings,
        base,
        card,
        network,
        {name: value.clone() for name, value in network.state_dict().items()},
        pairs,
        split,
        depth,
        groups,
        crops,
        labelled,
        rate,
    )


def batch_pixels(card: ModelCard, device: str) -> int:
    """Return how many pixels a batch may have; fewer if the network sees images enlarged."""
    most = CPU_PIXELS if device == "cpu" else CUDA_PIXELS
    return most // int(card.config.get("zoom", 1)) ** 2


def _choices(settings: RunSettings, base: ModelCard) -> dict[str, Any]:
    """Return what the card of the new model has from the settings, or else from the base."""
    orientation = base.orientation if settings.orientation == "auto" else settings.orientation
    return {"classes": settings.classes or base.classes, "orientation": orientation}


def _crops(
    pairs: list[TrainingPair],
    split: Split,
    card: ModelCard,
    settings: RunSettings,
    pixels: int,
) -> CropSource:
    """Return what makes the batches, of at most this many pixels."""
    return CropSource(
        pairs,
        split,
        normalization=card.normalization,
        input_channels=card.input_channels,
        labels=settings.labels,
        turns=card.orientation == "any",
        pixels=pixels,
    )


def _framed(card: ModelCard, network: nn.Module, least_side: int) -> ModelCard:
    """Let a network see small images within as much as crops show; return the card that says so."""
    least_side = min(least_side, card.tile_size)  # tiles of large images stay as they are
    seen: Any = network  # one of those in `heads`, which have a view
    seen.view = replace(seen.view, least_side=least_side)
    return card.model_copy(update={"config": {**card.config, "least_side": least_side}})


def _check_channels(pairs: list[TrainingPair], wanted: int) -> None:
    """Refuse images whose channels the network cannot take, naming the first of them."""
    for pair in pairs:
        count = pair.image.shape[2] if pair.image.ndim == 3 else 1
        try:
            match_channels(np.empty((1, 1, count)), wanted)
        except ImageError as error:
            raise TrainingDataError(f"Image {pair.name!r} cannot be used: {error}") from error


def unchecked_classes(
    pairs: list[TrainingPair], split: Split, labels: LabelKind, classes: list[ClassCard]
) -> list[str]:
    """Return a warning that names the classes that are learnt, but in nothing held out."""
    numbers: dict[str, set[int]] = {}
    for part in ("train", "validation"):
        masks = zip(pairs, getattr(split, part), strict=True)
        found = (np.unique(class_map(pair, labels)[mask]).tolist() for pair, mask in masks)
        numbers[part] = {number for each in found for number in each}
    missing = sorted(numbers["train"] - numbers["validation"] - {0})
    names = ", ".join(repr(classes[number].name) for number in missing if number < len(classes))
    if not names:
        return []
    return [
        f"Nothing that is held out shows {names}: how well that is found will not be measured. "
        "Label it in another image as well."
    ]


def _split(
    run: RunFolder,
    settings: RunSettings,
    pairs: list[TrainingPair],
    classes: int,
    fabric: "Fabric",
) -> Split:
    """Return the split of the run, made when it begins and kept from then on."""
    if run.split.is_file():
        try:
            kept = Split.from_plain(run.read_json(run.split))
        except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
            raise RunError(f"The run cannot go on: {str(run.split)!r} is damaged.") from error
        shapes = [pair.checked.shape for pair in pairs]
        if any([mask.shape for mask in part] != shapes for part in (kept.train, kept.validation)):
            raise RunError(f"The run cannot go on: {str(run.split)!r} belongs to another run.")
        return kept
    split = split_pairs(pairs, settings.labels, classes, BAND, settings.seed)
    if fabric.is_global_zero:
        run.write_json(run.split, split.to_plain())
    return split


def _labelled(pairs: list[TrainingPair], split: Split, settings: RunSettings) -> int:
    """Return how many pixels to learn from are not background."""
    return sum(
        int((class_map(pair, settings.labels)[train] > 0).sum())
        for pair, train in zip(pairs, split.train, strict=True)
    )

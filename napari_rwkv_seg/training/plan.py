"""What a run began with, kept in plan.json: its base, how much of it is trained, its choices."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from napari_rwkv_seg.errors import ModelError, RunError
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.new_models import FROM_NOTHING
from napari_rwkv_seg.zoo.store import ModelEntry, find_model, list_models, read_network

from .depth import Depth, choose_depth
from .run_folder import RunFolder
from .run_settings import RunSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_FIXED = {"labels", "classes", "seed", "orientation", "precision"}


def base_of(run: RunFolder, settings: RunSettings) -> tuple[ModelCard, nn.Module]:
    """Return card and network of the model to start from; a run that goes on knows its weights.

    Raises
    ------
    ModelError
        If there is no such model when the run begins, or it cannot be used.
    RunError
        If it is gone when the run goes on, under any name.
    """
    try:
        entry = find_model(settings.model)
    except ModelError as error:
        if not _plan(run).is_file():
            raise
        found = _by_weights(str(_begun(run).get("base")))
        if found is None:
            raise RunError(
                f"The run cannot go on without the model {settings.model!r} that it began with; "
                "take that back from the trash, or get or import it again (Models)."
            ) from error
        entry = found
    if entry.card is None:  # find_model returns usable entries only; this tells the type checker
        raise ModelError(entry.problem)
    return entry.card, read_network(entry)


def depth_of(
    run: RunFolder, settings: RunSettings, base: ModelCard, labelled: int, fabric: "Fabric"
) -> Depth:
    """Return what is trained, decided when the run begins; refuse another base afterwards.

    Raises
    ------
    RunError
        If the base's weights are not those that the run began with.
    """
    depth = settings.depth
    if depth == "auto":
        depth = choose_depth(labelled, fabric.device.type, is_random(base))
    if not _plan(run).is_file():
        if fabric.is_global_zero:
            begun = {"base": base.weights_sha256, "depth": depth, "choices": _fixed(settings)}
            run.write_json(_plan(run), begun)
        return depth
    kept = _begun(run)
    if kept.get("base") != base.weights_sha256:
        raise RunError(
            f"The run cannot go on: model {base.name!r} is not the one that it began with "
            "(SHA-256 differs). Start a new run."
        )
    fixed, begun = _fixed(settings), kept.get("choices", {})
    # Runs of older versions kept fewer choices.
    if not isinstance(begun, dict) or fixed | begun != fixed:
        raise RunError(
            "The run cannot go on: its classes, seed, orientation, precision or the meaning of its "
            "labels were changed in run.toml since it began. Start a new run."
        )
    return kept.get("depth", depth)  # type: ignore[no-any-return]


def is_random(card: ModelCard) -> bool:
    """Return whether no part of a model was ever trained."""
    return card.untrained and card.parent == FROM_NOTHING


def _plan(run: RunFolder) -> Path:
    return run.path / "plan.json"


def _begun(run: RunFolder) -> dict[str, Any]:
    kept = run.read_json(_plan(run))
    return kept if isinstance(kept, dict) else {}


def _by_weights(digest: str) -> ModelEntry | None:
    """Return the model with these weights, whatever its name is now."""
    for entry in list_models():
        if entry.card is not None and entry.card.weights_sha256 == digest:
            return entry
    return None


def _fixed(settings: RunSettings) -> dict[str, Any]:
    """Return the choices that a run cannot go on with if they change; its time may."""
    return settings.model_dump(mode="json", include=_FIXED)

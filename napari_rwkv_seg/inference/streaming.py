"""Segment an image larger than memory into a store, and go on after an interruption.

The same tiles, blending and labels as `segment`, but nothing is held whole: a
plane is read once to measure its brightness and once for the network, classes
are written as blocks are done, and objects are joined across blocks afterwards.
What is done is written down; running again with the same image, model and
settings continues. Probabilities are not kept. Lengths are in pixels.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import RwkvSegError, SettingsError
from napari_rwkv_seg.images.geometry import Geometry
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL

from .loading import Model, load_model
from .predictor import first_tile_size, opened
from .progress import Progress
from .provenance import provenance_of
from .settings import LabelSettings
from .stream_anew import settle
from .stream_claim import claimed
from .stream_folder import numbered_folder, zarr_module
from .stream_image import StreamImage
from .stream_state import Layout
from .stream_store import StreamStore
from .stream_work import StreamWork

BLOCK = 1024  # pixels: one file of a level; what is done is told by rows of blocks


@dataclass(frozen=True)
class StreamOptions:
    """Where the pixels lie in the world, and how the store is made.

    Parameters
    ----------
    geometry : Geometry, optional
        Where the pixels of the image lie.
    block : int
        Side of a block, a multiple of 16.
    begin_anew : bool
        Whether a store of another run in the same folder may be replaced. A complete one stays
        until the new labels are complete, too.
    keep_classes : bool
        Whether a run that begins anew may make its labels of the kept classes of a complete one.
    is_numbered : bool
        Whether to take the first folder of a row ("cells", "cells-2", …) that is free or
        of the same run, instead of refusing one that is taken.
    about : dict, optional
        Plain facts for the provenance.
    source : dict, optional
        Plain facts that tell the image from others, such as the time of its file: a store that
        was made from another image is not gone on with.
    """

    geometry: Geometry | None = None
    block: int = BLOCK
    begin_anew: bool = False
    keep_classes: bool = True
    is_numbered: bool = False
    about: dict[str, Any] | None = None
    source: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.block < 16 or self.block % 16:
            raise SettingsError(f"Block must be a multiple of 16 pixels, got {self.block}.")


@dataclass(frozen=True)
class StreamedSegmentation:
    """Labels in a store, and how they came about.

    Parameters
    ----------
    folder : Path
        The store: OME-Zarr, one array a level.
    shape : tuple of int
        (*stack, Y, X) of the labels.
    count : int
        How many objects; 0 for class labels.
    card, settings, axes, notes, provenance
        As in `Segmentation`.
    """

    folder: Path
    shape: tuple[int, ...]
    count: int
    card: ModelCard
    settings: LabelSettings
    axes: str
    notes: tuple[str, ...]
    provenance: dict[str, Any]


def segment_to_store_steps(  # noqa: PLR0913 - the choices of a run are its parameters
    image: Any,
    model: Model | str | Path = DEFAULT_MODEL,
    store: Path = Path("labels.ome.zarr"),
    *,
    axes: str | None = None,
    settings: LabelSettings | None = None,
    tile_size: int | None = None,
    channel: int | None = None,
    options: StreamOptions | None = None,
    elsewhere: Callable[[StreamWork], Iterator[Progress]] | None = None,
) -> Generator[Progress, None, StreamedSegmentation]:
    """Segment an image into a store, yielding before every step; continue if it was begun.

    Parameters
    ----------
    image, model, axes, settings, tile_size, channel
        As in `segment`; of the image only pieces are read.
    store : Path
        A folder that is new, empty, or of the same run.
    options : StreamOptions, optional
        Place of the pixels for the store's metadata, size of blocks, whether to begin anew.
    elsewhere : callable, optional
        Is given the work once brightness is known, and may have rows of blocks run by other
        processes (`StreamWork.missing`, `run_rows`, `take`); what it leaves is done here.

    Yields
    ------
    Progress
        After every tile and every block. Closing the generator cancels; the store stays
        and can be continued.

    Returns
    -------
    StreamedSegmentation
        The store is complete. Labels are those of `segment`, if no object that touches
        others is larger than `stream_pieces.HALO`; such ones may be cut otherwise.

    Raises
    ------
    RunError
        If `store` holds something else, or another run.
    OutputError
        If zarr is missing or the store cannot be written.
    ImageError, ModelError, SettingsError, RwkvSegError
        As `segment`; an image that cannot be read at some place leaves what is done.
    """
    options = options or StreamOptions()
    zarr_module()  # before anything is read or made
    if not isinstance(model, Model):
        yield Progress(0, 1, note=f"Loading model {Path(model).name}…")
        model = load_model(model)
    settings = settings or LabelSettings.for_model(model.card)
    image, axes, notes = opened(image, axes, model, channel)
    source = StreamImage(image, axes, model.card.input_channels, channel)
    size = first_tile_size(model, tile_size)
    yield Progress(0, 0, None, "Looking at the image …")
    run = _identity(source, model, settings, size, options)
    layout = _layout(source, settings, options)
    if options.is_numbered:
        store = numbered_folder(store, run)
    with claimed(store):
        settle(store)  # a run may have been killed here
        anew = {"begin_anew": options.begin_anew, "keep_classes": options.keep_classes}
        kept = StreamStore.open(store, run, layout, size, **anew)
        yield Progress(0, 0, None, "Looking at the image …", store)
        if not kept.state.complete:
            work = StreamWork(model, source, settings, kept, size)
            yield from _filled(work, elsewhere)
            said = [*notes, source.note(), _unlinked(work)]
            kept.finish(_provenance(work, said, options))
            settle(store)
    facts = kept.state.provenance
    return StreamedSegmentation(
        folder=store,
        shape=layout.shape,
        count=sum(plane.objects or 0 for plane in kept.state.planes),
        card=model.card,
        settings=settings,
        axes=axes,
        notes=tuple(facts["notes"]),
        provenance=facts,
    )


def _filled(
    work: StreamWork, elsewhere: Callable[[StreamWork], Iterator[Progress]] | None
) -> Iterator[Progress]:
    """Do the work; say so if there is not enough memory beside the network."""
    try:
        if elsewhere is not None:
            yield from work.measure_steps()
            yield from elsewhere(work)
        yield from work.steps()
    except MemoryError as error:
        raise RwkvSegError(
            "Not enough memory to go on; close other programs. What is done is kept: "
            "run again to continue."
        ) from error
    finally:
        with contextlib.suppress(RwkvSegError):  # what ended the work is said, not this
            work.store.save_rest()


def _identity(
    image: StreamImage, model: Model, settings: LabelSettings, size: int, options: StreamOptions
) -> dict[str, Any]:
    """Return what tells a run from others; a store of another one is not touched."""
    return {
        "image": image.fingerprint(),
        "model": {"name": model.card.name, "sha256": model.card.weights_sha256},
        "settings": settings.to_dict(),
        "axes": image.axes,
        "channel": image.channel,
        "views": model.views,
        "tile size": size,
        "block": options.block,
        **(options.source or {}),
    }


def _layout(image: StreamImage, settings: LabelSettings, options: StreamOptions) -> Layout:
    """Return what the store holds."""
    return Layout(
        shape=(*image.stack, *image.plane),
        block=options.block,
        dtype="uint8" if settings.output == "classes" else "int32",
        geometry=(options.geometry or Geometry()).of_axes(image.axes),
    )


def _unlinked(work: StreamWork) -> str:
    """Return what became of the wish to link objects."""
    is_wished = work.settings.link and work.settings.output == "objects" and work.image.stack
    return "Objects are not linked from plane to plane in streamed results." if is_wished else ""


def _provenance(work: StreamWork, notes: list[str], options: StreamOptions) -> dict[str, Any]:
    """Return how the labels were made, as plain values."""
    said = [note for note in (*work.model.notes, *notes, *work.notes()) if note]
    return {
        **provenance_of(work.model, work.settings),
        "axes": work.image.axes,
        "channel": work.image.channel,
        "tile_size": work.store.state.tile_size,
        "notes": list(dict.fromkeys(said)),
        "image_fingerprint": work.store.run["image"],
        **(options.about or {}),
    }

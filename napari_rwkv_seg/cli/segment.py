"""The options of `segment`; the work is done elsewhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .speech import say_errors


class Device(StrEnum):
    """Where the network runs; `auto` takes a CUDA device if there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Output(StrEnum):
    """What the numbers of a label image stand for."""

    CLASSES = "classes"
    OBJECTS = "objects"


class Directions(StrEnum):
    """Across which axes a volume is cut into planes; of all three the mean is taken."""

    Z = "Z"
    Y = "Y"
    X = "X"
    ZYX = "ZYX"


def segment(  # noqa: PLR0913 - the options of a command are its parameters
    images: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, and patterns such as 'plates/**/*.tif' (in quotation marks). "
            "A folder of DICOM slices and a .zarr folder are one image each.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; made if missing.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a model, or its folder; see `models`.", show_default="the shipped one"
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.AUTO,
    output: Annotated[
        Output, typer.Option(help="One number a class, or one number an object.")
    ] = Output.CLASSES,
    axes: Annotated[
        str | None,
        typer.Option(
            help="Meaning of the axes in order, such as YX, YXC, CYX, ZYX or TYX.",
            show_default="from the file",
        ),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Use this channel alone; the first is 0.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Least probability of foreground, 0 to 1.", show_default="from the model"
        ),
    ] = None,
    smallest_object: Annotated[
        int | None, typer.Option(help="Drop what has fewer pixels.", show_default="from the model")
    ] = None,
    fill_holes: Annotated[
        bool | None, typer.Option(help="Fill enclosed background.", show_default="from the model")
    ] = None,
    split: Annotated[
        bool | None,
        typer.Option(
            help="Cut touching objects apart (objects only).", show_default="from the model"
        ),
    ] = None,
    split_distance: Annotated[
        int | None,
        typer.Option(
            help="Least pixels between centres of touching objects.",
            show_default="from the model",
        ),
    ] = None,
    directions: Annotated[
        Directions,
        typer.Option(
            help="Cut volumes across Z, Y or X, or take the mean of all three.",
            case_sensitive=False,
        ),
    ] = Directions.Z,
    views: Annotated[
        int,
        typer.Option(
            metavar="1|4|8",
            help="Look at every tile so often, mirrored (4) and turned as well (8), and take the "
            "mean: often better, and so many times slower.",
        ),
    ] = 1,
    link: Annotated[
        str | None,
        typer.Option(help="Let objects keep their number along Z, T or TZ.", show_default="no"),
    ] = None,
    link_overlap: Annotated[
        float | None,
        typer.Option(help="Least overlap (IoU) of what is linked.", show_default="0.3"),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(help="Side of a tile in pixels.", show_default="from the model")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there already.")
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Write a picture of image and labels as well.")
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Write {stem}_objects.csv with every object, and summary.csv with every class.",
        ),
    ] = False,
    labels_format: Annotated[
        str,
        typer.Option(
            "--format", help="Of the labels: ome-tiff, nifti, ome-zarr, dicom-seg, coco or png."
        ),
    ] = "ome-tiff",
    stream: Annotated[
        bool | None,
        typer.Option(
            help="Read images piece by piece and write labels into an OME-Zarr store.",
            show_default="images too large for the memory",
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            metavar="K/N", help="Do the K-th of N parts of the images only.", show_default=False
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=0, help="Share the work among so many processes.", show_default="1")
    ] = 0,
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Have a running Dask cluster do the work.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Segment images into OUT/{stem}_labels.tif; {stem}_labels.json says how each was made.

    OUT/batch.csv says how each image fared. What is done already by the same choices is kept.
    """
    from napari_rwkv_seg.controllers.batch import Batch
    from napari_rwkv_seg.controllers.batch_choices import BatchChoices
    from napari_rwkv_seg.controllers.batch_workers import crew_of
    from napari_rwkv_seg.zoo.store import DEFAULT_MODEL

    from .batch import segment_all

    wishes = {
        "threshold": threshold,
        "smallest_object": smallest_object,
        "fill_holes": fill_holes,
        "split": split,
        "split_distance": split_distance,
        "link": link.upper() if link else None,
        "link_overlap": link_overlap,
    }
    with say_errors():
        choices = BatchChoices(
            model=model or DEFAULT_MODEL,
            device=device.value,
            output=output.value,
            wishes={name: value for name, value in wishes.items() if value is not None},
            axes=axes.upper() if axes else None,
            channel=channel,
            tile_size=tile,
            directions=directions.value,
            views=views,  # type: ignore[arg-type]  # checked there
            format=labels_format.lower(),
            measure=measure,
            overlay=overlay,
            overwrite=overwrite,
            stream=stream,
        )
        crew = crew_of(workers, scheduler)
        failures = segment_all(Batch(images, out, choices, part, crew))
    if failures:
        raise typer.Exit(1)

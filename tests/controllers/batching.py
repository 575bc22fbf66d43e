"""What the tests of batches share: an untrained model, small images, and what runs a batch."""

from pathlib import Path

import numpy as np
import tifffile

from napari_rwkv_seg.controllers.batch import Batch, batch_steps
from napari_rwkv_seg.controllers.batch_rows import Row, Table
from napari_rwkv_seg.controllers.batch_run import News
from napari_rwkv_seg.zoo import ModelCard, write_model
from napari_rwkv_seg.zoo.card import ClassCard

SHAPE = (37, 53)
BROKEN = (b"", b"<html>404</html>", b"II*\0\x08\0\0\0\xff\xff")


def write_tiny_model(folder: Path, seed: int = 42, classes: int = 2) -> Path:
    """Write a model of the smallest network, with weights that were never trained."""
    import torch

    from napari_rwkv_seg.networks import build_network

    torch.manual_seed(seed)
    card = ModelCard(
        name=folder.name,
        title="Untrained",
        purpose="for tests",
        architecture="med_urwkv",
        variant="T",
        config={"encoder": "plain"},
        classes=[ClassCard(name=f"class {n}", color=f"#{n:02x}0000") for n in range(classes)],
        tile_size=64,
        license="BSD-3-Clause",
        training_data="none",
    )
    network = build_network("med_urwkv", "T", encoder="plain", classes=classes)
    write_model(folder, network, card, "For tests.")
    return folder


def write_images(folder: Path, count: int, broken: int = 0) -> list[Path]:
    """Write small images named by numbers, the first `broken` of which cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.tif" for number in range(count)]
    for number, path in enumerate(paths):
        if number < broken:
            path.write_bytes(BROKEN[number % len(BROKEN)])
        else:
            write_image(path, number)
    return paths


def write_image(path: Path, seed: int = 42, shape: tuple[int, ...] = SHAPE) -> Path:
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(path, pixels)
    return path


def run(batch: Batch) -> Table:
    """Do a batch to its end."""
    return run_and_hear(batch)[0]


def run_and_hear(batch: Batch) -> tuple[Table, list[News]]:
    """Do a batch to its end; return its table, and all news."""
    steps, heard = batch_steps(batch), []
    try:
        while True:
            heard.append(next(steps))
    except StopIteration as end:
        return end.value, heard


def states(table: Table) -> dict[str, str]:
    """Return the state of every image."""
    return {row.image: row.state for row in table.rows}


def row_of(table: Table, image: str) -> Row:
    """Return the row of an image."""
    return next(row for row in table.rows if row.image == image)


def visible(folder: Path) -> list[str]:
    """Return the names of all files below a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

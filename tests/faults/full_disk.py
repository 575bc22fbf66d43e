"""Let every writer of ours meet a disk that is full; run as a script of its own.

    python tests/faults/full_disk.py FOLDER [LIMIT]

Each writes a small file into FOLDER, and is then to replace it by one that does not fit: files
may have LIMIT bytes, or, without LIMIT, the disk that FOLDER lies on is small. Prints, as JSON,
what went wrong, by the writer's name; nothing for a writer whose old file is still there, whose
error was ours, and which left no other file.
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_rwkv_seg import networks
from napari_rwkv_seg.controllers.journal_snapshot import Facts, Grid, pack, write_snapshot
from napari_rwkv_seg.errors import OutputError
from napari_rwkv_seg.files import append_chunks, write_atomically
from napari_rwkv_seg.images.writers import write_labels, write_overlay
from napari_rwkv_seg.training.checkpoints import save_checkpoint
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.run_folder import prepare_run
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard
from napari_rwkv_seg.zoo.store import write_model

SIDES = {"small": 8, "large": 700}  # of what is written: some hundred bytes, and two megabytes


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 2**31, (side, side), dtype=np.int32)


def write_bytes(target: Path, side: int) -> None:
    write_atomically(target, lambda file: file.write(noise(side).tobytes()))


def write_checkpoint(target: Path, side: int) -> None:
    save_checkpoint(target, {"weight": torch.from_numpy(noise(side))})


def write_journal(target: Path, side: int) -> None:
    labels = noise(side)
    grid = Grid(labels.shape)
    chunks = {index: pack(np.ascontiguousarray(labels[grid.box(index)])) for index in grid}
    write_snapshot(target, Facts("cells", labels.shape, labels.dtype.str), chunks)


class Wide(nn.Module):
    """A network of as many weights as it is told."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(side, 2 * side, 1)
        nn.init.normal_(self.head.weight)


def write_folder(target: Path, side: int) -> None:
    card = ModelCard(
        name="wide", title="Wide", purpose="Tests", architecture="med_urwkv", variant="T",
        classes=[ClassCard(name=name, color="#000000") for name in ("background", "cell")],
        license="CC0-1.0", training_data="none",
    )  # fmt: skip
    networks.build_network = lambda *_, **__: Wide(side)
    write_model(target, Wide(side), card, "For tests.", overwrite=True)


def write_run(target: Path, side: int) -> None:
    target.mkdir(exist_ok=True)
    labels = noise(side) % 5
    pair = TrainingPair("cells", noise(side), labels, labels >= 0)
    prepare_run(target / f"run of {side}", RunSettings(name="new"), [pair])


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "bytes": write_bytes,
    "labels": lambda target, side: write_labels(target, noise(side)),
    "overlay": lambda target, side: write_overlay(target, noise(side), noise(side)),
    "checkpoint": write_checkpoint,
    "journal": write_journal,
    "model": write_folder,
    "run": write_run,
    "download": lambda target, side: append_chunks(target, 0, [noise(side).tobytes()]),
}


def content(target: Path) -> dict[str, bytes]:
    """Return the files of a target, be it a file or a folder."""
    files = [target] if target.is_file() else sorted(target.rglob("*"))
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def fault_of(name: str, folder: Path, fill: Callable[[], object]) -> str:
    """Return what one writer does wrong, or ""."""
    write, target = WRITERS[name], folder / name
    write(target, SIDES["small"])
    before, names = content(target), sorted(path.name for path in folder.iterdir())
    fill()
    try:
        write(target, SIDES["large"])
    except OutputError as error:
        if target.name not in str(error) and name != "run":
            return f"the error does not name the file: {error}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        return f"{type(error).__name__}: {error}"
    else:
        return "it did not fail"
    if name == "download":  # a part, whose name says that it may be incomplete
        return ""
    if content(target) != before:
        return "the old file was changed"
    after = sorted(path.name for path in folder.iterdir())
    return "" if after == names else f"it left {sorted(set(after) - set(names))}"


def main() -> None:
    folder, limit = Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0
    fill: Callable[[], object] = lambda: None  # noqa: E731
    if limit:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails instead
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        fill = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited))  # noqa: E731
    found = {}
    for name in WRITERS:
        (folder / name).parent.mkdir(exist_ok=True)
        place = folder / f"of {name}"
        place.mkdir()
        fault = fault_of(name, place, fill)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
        if fault:
            found[name] = fault
        if name == "download":
            (place / name).unlink()
    text = io.StringIO()
    json.dump(found, text)
    sys.stdout.write(text.getvalue())


if __name__ == "__main__":
    main()

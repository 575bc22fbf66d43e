"""What is fuzzed: for each kind of file, good examples, and what reads it.

A reader may end in an error of ours, `RwkvSegError`; anything else that it raises is a fault.
Knows neither Hypothesis nor atheris, which both drive it.
"""

import io
import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import tifffile
import torch
from image_targets import IMAGES
from target import Target, check, put

from napari_rwkv_seg.controllers import finetune_sentences as say
from napari_rwkv_seg.controllers.finetune_differences import read_differences
from napari_rwkv_seg.controllers.finetune_runs import find_runs, read_result
from napari_rwkv_seg.controllers.finetune_story import RunStory
from napari_rwkv_seg.controllers.journal_folders import list_entries, read_entry, tidy
from napari_rwkv_seg.controllers.journal_snapshot import Facts, Grid, pack, write_snapshot
from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.training.events import parse_line, read_events
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.run_folder import RunFolder, prepare_run, read_snapshot
from napari_rwkv_seg.training.run_settings import RunSettings
from napari_rwkv_seg.training.split import Split, split_pairs
from napari_rwkv_seg.zoo import archives, transfer
from napari_rwkv_seg.zoo.card import read_card
from napari_rwkv_seg.zoo.checkpoints import load_checkpoint
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, shipped_folder

CARD = shipped_folder() / DEFAULT_MODEL / "model.toml"


# Cards, weights, archives


def read_a_card(content: bytes, folder: Path) -> None:
    put(folder, "model.toml", content)
    read_card(folder)


def weights(_: Path) -> list[bytes]:
    from safetensors.torch import save

    return [
        save({"ln1.weight": torch.ones(3), "ln1.bias": torch.zeros(3, dtype=torch.float16)}),
        save({"a": torch.zeros(2, 0), "b": torch.arange(5)}),
    ]


def read_safetensors(content: bytes, folder: Path) -> None:
    load_checkpoint(put(folder, "net.safetensors", content))


def checkpoints(_: Path) -> list[bytes]:
    made = io.BytesIO()
    torch.save({"state_dict": {"ln1.weight": torch.ones(3), "ln1.bias": torch.ones(3)}}, made)
    return [made.getvalue()]


def read_checkpoint(content: bytes, folder: Path) -> None:
    load_checkpoint(put(folder, "net.pth", content))


def zips(folder: Path) -> list[bytes]:
    source = folder / "model"
    source.mkdir()
    (source / "model.toml").write_bytes(CARD.read_bytes())
    (source / "weights.safetensors").write_bytes(weights(folder)[0])
    archives.pack_folder(source, folder / "a.zip")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(CARD, "model.toml")
        archive.writestr("README.md", b"word " * 99)
    return [(folder / "a.zip").read_bytes(), packed.getvalue()]


def read_zip(content: bytes, folder: Path) -> None:
    """Import an archive; nothing may appear beside the models, whatever it holds."""
    home = folder / "data" / "napari-rwkv-seg"  # XDG_DATA_HOME is `folder`/data
    shutil.rmtree(folder / "data", ignore_errors=True)
    path = put(folder, "a.zip", content)
    before = {item.name for item in folder.iterdir()} | {"data"}
    try:
        transfer.import_folder(path)
    finally:
        after = {item.name for item in folder.iterdir()}
        left = {item.name for item in home.iterdir()} if home.exists() else set()
        if after - before or left - {"models", "encoders"}:
            raise ValueError(f"written elsewhere: {after - before} {left}")


# Runs


def small_pair() -> TrainingPair:
    labels = np.zeros((40, 60), np.int32)
    labels[5:12, 5:12] = labels[25:33, 40:50] = 1
    image = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    return TrainingPair("cells", image, labels, labels >= 0)


def events(_: Path) -> list[bytes]:
    lines = [
        {"event": "prepared", "time": 1.5, "sentence": "One is held out.", "regions": 1},
        {"event": "started", "time": 2, "step": 0, "minutes": 1, "device": "cpu", "depth": "head"},
        {"event": "step", "time": 3, "step": 5, "seconds": 2.5, "left": 3.5, "loss": 0.25},
        {"event": "validated", "step": 5, "seconds": 3, "score": 0.5, "dice": {"a": 0.5},
         "best": True, "base": False},
        {"event": "finished", "time": 9, "before": {"mean": 0.5}, "after": {"mean": 0.6}},
    ]  # fmt: skip
    return [b"".join(json.dumps(line).encode() + b"\n" for line in lines)]


def read_a_story(content: bytes, folder: Path) -> None:
    """Read events as file and dock do, and say what they tell."""
    path = put(folder, "events.jsonl", content)
    story = RunStory()
    for event in read_events(path)[0]:
        story.hear(event)
        say.started_line(story)
        say.status_line(story)
        say.died(story, "")
        say.result_line(story.result or {})
        say.class_scores(story.result or {})
    for line in content.splitlines():
        parse_line(line)


def run_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a run by their places."""
    pair = small_pair()
    run = prepare_run(folder / "made", RunSettings(name="new"), [pair])
    split = split_pairs([pair], "classes", 2, 16, 0)
    run.write_json(run.split, split.to_plain())
    run.write_json(run.result, {"before": {"mean": 0.5}, "after": {"mean": 0.6}})
    run.held_out.mkdir()
    tifffile.imwrite(run.held_out / "000_difference.tif", np.zeros((40, 60), np.uint8))
    (run.path / "events.jsonl").write_bytes(events(folder)[0])
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes()
        for path in sorted(run.path.rglob("*"))
        if path.is_file()
    }


PLACES = ["run.toml", "split.json", "result.json", "snapshot/files.json",
          "held_out/000_difference.tif", "snapshot/000_labels.tif"]  # fmt: skip


def runs(folder: Path) -> list[bytes]:
    """Return a file of a run behind the number of its place."""
    files = run_files(folder)
    return [bytes([number]) + files[place] for number, place in enumerate(PLACES)]


def read_a_run(content: bytes, folder: Path) -> None:
    """Put a changed file into a good run, and read all of it."""
    good = folder / "good"
    if not good.exists():
        good.mkdir()
        for place, whole in run_files(folder).items():
            (good / "run" / place).parent.mkdir(parents=True, exist_ok=True)
            (good / "run" / place).write_bytes(whole)
        shutil.rmtree(folder / "made")
    place = good / "run" / PLACES[content[0] % len(PLACES) if content else 0]
    whole = place.read_bytes()
    place.write_bytes(content[1:])
    run = RunFolder(good / "run")
    try:
        for found in find_runs(good):
            for kept in found:
                say.interrupted_line(kept)
        say.result_line(read_result(run.path))
        say.class_scores(read_result(run.path))
        for read in (read_snapshot, lambda run: read_differences(run.path, 9), read_a_split):
            try:
                read(run)
            except RwkvSegError:
                continue
    finally:
        place.write_bytes(whole)


def read_a_split(run: RunFolder) -> None:
    try:
        Split.from_plain(run.read_json(run.split))
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError):
        return  # what preparation.py turns into a sentence


# Journals


def journals(folder: Path) -> list[bytes]:
    made = []
    for shape, dtype in (((40, 60), "<i4"), ((2, 300, 20), "|u1")):
        labels = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
        grid = Grid(shape)
        chunks = {index: pack(np.ascontiguousarray(labels[grid.box(index)])) for index in grid}
        write_snapshot(folder / "copy", Facts("cells", shape, dtype, 1.5, 3), chunks)
        made.append((folder / "copy").read_bytes())
    return [*made, b'{"pid": 1, "start": 2}']


def read_a_journal(content: bytes, folder: Path) -> None:
    """Offer a damaged copy, beside a damaged file about the process that wrote it."""
    layer = folder / "journal" / "1-2" / "1"
    layer.mkdir(parents=True, exist_ok=True)
    put(layer, "00000001.labels", content)
    put(layer.parent, "process.json", content[:200])
    for entry in list_entries(folder / "journal"):
        entry.facts.name.encode("utf-8", "replace")
        read_entry(entry)
    tidy(folder / "journal")


def resealed(content: bytes) -> bytes:
    """Return a copy of labels with right check sums, so that what is behind them is reached."""
    import hashlib
    import zlib

    from napari_rwkv_seg.controllers.journal_snapshot import DIGEST_BYTES, FIXED

    if len(content) < FIXED.size + DIGEST_BYTES:
        return content
    magic, length, _ = FIXED.unpack_from(content)
    header = content[FIXED.size : FIXED.size + min(length, 10**6)]
    body = struct.pack(FIXED.format, magic, length, zlib.crc32(header))
    body += content[FIXED.size : -DIGEST_BYTES]
    return body + hashlib.sha256(body).digest()


TARGETS = {
    "card": Target(lambda _: [CARD.read_bytes()], read_a_card),
    "safetensors": Target(weights, read_safetensors),
    "checkpoint": Target(checkpoints, read_checkpoint),
    "zip": Target(zips, read_zip),
    "events": Target(events, read_a_story),
    "run": Target(runs, read_a_run),
    **IMAGES,
    "journal": Target(journals, read_a_journal),
    "sealed journal": Target(journals, lambda c, f: read_a_journal(resealed(c), f)),
}
__all__ = ["TARGETS", "check"]

"""Make the shipped model `med_urwkv_t_objects` of a run of `pretrain.py objects`.

    python scripts/pretrain.py objects DATA RUN --minutes 45
    python scripts/export_objects.py RUN DATA models/med_urwkv_t_objects --machine "..."

DATA holds one folder a data set. When the weights are chosen, the model is tried on test images as
it is: of nuclei, and of sets that it never saw, which are only scored and leave nothing in it.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from napari_rwkv_seg.evaluation import dice
from napari_rwkv_seg.evaluation.regions import predict_classes
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.images import read_image
from napari_rwkv_seg.inference import Model, load_model
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file
from napari_rwkv_seg.training.samples import read_split
from napari_rwkv_seg.zoo import DEFAULT_MODEL
from napari_rwkv_seg.zoo.card import ModelCard, class_cards
from napari_rwkv_seg.zoo.store import write_model

NAME = "med_urwkv_t_objects"
DESCRIPTION = Path(__file__).with_name("objects_card.md")
TRIED = ("dsb2018_nuclei", "phc_u373_timeseries", "glas", "kvasir_seg", "isic2017", "busi")
MOST = 60  # test images of a set, the first by name


def main(run: Path, data: Path, out: Path, machine: Annotated[str, typer.Option()]) -> None:
    """Write the folder of the model, with its scores."""
    facts = json.loads((run / "task.json").read_text(encoding="utf-8"))
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    checks = [event for event in map(json.loads, lines) if event["event"] == "validated"]
    best = [check for check in checks if check["best"]][-1]
    length = f"{checks[-1]['step']} steps in {checks[-1]['seconds'] / 60:.0f} minutes on {machine}"
    base = load_model(DEFAULT_MODEL, "cpu").card
    network = build_network(
        base.architecture, base.variant, in_channels=base.input_channels, classes=2, **base.config
    )
    network.load_state_dict(load_checkpoint_file(run / "best.pt"))
    card = _card(base, f"scripts/pretrain.py objects, seed {facts['seed']}: {length}")
    with tempfile.TemporaryDirectory() as scratch:  # scored as shipped, in half precision
        write_model(Path(scratch) / NAME, network, card, "To be scored.")
        model = load_model(str(Path(scratch) / NAME), "cpu")
        scores = {name: _score(model, data / name) for name in TRIED}
    table = "\n".join(
        f"| {name} | {count} | {mean:.3f} |" for name, (mean, count) in scores.items()
    )
    text = Template(DESCRIPTION.read_text(encoding="utf-8")).substitute(
        table=table,
        made=facts["made"],
        length=length,
        best=f"step {best['step']}, mean Dice {best['score']:.3f}",
    )
    shown = {"Dice, nuclei": round(scores[TRIED[0]][0], 4)}
    write_model(out, network, card.model_copy(update={"test_scores": shown}), text, overwrite=True)
    log = "".join(f"{json.dumps(check)}\n" for check in checks)
    write_atomically(out / "training_log.jsonl", lambda file: file.write(log.encode()))
    typer.echo(table)


def _score(model: Model, folder: Path) -> tuple[float, int]:
    """Return the mean Dice of the foreground over test images, and how many there were."""
    found = [
        dice(predict_classes(model, image) > 0, truth) for image, truth in _test_images(folder)
    ]
    return float(np.mean(found)), len(found)


def _test_images(folder: Path) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yield at most 60 test images, each with where its foreground is."""
    if folder.name == "phc_u373_timeseries":  # one file: a series of frames
        [place] = (folder / "images").glob("*_t070-085.tif")
        masks = read_image(folder / "masks" / place.name).data
        yield from zip(read_image(place).data, masks > 0, strict=True)
        return
    samples = sorted(read_split(folder, "test"), key=lambda sample: sample.name)[:MOST]
    is_binary = folder.name != TRIED[0] and max(each.objects.max() for each in samples) > 1
    for sample in samples:
        yield sample.image, sample.objects > (127 if is_binary else 0)


def _card(base: ModelCard, trained_by: str) -> ModelCard:
    return base.model_copy(
        update={
            "name": NAME,
            "title": "General objects (Med-URWKV-T)",
            "purpose": "A base for fine-tuning on objects of any kind: closed things that stand "
            "out by brightness, colour, texture or outline, in grey or RGB images",
            "classes": class_cards(["object"]),
            "parent": DEFAULT_MODEL,
            "training_data": "BBBC038v1 (2018 Data Science Bowl, CC0): 197 training images; and "
            "images of made objects that are nobody's (scripts/pretraining/synthetic.py)",
            "trained_by": trained_by,
            "test_scores": {},
        }
    )


if __name__ == "__main__":
    typer.run(main)

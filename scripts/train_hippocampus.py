"""Make the starter model that is shipped as `models/rwkv_unet_t_hippocampus`, as a user would.

    python scripts/train_hippocampus.py train DATA RUN [--minutes 30]   # goes on if it was stopped
    python scripts/train_hippocampus.py export DATA RUN OUT --machine "..."   # beside other models

DATA holds `split.csv`, images and masks of msd_hippocampus. `train` is `models new` and `finetune`
on the volumes of the training split, which holds out some of them; `export` is `segment` and
`evaluate` on those of the test split, when all is chosen, and writes the model folder.
"""

import csv
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from napari_rwkv_seg import evaluate, finetune, load_model, segment_batch
from napari_rwkv_seg.evaluation.run import Evaluation
from napari_rwkv_seg.training.api import finish
from napari_rwkv_seg.training.control import Control
from napari_rwkv_seg.training.events import Event
from napari_rwkv_seg.training.process import settle_process
from napari_rwkv_seg.training.run_folder import RunFolder
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.new_models import FROM_NOTHING, new_model
from napari_rwkv_seg.zoo.store import list_models, write_model

app = typer.Typer(add_completion=False)
DESCRIPTION = Path(__file__).with_name("hippocampus_card.md")
NAME = "rwkv_unet_t_hippocampus"
CLASSES = ("anterior hippocampus", "posterior hippocampus")
SCORES = {"dice": "Dice", "hd95": "HD95, mm", "surface_dice": "surface Dice at 1 mm"}


@app.command()
def train(data: Path, run: Path, minutes: float = 30, seed: int = 42, zoom: int = 1) -> None:
    """Train a new model on the training volumes, or go on with that."""
    if (run / "run.toml").is_file():
        done = finish(RunFolder(run), _tell, Control())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            images, masks = _split(data, "train", Path(scratch))
            done = finetune(
                images, masks, run.parent / f"{run.name}_model" / NAME,
                model=_base(f"{run.name}_base_{zoom}", zoom),
                classes=CLASSES, minutes=minutes, depth="everything", orientation="fixed",
                seed=seed, run=run, progress=_tell,
            )  # fmt: skip
    typer.echo(done.sentence)


def _base(name: str, zoom: int) -> str:
    """Make a network of random weights among the user's models, unless it is there.

    RWKV-UNet, since these planes are 40 by 50 pixels: it mixes tokens of 8 by 8 pixels, where
    those of Med-URWKV are 16 by 16.
    """
    if name not in {entry.name for entry in list_models()}:
        new_model(
            name,
            classes=CLASSES,
            architecture="rwkv_unet",
            variant="T",
            in_channels=1,
            config={"zoom": zoom},
        )
    return name


@app.command()
def export(data: Path, run: Path, out: Path, machine: Annotated[str, typer.Option()]) -> None:
    """Test the model of a run, and write the folder that is shipped."""
    trained = run.parent / f"{run.name}_model" / NAME
    with tempfile.TemporaryDirectory() as scratch:
        images, masks = _split(data, "test", Path(scratch))
        found = Path(scratch) / "found"
        segment_batch(images, found, model=trained, device="cpu", format="nifti")
        scores = evaluate(
            found, masks, tolerance="1mm", class_names=dict(enumerate(CLASSES, start=1))
        )
    model = load_model(str(trained), device="cpu")
    result = json.loads(RunFolder(run).result.read_text(encoding="utf-8"))
    length = f"{result['steps']} steps in {result['seconds'] / 60:.0f} minutes on {machine}"
    write_model(
        out, model.network, _card(model.card, scores, length), _text(scores, result, length)
    )
    typer.echo(_table(scores))


def _split(data: Path, split: str, folder: Path) -> tuple[Path, Path]:
    """Return folders of the images and masks of a split, as a user has them."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    with (data / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and row["mask"]]
    for row in rows:
        shutil.copy(data / row["file"], folder / "images")
        shutil.copy(data / row["mask"], folder / "masks")
    return folder / "images", folder / "masks"


def _tell(event: Event) -> None:
    if event["event"] in ("validated", "finished", "split"):
        typer.echo(event)


def _card(trained: ModelCard, scores: Evaluation, length: str) -> ModelCard:
    shown = {
        f"{SCORES[key]}, {each.name}": round(each.mean[key], 4)
        for each in scores.means
        for key in SCORES
    }
    return trained.model_copy(
        update={
            "name": NAME,
            "parent": FROM_NOTHING,
            "title": "Hippocampus (RWKV-UNet-T)",
            "purpose": "Anterior and posterior hippocampus in cropped T1-weighted MR volumes of "
            "the brain, plane by plane",
            "license": "CC-BY-SA-4.0",
            "training_data": "Medical Segmentation Decathlon, Task04 Hippocampus (CC BY-SA 4.0): "
            "82 training volumes of 1 mm voxels",
            "citation": "Antonelli et al., Nat. Commun. 13, 4128 (2022)",
            "trained_by": f"scripts/train_hippocampus.py: {length}",
            "test_scores": shown,
        }
    )


def _text(scores: Evaluation, result: Event, length: str) -> str:
    return Template(DESCRIPTION.read_text(encoding="utf-8")).substitute(
        volumes=len({row.pair for row in scores.rows}),
        table=_table(scores),
        length=length,
        held_out=result["sentence"],
    )


def _table(scores: Evaluation) -> str:
    lines = [f"| class | {' | '.join(SCORES.values())} |", "|---" * (1 + len(SCORES)) + "|"]
    for each in scores.means:
        told = [f"{each.mean[key]:.3f} ± {each.deviation[key]:.3f}" for key in SCORES]
        lines.append(f"| {each.name} | {' | '.join(told)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # read when torch is loaded
        settle_process()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    app()

"""Train the starter model that is shipped as `models/med_urwkv_t_nuclei`, from random weights.

    python scripts/train_starter.py train DATA RUN          # goes on with RUN if it is there
    python scripts/train_starter.py export DATA RUN OUT     # tests, and writes the model folder
    python scripts/train_starter.py retest DATA MODEL       # tests a model folder again

DATA holds `split.csv`, `meta.csv`, images and masks of dsb2018_nuclei. The
validation split alone picks the checkpoint and the settings for objects; the
test split is read by `export`, when all choices are made.
"""

import itertools
import json
from functools import partial
from pathlib import Path
from string import Template
from typing import Annotated

import numpy as np
import torch
import typer
from lightning_fabric import Fabric

from napari_rwkv_seg.evaluation import dice, object_f1
from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.loading import load_model
from napari_rwkv_seg.inference.normalize import normalize_plane
from napari_rwkv_seg.inference.predictor import Model, predict_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.training.augment import BATCHES, random_crop, random_grey
from napari_rwkv_seg.training.budget import Budget
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file
from napari_rwkv_seg.training.events import EventLog, event_line
from napari_rwkv_seg.training.loop import TrainingLoop
from napari_rwkv_seg.training.samples import Sample, read_split, sampling_weights
from napari_rwkv_seg.training.targets import separated_target
from napari_rwkv_seg.training.work import LoopSettings, Work
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, Normalization, ObjectDefaults
from napari_rwkv_seg.zoo.store import write_model
from napari_rwkv_seg.zoo.weights import packed_state

app = typer.Typer(add_completion=False)
DESCRIPTION = Path(__file__).with_name("starter_card.md")
MEAN, STD = 0.5, 0.25
CONFIG = {"encoder": "adapter", "decoder": "slim"}  # "slim" keeps the file under 20 MB
UNIT = Normalization(kind="percentile", mean=[0.0], std=[1.0])  # the crops are varied in 0…1


class Batches:
    """Makes batches of random crops: images in 0…1 per sample, drawn by their group's weight."""

    def __init__(self, samples: list[Sample]) -> None:
        self._weights = sampling_weights(samples)
        self._arrays = [_arrays(sample) for sample in samples]

    def __call__(
        self, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images (B, 3, Y, X), targets (B, Y, X) and weights (B, Y, X) of one size."""
        height, width, count = BATCHES[generator.integers(len(BATCHES))]
        crop = random_crop(height, width)
        crop.set_random_state(int(generator.integers(2**31)))
        chosen = generator.choice(len(self._arrays), count, p=self._weights)
        crops = [crop(dict(self._arrays[index])) for index in chosen]
        images = torch.stack([random_grey(c["image"], generator) for c in crops])
        targets = torch.stack([c["target"][0] for c in crops]).long()
        weights = torch.stack([c["weight"][0] for c in crops])
        images = ((images - MEAN) / STD).to(memory_format=torch.channels_last)
        return images, targets, weights


def _arrays(sample: Sample) -> dict[str, np.ndarray]:
    """Return image, target and weight of a sample as the transforms want them."""
    target, weight = separated_target(sample.objects)
    image = normalize_plane(np.atleast_3d(sample.image), UNIT, 3)
    return {"image": image, "target": target[None].astype(np.float32), "weight": weight[None]}


def model_card(
    scores: dict[str, float], objects: ObjectDefaults | None = None, trained_by: str = ""
) -> ModelCard:
    """Return the card of the starter model."""
    return ModelCard(
        name="med_urwkv_t_nuclei",
        title="Nuclei (Med-URWKV-T)",
        purpose="Cell nuclei in 2-D microscopy: fluorescence, bright field and H&E, grey or RGB",
        architecture="med_urwkv",
        variant="T",
        config=CONFIG,
        input_channels=3,
        normalization=Normalization(kind="percentile", mean=[MEAN], std=[STD]),
        tile_size=512,
        classes=[
            ClassCard(name="background", color="#000000"),
            ClassCard(name="nucleus", color="#e69f00"),
        ],
        objects=objects or ObjectDefaults(),
        parent="none (random weights)",
        license="CC0-1.0",
        training_data="BBBC038v1 (2018 Data Science Bowl, CC0): 197 training images of many pixel "
        "sizes, which the data set does not state",
        citation="Caicedo et al., Nat. Methods 16, 1247 (2019)",
        trained_by=trained_by,
        test_scores=scores,
    )


def probabilities(network: torch.nn.Module, samples: list[Sample]) -> list[np.ndarray]:
    """Return what the predictor that users get says of each sample."""
    model = Model(model_card({}), network, "cpu", Path())
    results = []
    for sample in samples:
        steps = predict_steps(sample.image, model, axes="YXC"[: sample.image.ndim])
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                results.append(stop.value.probabilities)
                break
    return results


def scores(
    answers: list[np.ndarray], samples: list[Sample], settings: LabelSettings
) -> dict[str, float]:
    """Return the means over images of Dice and object F1 of the labels that these settings give."""
    rows = []
    for answer, sample in zip(answers, samples, strict=True):
        labels = label_probabilities(answer, settings)
        rows.append((dice(labels, sample.objects), object_f1(labels, sample.objects)))
    mean_dice, mean_f1 = (float(value) for value in np.mean(rows, axis=0))
    return {"score": (mean_dice + mean_f1) / 2, "dice": mean_dice, "object_f1": mean_f1}


def validate(network: torch.nn.Module, samples: list[Sample]) -> dict[str, float]:
    """Return the scores of a network with the default settings."""
    return scores(probabilities(network, samples), samples, LabelSettings(output="objects"))


def best_objects(answers: list[np.ndarray], samples: list[Sample]) -> ObjectDefaults:
    """Return the settings with the best score on the validation split."""
    grid = itertools.product((0.4, 0.45, 0.5, 0.55, 0.6), (3, 5, 7, 9), (0, 10, 20, 30))
    choices = [
        ObjectDefaults(threshold=threshold, split_distance=distance, smallest_object=smallest)
        for threshold, distance, smallest in grid
    ]
    return max(choices, key=lambda c: scores(answers, samples, object_settings(c))["score"])


def object_settings(defaults: ObjectDefaults) -> LabelSettings:
    """Return the settings for separate objects with these defaults."""
    return LabelSettings(output="objects", **defaults.model_dump())


def new_network() -> torch.nn.Module:
    """Return the network with random weights, laid out for fast convolutions on a CPU."""
    network = build_network("med_urwkv", "T", in_channels=3, classes=2, **CONFIG)
    return network.to(memory_format=torch.channels_last)


@app.command()
def train(
    data: Path,
    run: Path,
    steps: int = 2000,
    seed: int = 42,
    rate: float = 1e-3,
    bfloat16: bool = True,
) -> None:
    """Train, or go on with a run that was stopped."""
    torch.manual_seed(seed)
    settings = LoopSettings(Budget(steps), rate, validate_every=200, seed=seed)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed" if bfloat16 else "32-true")
    run.mkdir(parents=True, exist_ok=True)
    tell = EventLog(run / "events.jsonl", lambda event: print(event_line(event), end=""))
    tell("started", seed=seed, steps=steps, learning_rate=rate)
    check = partial(validate, samples=read_split(data, "val"))
    work = Work(Batches(read_split(data, "train")), check, tell)
    TrainingLoop(new_network(), settings, run, work, fabric).run()


@app.command()
def export(data: Path, run: Path, out: Path, machine: Annotated[str, typer.Option()]) -> None:
    """Choose the object settings by validation, test, and write the folder of the model."""
    network = new_network()
    network.load_state_dict(load_checkpoint_file(run / "best.pt"))
    network.load_state_dict(packed_state(network))  # what is tested is what is shipped
    network.eval()
    validation, test = read_split(data, "val"), read_split(data, "test")
    objects = best_objects(probabilities(network, validation), validation)
    answers = probabilities(network, test)
    result = scores(answers, test, object_settings(objects))
    table = group_table(answers, test, object_settings(objects))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    seed = events[0]["seed"]
    checks = [event for event in events if event["event"] == "validated"]
    best = [check for check in checks if check["best"]][-1]
    length = f"{checks[-1]['step']} steps in {checks[-1]['seconds'] / 60:.0f} minutes on {machine}"
    shown = {
        "Dice": round(result["dice"], 4),
        "object F1 at IoU 0.5": round(result["object_f1"], 4),
    }
    card = model_card(shown, objects, trained_by=f"scripts/train_starter.py, seed {seed}: {length}")
    text = Template(DESCRIPTION.read_text(encoding="utf-8")).substitute(
        dice=f"{result['dice']:.3f}",
        f1=f"{result['object_f1']:.3f}",
        table=table,
        length=length,
        best_step=best["step"],
        validation=f"Dice {best['dice']:.3f}, object F1 {best['object_f1']:.3f}",
        objects=", ".join(f"{key} {value}" for key, value in objects.model_dump().items()),
    )
    write_model(out, network, card, text, overwrite=True)
    log = (run / "events.jsonl").read_bytes()
    write_atomically(out / "training_log.jsonl", lambda file: file.write(log))
    typer.echo(f"{out}: test Dice {result['dice']:.4f}, object F1 {result['object_f1']:.4f}")


@app.command()
def retest(data: Path, model: Path) -> None:
    """Test a model that was shipped once more, where what makes objects of its answers changed."""
    loaded = load_model(str(model), device="cpu")
    test = read_split(data, "test")
    answers = probabilities(loaded.network, test)
    result = scores(answers, test, object_settings(loaded.card.objects))
    typer.echo(group_table(answers, test, object_settings(loaded.card.objects)))
    typer.echo(f"{model}: test Dice {result['dice']:.4f}, object F1 {result['object_f1']:.4f}")


def group_table(answers: list[np.ndarray], samples: list[Sample], settings: LabelSettings) -> str:
    """Return the scores of each kind of image as rows of a Markdown table."""
    lines = []
    for group in sorted({sample.group for sample in samples}):
        chosen = [i for i, sample in enumerate(samples) if sample.group == group]
        result = scores([answers[i] for i in chosen], [samples[i] for i in chosen], settings)
        lines.append(
            f"| {group} | {len(chosen)} | {result['dice']:.3f} | {result['object_f1']:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    app()

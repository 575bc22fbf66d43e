"""Pretrain the encoder of Med-URWKV-T on the training splits of several data sets.

    python scripts/pretrain.py restore DATA RUN1 --minutes 30          # no labels are used
    python scripts/pretrain.py tell DATA RUN2 --start RUN1 --minutes 30
    python scripts/pretrain.py export RUN2 NAME                        # into the user's encoders
    python scripts/pretrain.py objects DATA RUN3 --minutes 45          # the general starter model

DATA holds one folder a data set. Every command goes on with a run that is there. With
`--without SET` a set is left out, so that what an encoder brings to data it has never
seen can be measured (tests/benchmarks/bench_pretraining.py). Test images are not read.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from lightning_fabric import Fabric
from pretraining.pool import CLASSES, read_pool
from pretraining.synthetic import made_planes
from pretraining.tasks import Restoring, Telling

from napari_rwkv_seg.files import write_atomically
from napari_rwkv_seg.inference import load_model
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.training.budget import Budget
from napari_rwkv_seg.training.checkpoints import load_checkpoint_file
from napari_rwkv_seg.training.events import EventLog, event_line
from napari_rwkv_seg.training.loop import TrainingLoop
from napari_rwkv_seg.training.process import settle_process
from napari_rwkv_seg.training.work import LoopSettings, Work
from napari_rwkv_seg.zoo import DEFAULT_MODEL
from napari_rwkv_seg.zoo.encoders import EncoderCard, write_encoder

app = typer.Typer(add_completion=False)
CONFIG = {"encoder": "adapter", "decoder": "slim"}
CPU_CROPS, CUDA_CROPS = 3, 32
HELD = 48  # made images that are held out

Without = Annotated[list[str] | None, typer.Option(help="A data set to leave out.")]


@app.command()
def restore(
    data: Path, run: Path, minutes: float = 30, seed: int = 42, without: Without = None
) -> None:
    """Learn to restore masked and disrupted images."""
    names = _names(without)
    train, validation = (read_pool(data, split, names) for split in ("train", "val"))
    task = Restoring(list(train.values()), list(validation.values()), _crops())
    _train(task, run, None, minutes, {"task": "restore", "sets": names, "seed": seed})


@app.command()
def tell(
    data: Path,
    run: Path,
    start: Annotated[Path | None, typer.Option(help="Run whose encoder to start from.")] = None,
    minutes: float = 30,
    seed: int = 42,
    without: Without = None,
) -> None:
    """Learn the classes of all sets."""
    names = _names(without)
    train, validation = (read_pool(data, split, names) for split in ("train", "val"))
    numbers = [len(CLASSES[name]) for name in names]
    task = Telling(list(train.values()), list(validation.values()), numbers, _crops())
    facts = {"task": "tell", "sets": names, "seed": seed, "start": str(start) if start else ""}
    weights = load_checkpoint_file(start / "best.pt") if start else None
    _train(task, run, weights, minutes, facts)


@app.command()
def objects(data: Path, run: Path, minutes: float = 45, made: int = 1200, seed: int = 42) -> None:
    """Learn what an object is, from free data alone: dsb2018_nuclei (CC0) and made images.

    Starts from the shipped model of nuclei; scripts/export_objects.py makes a model of the run.
    """
    pools = [read_pool(data, split, ["dsb2018_nuclei"]) for split in ("train", "val")]
    train, validation = (
        [pool["dsb2018_nuclei"], made_planes(count, at)]
        for pool, count, at in zip(pools, (made, HELD), (seed, seed + 1), strict=True)
    )
    task = Telling(train, validation, (1, 1), _crops(), is_one_class=True)
    start = load_model(DEFAULT_MODEL, "cpu").network.float().state_dict()
    facts = {"task": "objects", "made": made, "seed": seed, "start": DEFAULT_MODEL}
    _train(task, run, start, minutes, facts)


@app.command()
def export(run: Path, name: str, license_name: Annotated[str, typer.Option("--license")]) -> None:
    """Write the best encoder of a run among the user's encoders."""
    facts = json.loads((run / "task.json").read_text(encoding="utf-8"))
    network = _network(facts["outputs"])
    network.load_state_dict(load_checkpoint_file(run / "best.pt"))
    card = EncoderCard(
        name=name,
        title=f"VRWKV-Adapter-T, pretrained on {len(facts['sets'])} data sets ({facts['task']})",
        architecture="vrwkv_adapter",
        variant="T",
        license=license_name,
        source=f"scripts/pretrain.py on {', '.join(facts['sets'])}",
    )
    typer.echo(str(write_encoder(network.encoder, card).folder))


def _names(without: list[str] | None) -> list[str]:
    unknown = set(without or ()) - set(CLASSES)
    if unknown:
        raise typer.BadParameter(f"No such data set: {', '.join(sorted(unknown))}.")
    return [name for name in CLASSES if name not in (without or ())]


def _crops() -> int:
    return CUDA_CROPS if torch.cuda.is_available() else CPU_CROPS


def _network(outputs: int) -> torch.nn.Module:
    network = build_network("med_urwkv", "T", in_channels=3, classes=outputs, **CONFIG)
    return network.to(memory_format=torch.channels_last)


def _train(
    task: Restoring | Telling,
    run: Path,
    start: dict[str, torch.Tensor] | None,
    minutes: float,
    facts: dict[str, object],
) -> None:
    """Train until the minutes, over all processes that worked on the run, are used."""
    seed = int(str(facts["seed"]))
    torch.manual_seed(seed)
    network = _network(task.outputs)
    if start is not None:
        kept = {key: value for key, value in start.items() if not key.startswith("head.")}
        network.load_state_dict(kept, strict=False)
    run.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**facts, "outputs": task.outputs, "minutes": minutes}, indent=1)
    write_atomically(run / "task.json", lambda file: file.write(text.encode()))
    tell_ = EventLog(run / "events.jsonl", lambda event: print(event_line(event), end=""))
    settings = LoopSettings(
        Budget(seconds=60 * minutes), 1e-3, validate_every=60 * minutes / 10, seed=seed
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed")
    TrainingLoop(
        network, settings, run, Work(task.batch, task.score, tell_, loss=task.loss), fabric
    ).run()


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # read when torch is loaded
        settle_process()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    app()

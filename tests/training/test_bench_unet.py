"""The U-Net that bench_finetune trains beside ours goes through the same run."""

import sys
from pathlib import Path

import pytest

from napari_rwkv_seg.inference import load_model
from napari_rwkv_seg.networks import registry
from napari_rwkv_seg.training import heads
from napari_rwkv_seg.training.finetune import run_finetune
from napari_rwkv_seg.training.run_folder import prepare_run
from napari_rwkv_seg.training.run_settings import make_settings

from .tiny import bright_pairs

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_the_unet_is_trained_and_framed_as_a_network_of_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    monkeypatch.setattr(heads, "_PARTS", dict(heads._PARTS))
    import finetune_unet

    monkeypatch.setattr(finetune_unet, "UNET_CHANNELS", (4, 4, 4, 4, 4))
    finetune_unet.register_unet()
    base = finetune_unet.random_unet(tmp_path, 0)
    settings = make_settings(
        name="new", model=str(base), labels="classes", steps=2, depth="everything", device="cpu"
    )
    run = prepare_run(tmp_path / "run", settings, bright_pairs(2))
    assert run_finetune(run.path)["steps"] == 2
    trained = load_model(run.model)
    assert type(trained.network).__name__ == "PaddedUNet"
    assert trained.network.view.least_side == trained.card.config["least_side"] > 1
    sys.modules.pop("finetune_unet")

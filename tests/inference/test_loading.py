import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import napari_rwkv_seg
from napari_rwkv_seg import networks
from napari_rwkv_seg.errors import DeviceError, ModelError
from napari_rwkv_seg.inference.loading import choose_device, load_model
from napari_rwkv_seg.inference.segment import segment
from napari_rwkv_seg.zoo.store import write_model

LIGHT = [
    "napari_rwkv_seg",
    "napari_rwkv_seg.images",
    "napari_rwkv_seg.inference",
    "napari_rwkv_seg.inference.labels",
    "napari_rwkv_seg.inference.predictor",
    "napari_rwkv_seg.inference.segment",
    "napari_rwkv_seg.inference.settings",
    "napari_rwkv_seg.zoo",
    "napari_rwkv_seg.zoo.card",
    "napari_rwkv_seg.zoo.store",
]


@pytest.fixture
def folder(tmp_path, make_card, monkeypatch):
    """Return the folder of a model with one convolution."""
    monkeypatch.setattr(networks, "build_network", lambda *_, **__: nn.Conv2d(3, 2, 1))
    write_model(tmp_path / "fake", nn.Conv2d(3, 2, 1), make_card(), "")
    return tmp_path / "fake"


def test_a_loaded_model_is_ready_on_the_cpu(folder):
    model = load_model(folder, "cpu")

    assert model.device == "cpu"
    assert not model.network.training
    assert model.folder == folder
    assert model.backend in ("cpu", "reference")


def test_a_model_is_loaded_and_run_by_its_folder(folder):
    result = segment(np.eye(31), folder, device="cpu")

    assert result.labels.shape == (31, 31)
    assert result.provenance["device"] == "cpu"
    assert result.provenance["sha256"] == result.card.weights_sha256


def test_auto_takes_cuda_only_where_it_is():
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "gpu"])
def test_a_device_that_is_not_there_is_an_error_with_the_choices(device):
    with pytest.raises(DeviceError, match=r"not there\. Devices of this machine: cpu"):
        choose_device(device)


def test_a_missing_device_is_noticed_before_the_model_is_read():
    with pytest.raises(DeviceError):
        load_model("no such model", "cuda:99")


def test_an_unknown_model_is_an_error():  # P12
    with pytest.raises(ModelError, match="no model 'no such model'"):
        load_model("no such model", "cpu")


def test_plain_pytorch_is_told_and_never_silent(folder, monkeypatch):
    reason = "No compiled kernels in this installation."
    monkeypatch.setattr("napari_rwkv_seg.ops.backends.choose", lambda _: ("reference", reason))

    model = load_model(folder, "cpu")

    assert (model.backend, model.backend_reason) == ("reference", reason)
    assert reason in model.notes


def test_importing_everything_that_a_window_needs_costs_no_torch():
    lines = [*(f"import {name}" for name in LIGHT), "import sys"]
    heavy = "[name for name in ('torch', 'scipy', 'skimage', 'napari') if name in sys.modules]"

    found = subprocess.run(
        [sys.executable, "-c", "; ".join([*lines, f"sys.stdout.write(repr({heavy}))"])],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout == "[]"


@pytest.mark.parametrize("name", napari_rwkv_seg.__all__)
def test_every_name_of_the_face_is_there(name):
    assert getattr(napari_rwkv_seg, name)


def test_an_unknown_name_of_the_face_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = napari_rwkv_seg.nothing

"""bioimage.io packages: bioimageio.core accepts them, runs them, and gets the same numbers."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
import torch

from napari_rwkv_seg.errors import OutputError, SettingsError
from napari_rwkv_seg.inference.normalize import normalize_plane
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.zoo.bioimage_io import export_bioimage_io, normalized
from napari_rwkv_seg.zoo.card import Normalization
from napari_rwkv_seg.zoo.new_models import new_model
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL, find_model, read_network


@pytest.fixture
def test_package(monkeypatch):
    """Return bioimageio.core's own test of a package.

    bioimageio.spec 0.5.12, which bioimageio.core 0.11 asks for, hands pydantic's
    serialisers one argument more than pydantic 2.14 takes; later versions do not.
    The two functions are mended here as those versions have them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import test_model
        from bioimageio.spec._internal import io_packaging
        from bioimageio.spec.model import v0_4

    def describe(value, handler, info):
        described = handler(value)
        described["source"] = _package(value.source, info, sha256=value.sha256)  # noqa: F821
        return described

    def weigh(value, handler, info):
        return handler(value)

    for function, mended in (
        (io_packaging.package_file_descr_serializer, describe),
        (v0_4.package_weights, weigh),
    ):
        monkeypatch.setattr(function, "__code__", mended.__code__)
    return test_model


def assert_accepted(test_package, file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = test_package(file, weight_format="pytorch_state_dict")
    errors = [error.msg for detail in summary.details for error in detail.errors]
    assert errors == []
    assert summary.status == "passed"
    assert any("Reproduce test outputs" in detail.name for detail in summary.details)


def test_the_shipped_model_is_accepted_and_gives_the_same_numbers(test_package, home, tmp_path):
    file = export_bioimage_io(find_model(DEFAULT_MODEL), tmp_path / "nuclei.zip", size=64)
    assert_accepted(test_package, file)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["nuclei.zip"]


def test_a_model_of_other_channels_and_a_fixed_scale_is_accepted(test_package, home, tmp_path):
    new_model("cells", classes=["a b/c", "ä"], architecture="rwkv_unet", in_channels=2)
    entry = find_model("cells")
    how = Normalization(kind="fixed", scale=255.0, mean=[0.1, 0.2], std=[0.5, 0.6])
    entry = type(entry)(entry.folder, entry.card.model_copy(update={"normalization": how}))
    assert_accepted(test_package, export_bioimage_io(entry, tmp_path / "cells.zip", size=64))


def test_the_test_tensors_are_what_the_model_gives(home, tmp_path):
    entry = find_model(DEFAULT_MODEL)
    file = export_bioimage_io(entry, tmp_path / "nuclei.zip", size=64, author="Somebody")
    with zipfile.ZipFile(file) as package:
        image = np.load(package.open("test_input.npy"))
        found = np.load(package.open("test_output.npy"))
        described = json.loads(package.read("bioimageio.yaml"))
    plane = normalize_plane(image[0].transpose(1, 2, 0), entry.card.normalization, 3)
    with torch.inference_mode():
        want = read_network(entry)(torch.from_numpy(plane[None])).softmax(1).numpy()
    np.testing.assert_allclose(found, want, atol=1e-4)
    assert found.std() > 0.01
    assert described["license"] == "CC0-1.0"
    assert described["authors"] == [{"name": "Somebody"}]


def test_a_network_that_mirrors_small_images_does_so_in_the_package_too(home, tmp_path):
    new_model("cells", classes=["a"], architecture="rwkv_unet", config={"least_side": 96})
    entry = find_model("cells")
    file = export_bioimage_io(entry, tmp_path / "cells.zip", size=64)
    with zipfile.ZipFile(file) as package:
        image = np.load(package.open("test_input.npy"))
        found = np.load(package.open("test_output.npy"))
        state = torch.load(io.BytesIO(package.read("weights.pt")), weights_only=True)
        described = json.loads(package.read("bioimageio.yaml"))
    arguments = described["weights"]["pytorch_state_dict"]["architecture"]["kwargs"]
    shown = torch.from_numpy(normalized(image, entry.card.normalization))
    given = probabilities(arguments, state, shown)
    np.testing.assert_allclose(found, given, atol=1e-5)
    unmirrored = probabilities(arguments | {"least_side": 1}, state, shown)
    assert np.abs(given - unmirrored).max() > 1e-4


def probabilities(arguments, state, image):
    """Return what a network of these arguments gives, made as bioimageio.core makes it."""
    network = build_network(**arguments).eval()
    network.load_state_dict(state)
    with torch.inference_mode():
        return network(image).softmax(1).numpy()


@pytest.mark.parametrize("kind", ["percentile", "fixed"])
def test_the_described_normalisation_is_the_one_that_inference_uses(kind):
    how = Normalization(kind=kind, mean=[0.1, 0.2], std=[0.5, 0.6])
    image = np.random.default_rng(42).random((1, 2, 30, 40), np.float32) * 255
    want = normalize_plane(image[0].transpose(1, 2, 0), how, 2)
    np.testing.assert_allclose(normalized(image, how)[0], want, atol=1e-5)


@pytest.mark.parametrize("brightest", [1.0, 1e-5, 1e-9, 0.0])
def test_small_values_are_described_as_inference_has_them(brightest, home, tmp_path):
    entry = find_model(DEFAULT_MODEL)
    how = entry.card.normalization
    file = export_bioimage_io(entry, tmp_path / "nuclei.zip", size=64)
    with zipfile.ZipFile(file) as package:
        [shown] = json.loads(package.read("bioimageio.yaml"))["inputs"]
    image = np.random.default_rng(42).random((1, 3, 30, 40), np.float32) * np.float32(brightest)
    want = normalize_plane(image[0].transpose(1, 2, 0), how, 3)

    scale, clip, fixed = (step["kwargs"] for step in shown["preprocessing"])
    ends = (scale["min_percentile"], scale["max_percentile"])
    low, high = np.percentile(image, ends, axis=(2, 3), keepdims=True)
    # As bioimage.io's format says; bioimageio.core 0.11 takes another eps than it is told.
    unit = np.clip((image - low) / (high - low + scale["eps"]), clip["min"], clip["max"])
    mean, std = (np.array(fixed[key])[:, None, None] for key in ("mean", "std"))
    np.testing.assert_allclose((unit[0] - mean) / std, want, atol=1e-4)
    np.testing.assert_allclose(normalized(image, how)[0], want, atol=1e-5)


def test_an_export_replaces_nothing_and_wants_a_sensible_size(home, tmp_path):
    entry = find_model(DEFAULT_MODEL)
    (tmp_path / "mine.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        export_bioimage_io(entry, tmp_path / "mine.zip")
    with pytest.raises(SettingsError, match="multiple of 32 from 64"):
        export_bioimage_io(entry, tmp_path / "new.zip", size=100)

"""bioimage.io packages: bioimageio.core accepts them, runs them, and gets the same numbers."""

import json
import warnings
import zipfile

import numpy as np
import pytest
import torch

from napari_rwkv_seg.errors import OutputError, SettingsError
from napari_rwkv_seg.inference.normalize import normalize_plane
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


@pytest.mark.parametrize("kind", ["percentile", "fixed"])
def test_the_described_normalisation_is_the_one_that_inference_uses(kind):
    how = Normalization(kind=kind, mean=[0.1, 0.2], std=[0.5, 0.6])
    image = np.random.default_rng(42).random((1, 2, 30, 40), np.float32) * 255
    want = normalize_plane(image[0].transpose(1, 2, 0), how, 2)
    np.testing.assert_allclose(normalized(image, how)[0], want, atol=1e-5)


def test_an_export_replaces_nothing_and_wants_a_sensible_size(home, tmp_path):
    entry = find_model(DEFAULT_MODEL)
    (tmp_path / "mine.zip").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        export_bioimage_io(entry, tmp_path / "mine.zip")
    with pytest.raises(SettingsError, match="multiple of 32 from 64"):
        export_bioimage_io(entry, tmp_path / "new.zip", size=100)

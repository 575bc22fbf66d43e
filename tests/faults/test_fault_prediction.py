"""Rows P, and what other plugins change under our feet (C21): with the shipped model."""

import warnings
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from napari_rwkv_seg import segment
from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.images.samples import sample_path
from napari_rwkv_seg.inference.loading import load_model
from napari_rwkv_seg.inference.progress import Progress


@pytest.fixture(scope="module")
def cells():
    """Return a piece of a real image."""
    return read_image(sample_path("nuclei_fluorescence")).data[:131, :99]


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def found(cells, model):
    return segment(cells, model)


@pytest.mark.parametrize(("factor", "offset"), [(4, 0), (1, 100), (17, 1000)])
def test_brightness_and_contrast_of_an_image_change_no_label(cells, model, found, factor, offset):
    other = cells.astype(np.float64) * factor + offset
    np.testing.assert_array_equal(segment(other, model).labels, found.labels)


def test_the_order_of_channels_in_a_grey_image_and_its_dtype_change_no_label(cells, model, found):
    stack = np.stack([cells] * 3, -1).astype(np.uint16)
    np.testing.assert_array_equal(segment(stack, model, axes="YXC").labels, found.labels)


@pytest.mark.parametrize(
    ("views", "moved"),
    [
        (4, lambda plane: plane[::-1]),
        (4, lambda plane: plane[:, ::-1]),
        (8, np.rot90),
        (8, np.transpose),
    ],
)
def test_an_image_mirrored_or_turned_gives_the_same_labels_so(cells, model, views, moved):
    many = replace(model, views=views)
    straight, other = segment(cells, many), segment(moved(cells), many)

    np.testing.assert_allclose(
        other.probabilities[1], moved(straight.probabilities[1]), rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(other.labels, moved(straight.labels))


def test_a_run_again_gives_the_same_bits(cells, model, found):
    np.testing.assert_array_equal(segment(cells, model).probabilities, found.probabilities)


def test_the_number_of_threads_changes_no_probability_by_more_than_rounding(
    cells, model, found, record_property
):
    before, difference = torch.get_num_threads(), 0.0
    try:
        for count in (1, 2, 8):
            torch.set_num_threads(count)
            other = segment(cells, model).probabilities
            difference = max(difference, float(np.abs(other - found.probabilities).max()))
    finally:
        torch.set_num_threads(before)
    record_property("largest difference between 1, 2 and 8 threads", difference)
    assert difference <= 1e-5


def test_plain_pytorch_gives_the_labels_of_the_kernels(cells, found, monkeypatch, record_property):
    monkeypatch.setenv("NAPARI_RWKV_SEG_BACKEND", "reference")
    other = segment(cells, load_model(device="cpu"))
    difference = float(np.abs(other.probabilities - found.probabilities).max())
    record_property("largest difference of plain PyTorch", difference)
    assert difference <= 1e-3
    assert np.mean(other.labels == found.labels) >= 0.9999


@pytest.mark.parametrize("change", ["default dtype", "no gradients", "deterministic", "threads"])
def test_what_another_plugin_sets_in_torch_changes_no_label_and_stays_set(cells, found, change):
    threads = torch.get_num_threads()
    if change == "default dtype":
        torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(change != "no gradients")
    torch.use_deterministic_algorithms(change == "deterministic")
    torch.set_num_threads(1 if change == "threads" else threads)
    state = _state()
    try:
        labels = segment(cells, load_model(device="cpu")).labels
        assert _state() == state
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(labels, found.labels)


def _state():
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )


class WarningEngine:
    """Warns ten thousand times of the same thing."""

    def load(self, model, device, views):
        return None

    def steps(self, image, model, settings):
        for tile in range(100):
            for _ in range(100):
                warnings.warn("again", RuntimeWarning, stacklevel=1)
            yield Progress(tile, 100)
        raise RuntimeError("no result was meant")


def test_ten_thousand_warnings_in_a_job_are_shown_once():
    controller = SegmentController(WarningEngine())
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        steps = controller.steps(controller.begin(lambda: np.ones((5, 7))))
        told = sum(progress.total == 100 for progress in steps)
    assert told == 100
    assert len(shown) == 1


@pytest.mark.long
def test_five_hundred_runs_leave_memory_threads_and_files_as_they_were(
    cells, model, record_property
):
    this, piece, sizes = psutil.Process(), cells[:64, :64], []
    before = this.num_threads(), len(this.open_files())
    for _ in range(500):
        segment(piece, model)
        sizes.append(this.memory_info().rss)
    growth = max(sizes[400:]) - max(sizes[50:100])
    record_property("memory grown over 400 runs, MB", growth / 1e6)
    assert growth < 50_000_000
    assert (this.num_threads(), len(this.open_files())) == before

"""How prepared images lie in memory, and how much of it they may take."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from napari_rwkv_seg.training import sources as sources_module
from napari_rwkv_seg.training.pairs import TrainingPair
from napari_rwkv_seg.training.sources import Source, Sources, make_source, unpacked
from napari_rwkv_seg.training.split import Split
from napari_rwkv_seg.zoo.card import Normalization

GB = 10**9


def made(pair: TrainingPair, labels: str = "objects", **facts: object) -> Source:
    none = np.zeros(pair.checked.shape, bool)
    return make_source(pair, pair.checked, none, Normalization(**facts), 3, labels)


def test_a_grey_image_is_kept_once_and_takes_eight_bytes_a_pixel(make_cells) -> None:
    pair = make_cells()
    grey = made(pair)
    assert grey.image.shape == (1, *pair.checked.shape)
    assert grey.truth.shape == (1, *pair.checked.shape)
    places = sum(each.nbytes for each in grey.places.values())
    assert grey.nbytes - places == 8 * pair.checked.size
    as_colour = replace(pair, image=np.stack([pair.image] * 3, -1))
    assert torch.equal(made(as_colour).image, grey.image)


def test_channels_that_differ_are_all_kept(make_cells) -> None:
    pair = make_cells()
    colour = replace(pair, image=np.stack([pair.image, pair.image, 255 - pair.image], -1))
    assert len(made(colour).image) == 3
    assert len(made(pair, mean=[0.4, 0.5, 0.6]).image) == 3


def test_every_class_and_weight_is_kept_as_it_is() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    checked = labels % 3 > 0
    pair = TrainingPair("a", labels, labels, checked)
    classes, weights = unpacked(made(pair, "classes").truth)
    assert np.array_equal(classes[checked], labels[checked])
    assert np.array_equal(weights, checked)
    assert classes.dtype == weights.dtype == torch.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_objects_are_parted_whatever_their_numbers(make_cells, dtype: type) -> None:
    pair = make_cells(count=40)
    far = np.where(pair.labels, pair.labels.astype(np.uint64) + np.uint64(2**63), np.uint64(0))
    numbers = far if dtype is np.uint64 else pair.labels.astype(dtype)
    assert torch.equal(made(replace(pair, labels=numbers)).truth, made(pair).truth)


@pytest.mark.parametrize(
    ("free", "company", "memory"),
    [
        (64 * GB, 1, 16 * GB),
        (64 * GB, 4, 4 * GB),  # the others of this machine take as much
        (4 * GB, 1, 1.5 * GB),
        (2 * GB, 1, 1 * GB),
    ],
)
def test_kept_images_take_a_share_of_the_free_memory(
    make_cells, monkeypatch: pytest.MonkeyPatch, free: int, company: int, memory: float
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(sources_module, "is_in_company", lambda: company > 1)
    monkeypatch.setattr(sources_module, "sizes", lambda: (8, company))
    pair = make_cells()
    split = Split((pair.checked,), (~pair.checked,), "")
    assert Sources([pair], split, Normalization(), 3, "objects")._memory == memory

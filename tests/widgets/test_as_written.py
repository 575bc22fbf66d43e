"""Whether a layer still holds what we wrote: told without keeping the window from living."""

import numpy as np
import pytest
from napari.layers import Labels

from napari_rwkv_seg.widgets import as_written
from napari_rwkv_seg.widgets.as_written import digest, is_same, remember, still_holds_it


@pytest.fixture
def layer() -> Labels:
    """Return labels that we wrote."""
    layer = Labels(np.arange(12, dtype=np.int32).reshape(3, 4))
    remember(layer, digest(layer.data))
    return layer


def edit(layer: Labels) -> None:
    layer.data_setitem((np.array([0]), np.array([0])), 7)


def test_arrays_are_looked_through_in_small_pieces_of_all_their_pixels(monkeypatch) -> None:
    monkeypatch.setattr(as_written, "_PIECE", 40)
    data = np.arange(7 * 9, dtype=np.int32).reshape(7, 9)

    pieces = list(as_written._pieces(data))

    assert max(piece.nbytes for piece in pieces) <= 40
    np.testing.assert_array_equal(np.concatenate(pieces), data.reshape(-1))


@pytest.mark.parametrize("place", [(0, 0), (3, 5), (6, 8)])
def test_a_pixel_anywhere_makes_arrays_differ(monkeypatch, place) -> None:
    monkeypatch.setattr(as_written, "_PIECE", 40)
    data = np.zeros((7, 9), dtype=np.int32)
    other = data.copy()
    assert digest(data) == digest(other)
    assert is_same(data, other)

    other[place] = 1

    assert digest(data) != digest(other)
    assert not is_same(data, other)


def test_arrays_of_other_shapes_differ() -> None:
    data = np.zeros((7, 9), dtype=np.int32)

    assert digest(data) != digest(data.T)
    assert not is_same(data, data.T)
    assert not is_same(data, data[:0])


def test_labels_are_as_written_until_they_are_edited_and_again_after_undo(layer) -> None:
    assert still_holds_it(layer)()
    edit(layer)
    assert not still_holds_it(layer)()
    layer.undo()
    assert still_holds_it(layer)()

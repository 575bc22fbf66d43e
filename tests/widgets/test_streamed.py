"""Huge images in the window: streamed into a store, shown as they fill up, never painted on."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from napari_rwkv_seg.controllers.engine import InferenceEngine
from napari_rwkv_seg.controllers.segment import SegmentController
from napari_rwkv_seg.images.napari_place import is_placed
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.segment import segment_steps
from napari_rwkv_seg.inference.stream_folder import read_progress
from napari_rwkv_seg.widgets import streamed_layers
from napari_rwkv_seg.widgets.placement import place, transform_of
from napari_rwkv_seg.widgets.regions import Region
from napari_rwkv_seg.widgets.streamed_layers import StreamedLayers
from napari_rwkv_seg.zoo.card import Normalization

from .conftest import PATIENCE_MS, FakeEngine, make_card

PLAIN = Normalization(kind="fixed", scale=255.0, mean=[0.0], std=[1.0])


class Bright(torch.nn.Module):
    """Says class 1 where the first channel exceeds 0.5; waits before each tile if told to."""

    def __init__(self, gate):
        super().__init__()
        self.gate = gate
        self.tiles = 0

    def forward(self, images):
        self.tiles += 1
        if not self.gate.wait(PATIENCE_MS / 1000):
            raise TimeoutError
        bright = images[:, :1] - 0.5
        return torch.cat([-bright, bright], dim=1)


class StreamEngine(FakeEngine):
    """The real way into a store, with a network that looks at one pixel."""

    def __init__(self):
        super().__init__()
        self.network = Bright(self.gate)
        card = make_card(tile_size=256, normalization=PLAIN)
        self.model = Model(card, self.network, "cpu", Path("bright"))

    def load(self, model, device, views):
        return self.model

    def steps(self, image, model, settings):
        return segment_steps(image, model, axes=settings.axes, settings=settings.labels)

    stream = InferenceEngine.stream


@pytest.fixture
def engine():
    engine = StreamEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def controller(engine):
    controller = SegmentController(engine)
    controller.choose(stream="always")
    return controller


@pytest.fixture
def spots():
    """Return 150 × 1300 pixels with bright squares, some of them touching."""
    pixels = np.zeros((150, 1300), dtype=np.uint8)
    for row in range(10, 140, 26):
        for column in range(8, 1280, 23):
            pixels[row : row + 14, column : column + 17] = 200
    return pixels


@pytest.fixture
def stream(until, idle):
    def run(dock):
        dock.job.button.click()
        until(lambda: dock._controller.running is None)
        idle(dock)
        viewer = dock._link._viewer()
        return [one for one in viewer.layers if isinstance(one, Labels)]

    return run


def test_a_streamed_run_shows_what_a_whole_run_finds(dock, viewer, spots, stream, user_data):
    viewer.add_image(spots, name="spots", scale=(2, 3), translate=(5, 7))

    (labels,) = stream(dock)
    dock._controller.choose(stream="never")
    labels, whole = stream(dock)

    np.testing.assert_array_equal(np.asarray(labels.data), whole.data)
    np.testing.assert_array_equal(labels.scale, whole.scale)
    np.testing.assert_array_equal(labels.translate, whole.translate)
    assert not labels.editable
    assert labels.metadata["napari-rwkv-seg"]["model"] == "bright"
    assert (user_data / "streamed" / "spots_bright.ome.zarr").is_dir()


def test_the_store_of_a_turned_image_says_where_that_lies(dock, viewer, spots, stream, user_data):
    turned = np.array([[1, 0, 0, 7], [0, 0.8, -0.6, 8], [0, 0.6, 0.8, 9], [0, 0, 0, 1]])
    viewer.add_image(np.stack([spots] * 2), name="turned", scale=(4, 2, 3), affine=turned)
    dock._controller.choose(axes="ZYX")

    (labels,) = stream(dock)

    geometry = read_image(user_data / "streamed" / "turned_bright.ome.zarr").geometry
    assert geometry.affine is not None
    assert is_placed(geometry, transform_of(labels))
    np.testing.assert_array_equal(labels.affine.affine_matrix, turned)


def test_a_large_pyramid_is_shown_and_lies_upon_the_image(dock, viewer, stream, monkeypatch):
    monkeypatch.setattr("napari_rwkv_seg.inference.streaming.BLOCK", 64)
    pixels = np.zeros((200, 300), dtype=np.uint8)
    pixels[40:60, 100:130] = 255
    levels = [np.kron(pixels, np.ones((2, 2), dtype=np.uint8)), pixels, pixels[::2, ::2]]
    viewer.add_image(levels, multiscale=True, name="pyramid", scale=(0.5, 0.5))
    dock._controller.choose(level=1)

    (labels,) = stream(dock)

    finest = labels.data[0] if labels.multiscale else labels.data
    assert finest.shape == (200, 300)
    np.testing.assert_array_equal(labels.scale, (1, 1))
    np.testing.assert_array_equal(labels.translate, (0.25, 0.25))
    corner = labels.data_to_world((39.5, 99.5))
    np.testing.assert_allclose(viewer.layers["pyramid"].world_to_data(corner), (79.5, 199.5))


def test_labels_fill_up_while_the_run_goes_on(
    dock, viewer, spots, engine, until, idle, monkeypatch
):
    monkeypatch.setattr(streamed_layers, "REFRESH_S", 0.0)
    viewer.add_image(da.from_array(np.vstack([spots] * 20)[:1500], chunks=500), name="lazy")
    engine.gate.clear()
    dock.job.button.click()
    until(lambda: any(isinstance(one, Labels) for one in viewer.layers))
    (labels,) = [one for one in viewer.layers if isinstance(one, Labels)]
    finest = labels.data[0] if labels.multiscale else labels.data

    assert not np.asarray(finest).any()
    engine.gate.set()
    until(lambda: bool(np.asarray(finest).any()))

    assert dock.job.button.text() == "Cancel"
    until(lambda: dock._controller.running is None)
    idle(dock)


def test_a_cancelled_run_is_continued(dock, viewer, spots, engine, until, idle, stream):
    image = np.vstack([spots] * 20)[:1500]
    viewer.add_image(image, name="long")
    dock.job.button.click()
    until(lambda: _rows_done(dock) > 0)
    dock.job.button.click()
    until(lambda: dock._controller.running is None)
    idle(dock)
    tiles = engine.network.tiles

    assert dock.job.button.text() == "Continue"
    assert "Continue goes on there" in dock.job.status.text()
    (labels,) = stream(dock)

    engine.network.tiles, tiles = 0, engine.network.tiles - tiles
    dock._controller.choose(stream="never")
    _, whole = stream(dock)
    assert tiles < engine.network.tiles
    np.testing.assert_array_equal(_finest(labels), whole.data)
    assert dock.job.button.text() == "Segment"


def test_an_image_too_large_for_memory_is_announced(dock, viewer, spots, monkeypatch, tmp_path):
    monkeypatch.setattr("napari_rwkv_seg.controllers.streaming._free_memory", lambda: 1_000_000)
    dock._controller.choose(stream="auto")

    viewer.add_image(spots, name="spots")
    dock.stream.folder_chosen.emit(str(tmp_path))

    assert "streamed in 4 tiles: about" in dock.stream.text
    assert f"kept in {tmp_path / 'spots_bright'}" in dock.stream.text.replace(
        "med_urwkv_t_nuclei", "bright"
    )
    dock._controller.choose(scope="current view")
    assert dock.stream.text == ""


def test_i19_an_image_of_30_000_by_30_000_gets_a_forecast(dock, viewer, tmp_path):
    dock._controller.choose(stream="auto")
    pixel = np.zeros((1, 1), dtype=np.uint16)

    viewer.add_image(np.broadcast_to(pixel, (30_000, 30_000)), contrast_limits=(0, 1), name="slide")
    dock.stream.folder_chosen.emit(str(tmp_path))

    assert "To run this image whole would take about" in dock.stream.text
    assert "so it is streamed in" in dock.stream.text


def test_a_small_image_is_not_streamed(dock, viewer, image):
    dock._controller.choose(stream="auto")
    viewer.add_image(image)

    assert dock.stream.text == ""
    assert not dock.stream.folder.isVisibleTo(dock.stream)


def test_a_copy_of_what_is_in_view_can_be_painted_on(dock, viewer, spots, stream):
    viewer.add_image(spots, name="spots", scale=(2, 3), translate=(5, 7))
    (labels,) = stream(dock)
    before = _finest(labels).copy()

    dock.stream.copy.click()

    copied = viewer.layers[-1]
    assert copied is not labels
    copied.data_setitem((np.array([0]), np.array([0])), 77)
    np.testing.assert_array_equal(_finest(labels), before)
    world = copied.data_to_world((0, 0))
    row, column = np.round(labels.world_to_data(world)).astype(int)
    height, width = copied.data.shape
    part = before[row : row + height, column : column + width].copy()
    part[0, 0] = 77
    np.testing.assert_array_equal(copied.data, part)


def test_a_copy_of_too_much_is_refused(dock, viewer, spots, stream, monkeypatch):
    viewer.add_image(spots)
    stream(dock)
    monkeypatch.setattr(streamed_layers, "MOST_COPIED", 100)
    said = []
    dock._controller.failed.connect(said.append)
    monkeypatch.setattr("napari_rwkv_seg.widgets.segment_dock.show_error", lambda _: None)

    dock.stream.copy.click()

    assert "zoom in" in said[0]


def test_channels_in_the_middle_keep_the_labels_upon_the_image(dock, viewer, stream):
    pixels = np.zeros((2, 3, 40, 50), dtype=np.uint8)
    pixels[1, :, 5:12, 6:15] = 250
    viewer.add_image(pixels, name="zcyx")
    dock._controller.choose(axes="ZCYX", channel=0)

    (labels,) = stream(dock)

    assert labels.data.shape == (2, 1, 40, 50)
    assert np.asarray(labels.data[1, 0, 6, 7]) == 1


def test_an_image_that_cannot_be_read_says_where_and_touches_no_layer(
    dock, viewer, until, idle, monkeypatch
):
    monkeypatch.setattr("napari_rwkv_seg.widgets.segment_dock.show_error", lambda _: None)

    def load(block):
        if block.size:
            raise OSError("the disk is gone")
        return block

    lazy = da.zeros((200, 200), chunks=50, dtype=np.uint8).map_blocks(load, dtype=np.uint8)
    layer = viewer.add_image(np.zeros((200, 200), dtype=np.uint8), name="broken")
    layer._data = lazy  # shown before it broke
    dock.job.button.click()
    until(lambda: dock._controller.running is None)
    idle(dock)

    assert "the disk is gone" in dock.job.problem.text()
    assert [one.name for one in viewer.layers] == ["broken"]


def _finest(labels):
    return np.asarray(labels.data[0] if labels.multiscale else labels.data)


def _rows_done(dock):
    if dock._link.store is None:
        return 0
    return len(read_progress(dock._link.store)["state"]["planes"][0]["rows"])


def test_a_slice_that_is_streamed_lies_in_its_place(dock, viewer, spots, stream):
    pixels = np.stack([np.zeros_like(spots), np.zeros_like(spots), spots, np.zeros_like(spots)])
    viewer.add_image(pixels, name="stack", scale=(4, 2, 3), translate=(1, 5, 7))
    dock._controller.choose(axes="ZYX", scope="current slice")
    viewer.dims.set_point(0, 9)

    (labels,) = stream(dock)

    assert labels.data.shape == (1, *spots.shape)
    np.testing.assert_array_equal(labels.translate, (9, 5, 7))
    assert np.asarray(labels.data).any()
    ome = read_progress(dock._link.store)
    assert ome["state"]["complete"]


def test_a_streamed_run_that_begins_during_a_stroke_leaves_the_brush_its_layer(
    viewer, spots, monkeypatch
):
    image = viewer.add_image(spots)
    mine = viewer.add_labels(np.zeros(spots.shape, dtype=np.int32))
    monkeypatch.setattr(streamed_layers, "open_store", lambda _: [np.zeros_like(mine.data)])
    monkeypatch.setattr(QGuiApplication, "mouseButtons", lambda: Qt.MouseButton.LeftButton)
    where = place(image, "YX", 0, Region(tuple(slice(0, length) for length in spots.shape)))

    StreamedLayers(viewer).begin(Path("store"), "spots · bright", where, "YX")

    assert len(viewer.layers) == 3
    assert viewer.layers.selection.active is mine

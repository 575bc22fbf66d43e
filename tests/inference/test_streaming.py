"""A streamed run gives what a whole-image run gives, in pieces, and goes on where it stopped."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_rwkv_seg.errors import ImageError, OutputError, RunError, SettingsError
from napari_rwkv_seg.images.geometry import Geometry
from napari_rwkv_seg.images.readers import read_image
from napari_rwkv_seg.inference import stream_image, stream_plan
from napari_rwkv_seg.inference.segment import segment_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.stream_folder import open_levels, read_progress
from napari_rwkv_seg.inference.streaming import StreamOptions, segment_to_store_steps

OBJECTS = LabelSettings(output="objects", split_distance=5, smallest_object=6)
SMALL = StreamOptions(block=64)


def blobs(height, width, seed=0, smooth=3.0):
    """Return roundish things from 0 to 1, many of them touching."""
    noise = np.random.default_rng(seed).random((height, width))
    smoothed = ndimage.gaussian_filter(noise, smooth)
    return ((smoothed - smoothed.min()) / np.ptp(smoothed)).astype(np.float32)


class Counting:
    """A lazy array that notes what is read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.reads = np.zeros(array.shape[:2], dtype=int)
        self.largest = 0

    def __getitem__(self, key):
        part = self.array[key]
        self.reads[key[:2]] += 1
        self.largest = max(self.largest, part.size)
        return part


@pytest.fixture
def stream(drain, tmp_path):
    def run(image, model, folder="store", options=SMALL, **choices):
        steps = segment_to_store_steps(image, model, tmp_path / folder, options=options, **choices)
        return drain(steps)[1]

    return run


@pytest.fixture
def whole(drain):
    def run(image, model, **choices):
        return drain(segment_steps(image, model, **choices))[1].labels

    return run


def labels_of(result):
    return np.asarray(open_levels(result.folder)[0])


SETTINGS = [
    pytest.param(LabelSettings(fill_holes=False), id="classes"),
    pytest.param(LabelSettings(smallest_object=40), id="classes, holes, no small ones"),
    pytest.param(replace(OBJECTS, split=False), id="objects"),
    pytest.param(OBJECTS, id="objects, split"),
    pytest.param(replace(OBJECTS, smallest_object=60, fill_holes=False), id="no small objects"),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_streamed_run_gives_the_labels_of_a_whole_run(
    settings, classes, make_model, pixel_network, stream, whole
):
    model = make_model(pixel_network(classes), classes=classes, tile_size=96)
    image = blobs(210, 333)

    result = stream(image, model, settings=settings, axes="YX")

    want = whole(image, model, settings=settings, axes="YX")
    got = labels_of(result)
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype
    assert result.count == (want.max() if settings.output == "objects" else 0)


@pytest.mark.long
@pytest.mark.parametrize("shape", [(40, 65_000), (65_000, 40)])
def test_i19_a_strip_of_65_000_pixels_is_segmented_as_a_whole(
    shape, make_model, pixel_network, stream, whole
):
    model = make_model(pixel_network(2), tile_size=512)
    image = blobs(*shape)

    result = stream(image, model, settings=OBJECTS, axes="YX", options=StreamOptions())

    want = whole(image, model, settings=OBJECTS, axes="YX")
    np.testing.assert_array_equal(labels_of(result), want)
    assert result.count == want.max() > 1000


def test_a_network_that_sees_the_whole_tile_gives_the_same_labels_in_strips(
    make_model, whole_tile_network, stream, whole, monkeypatch
):
    model = make_model(whole_tile_network(), tile_size=64)
    image = blobs(150, 500, seed=1)
    monkeypatch.setattr(stream_plan, "STRIP_BYTES", 64 * 20 * 300)

    result = stream(image, model, settings=OBJECTS, axes="YX")

    np.testing.assert_array_equal(
        labels_of(result), whole(image, model, settings=OBJECTS, axes="YX")
    )
    rows = read_progress(result.folder)["state"]["planes"][0]["rows"]
    assert max(strip for strip, _ in rows) > 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64", "bool"])
def test_brightness_measured_in_bands_is_that_of_the_whole_plane(
    dtype, make_card, pixel_network, stream, whole, monkeypatch
):
    from napari_rwkv_seg.inference.loading import Model

    model = Model(make_card(tile_size=96), pixel_network(), "cpu", Path("fake"))
    image = blobs(140, 150, smooth=2)
    image = image > 0.5 if dtype == "bool" else (image * 200).astype(dtype)
    monkeypatch.setattr(stream_image, "BAND_BYTES", 7 * 150 * image.itemsize)
    monkeypatch.setattr("napari_rwkv_seg.inference.windows.SAMPLE_PIXELS", 3_000)

    result = stream(image, model, axes="YX", settings=OBJECTS)

    np.testing.assert_array_equal(
        labels_of(result), whole(image, model, axes="YX", settings=OBJECTS)
    )


def test_stacks_channels_and_bad_pixels_are_read_as_in_a_whole_run(pixel_model, stream, whole):
    planes = [blobs(70, 90, seed) for seed in range(4)]
    image = np.stack([np.stack(planes[:2]), np.stack(planes[2:])])  # ZCYX
    image[0, 1, 10:20, 30:50] = np.nan
    image[1, 1, 3, 4] = np.inf

    result = stream(image, pixel_model, axes="ZCYX", channel=1, settings=OBJECTS, tile_size=64)

    want = whole(image, pixel_model, axes="ZCYX", channel=1, settings=OBJECTS, tile_size=64)
    np.testing.assert_array_equal(labels_of(result), want)
    assert result.notes == ("200 pixels were not a number (or masked) and became background.",)


def test_an_image_of_colour_is_read_twice_and_never_more_than_a_band_at_once(
    pixel_model, stream, monkeypatch
):
    """I13: what a lazy image is asked for."""
    image = Counting((np.dstack([blobs(400, 130)] * 3) * 255).astype(np.uint8))
    monkeypatch.setattr(stream_image, "BAND_BYTES", 40 * 130 * 3)

    stream(image, pixel_model, axes="YXC", tile_size=64)

    fingerprint = np.zeros((400, 130), dtype=int)
    squares = [slice(start, start + 64) for start in (0, 84, 168, 252, 336)]
    for rows in squares:
        for start in (0, 16, 33, 49, 66):
            fingerprint[rows, start : start + 64] += 1
    assert np.array_equal(image.reads - fingerprint, np.full((400, 130), 2))
    assert image.largest <= 64 * 130 * 3


def test_an_object_across_four_blocks_at_a_corner_is_one(pixel_model, stream):
    image = np.zeros((128, 128), dtype=np.float32)
    image[58:71, 57:72] = 1
    image[63, 63] = 0  # a hole at the corner itself
    image[20, 20] = 1  # too small

    result = stream(image, pixel_model, axes="YX", settings=OBJECTS)

    labels = labels_of(result)
    assert result.count == 1
    assert labels[63, 63] == 1
    assert np.count_nonzero(labels) == 13 * 15


def test_objects_that_touch_across_a_corner_only_are_one_if_they_are_not_split(pixel_model, stream):
    image = np.zeros((128, 128), dtype=np.float32)
    image[60:64, 60:64] = image[64:68, 64:68] = 1
    image[100:102, 60:64] = image[98:100, 64:66] = 1

    result = stream(image, pixel_model, axes="YX", settings=replace(OBJECTS, split=False))

    assert result.count == 2


def test_a_ring_across_many_blocks_is_filled_and_an_open_one_is_not(pixel_model, stream):
    image = np.zeros((200, 300), dtype=np.float32)
    image[20:180, 20:160] = 1
    image[25:175, 25:155] = 0
    image[20:180, 200:] = 1
    image[25:175, 205:] = 0  # open to the border of the image

    result = stream(image, pixel_model, axes="YX", settings=LabelSettings())

    labels = labels_of(result)
    assert labels[100, 90] == 1
    assert labels[100, 250] == 0


def test_an_object_larger_than_the_halo_is_not_cut_along_the_border_of_a_block(pixel_model, stream):
    image = np.zeros((300, 900), dtype=np.float32)
    image[30:270, 40:860] = 1

    result = stream(
        image, pixel_model, axes="YX", settings=OBJECTS, options=StreamOptions(block=256)
    )

    labels = labels_of(result)
    crossings = [labels[31:269, x - 1] != labels[31:269, x] for x in range(256, 860, 256)]
    assert all(np.count_nonzero(crossing) <= 120 for crossing in crossings)
    assert np.count_nonzero(labels) == 240 * 820


def test_a_plane_of_empty_blocks_gives_an_empty_result(pixel_model, stream):
    image = np.zeros((200, 200), dtype=np.float32)
    image[5, 5] = 0.2

    result = stream(image, pixel_model, axes="YX", settings=OBJECTS)

    assert result.count == 0
    assert not labels_of(result).any()


def test_an_image_without_a_finite_pixel_is_refused(pixel_model, stream):
    with pytest.raises(ImageError, match="no finite pixel"):
        stream(np.full((80, 90), np.nan), pixel_model, axes="YX")


def test_levels_show_every_other_pixel_of_the_level_before(pixel_model, stream):
    image = blobs(301, 205)

    result = stream(
        image, pixel_model, axes="YX", settings=OBJECTS, options=StreamOptions(block=32)
    )

    levels = [np.asarray(one) for one in open_levels(result.folder)]
    assert [one.shape for one in levels] == [(301, 205), (151, 103)]
    np.testing.assert_array_equal(levels[1], levels[0][::2, ::2])


def test_a_cancelled_run_goes_on_and_gives_the_same(
    make_model, whole_tile_network, stream, whole, tmp_path
):
    model = make_model(whole_tile_network(), tile_size=64)
    image = blobs(300, 140, seed=2)
    steps = segment_to_store_steps(
        image, model, tmp_path / "store", axes="YX", settings=OBJECTS, options=SMALL
    )
    while not (tmp_path / "store" / "work" / "classes" / "c" / "1").exists():
        next(steps)
    steps.close()
    state = read_progress(tmp_path / "store")["state"]["planes"][0]
    seen = []
    model = replace(model, network=_Watched(model.network, seen))

    result = stream(image, model, axes="YX", settings=OBJECTS)

    assert [0, 0] in state["rows"]
    assert len(seen) < 8 * 4  # less than all of its tiles
    np.testing.assert_array_equal(
        labels_of(result), whole(image, model, axes="YX", settings=OBJECTS)
    )


class _Watched(torch.nn.Module):
    def __init__(self, network, seen):
        super().__init__()
        self.network, self.seen = network, seen

    def forward(self, images):
        self.seen.append(images.shape)
        return self.network(images)


@pytest.mark.parametrize("stage", ["-objects-", "-holes-", "c/1"])
def test_a_run_that_was_cut_off_anywhere_goes_on_with_the_same_result(
    stage, pixel_model, stream, whole, tmp_path
):
    image = blobs(200, 200, seed=5)
    steps = segment_to_store_steps(
        image,
        pixel_model,
        tmp_path / "store",
        axes="YX",
        settings=OBJECTS,
        options=SMALL,
        tile_size=64,
    )
    folder = tmp_path / "store"
    while not any(
        stage in path.as_posix() for path in folder.rglob("*") if "pieces" not in path.parts
    ):
        next(steps)
    next(steps)
    steps.close()

    result = stream(image, pixel_model, axes="YX", settings=OBJECTS, tile_size=64)

    want = whole(image, pixel_model, axes="YX", settings=OBJECTS, tile_size=64)
    np.testing.assert_array_equal(labels_of(result), want)
    assert not (folder / "work" / "facts").exists()


KILLED = """
    import sys, time
    from dataclasses import replace
    from pathlib import Path
    sys.path.insert(0, {here!r})
    import numpy as np
    from conftest import PixelNetwork
    from napari_rwkv_seg.inference.loading import Model
    from napari_rwkv_seg.inference.settings import LabelSettings
    from napari_rwkv_seg.inference.streaming import StreamOptions, segment_to_store_steps
    from napari_rwkv_seg.zoo.card import ClassCard, ModelCard, Normalization

    card = ModelCard(
        name="fake", title="Fake", purpose="Tests", architecture="med_urwkv", variant="T",
        input_channels=3, tile_size=64, license="CC0-1.0", training_data="none",
        classes=[ClassCard(name=f"class {{n}}", color="#102030") for n in range(2)],
        weights_sha256="0" * 64,
        normalization=Normalization(kind="fixed", scale=1.0, mean=[0.0], std=[1.0]),
    )
    model = Model(card=card, network=PixelNetwork(), device="cpu", folder=Path("fake"))
    settings = LabelSettings(output="objects", split_distance=5, smallest_object=6)
    image = np.load({image!r})
    for _ in segment_to_store_steps(
        image, model, Path({store!r}), axes="YX", settings=settings, options=StreamOptions(block=64)
    ):
        sys.stdout.write(".")
        sys.stdout.flush()
        time.sleep(0.01)
"""


def test_a_killed_run_goes_on_and_gives_the_same(pixel_model, stream, whole, tmp_path):
    image = blobs(260, 200, seed=3)
    np.save(tmp_path / "image.npy", image)
    names = {
        "here": str(Path(__file__).parent),
        "image": str(tmp_path / "image.npy"),
        "store": str(tmp_path / "store"),
    }
    code = textwrap.dedent(KILLED).format(**names)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while not (tmp_path / "store" / "work" / "classes" / "c" / "1").exists():
            assert process.stdout.read(1) == b"."
        os.kill(process.pid, signal.SIGKILL)
    state = read_progress(tmp_path / "store")["state"]
    assert not state["complete"]
    card = pixel_model.card.model_copy(update={"tile_size": 64})

    result = stream(image, replace(pixel_model, card=card), axes="YX", settings=OBJECTS)

    want = whole(image, pixel_model, axes="YX", settings=OBJECTS, tile_size=64)
    np.testing.assert_array_equal(labels_of(result), want)
    assert read_progress(result.folder)["state"]["complete"]


def test_a_chunk_that_cannot_be_read_keeps_what_is_done(pixel_model, stream, whole):
    """I14: a dask chunk that raises mid-way."""
    pixels = blobs(256, 128, seed=4)
    broken = [True]

    def load(block, block_info=None):
        place = block_info[0]["chunk-location"]
        if broken[0] and place == (2, 1) and block.shape == (64, 64) and counted(place) > 2:
            raise OSError("the disk is gone")
        return block

    seen: dict[tuple[int, int], int] = {}

    def counted(place):
        seen[place] = seen.get(place, 0) + 1
        return seen[place]

    lazy = da.from_array(pixels, chunks=64).map_blocks(
        load, dtype=np.float32, meta=np.zeros((0, 0), np.float32)
    )
    with pytest.raises(ImageError, match=r"cannot be read at rows .*the disk is gone.*run again"):
        stream(lazy, pixel_model, axes="YX", settings=OBJECTS, tile_size=64)
    broken[0] = False

    result = stream(lazy, pixel_model, axes="YX", settings=OBJECTS, tile_size=64)

    np.testing.assert_array_equal(
        labels_of(result), whole(pixels, pixel_model, axes="YX", settings=OBJECTS, tile_size=64)
    )


def test_a_store_of_another_run_is_refused_and_begun_anew_by_wish(pixel_model, stream, whole):
    image, other = blobs(100, 100), blobs(100, 100, seed=9)
    stream(image, pixel_model, axes="YX", settings=OBJECTS)

    with pytest.raises(RunError, match="another run; different: image"):
        stream(other, pixel_model, axes="YX", settings=OBJECTS)
    options = replace(SMALL, begin_anew=True)
    result = stream(other, pixel_model, axes="YX", settings=OBJECTS, options=options)

    np.testing.assert_array_equal(
        labels_of(result), whole(other, pixel_model, axes="YX", settings=OBJECTS)
    )


def test_labels_made_anew_do_not_run_the_network_again(pixel_model, stream, whole):
    image, more = blobs(100, 130), replace(OBJECTS, smallest_object=50)
    stream(image, pixel_model, axes="YX", settings=OBJECTS)
    runs = len(pixel_model.network.sizes)
    options = replace(SMALL, begin_anew=True)

    result = stream(image, pixel_model, axes="YX", settings=more, options=options)

    assert len(pixel_model.network.sizes) == runs
    np.testing.assert_array_equal(
        labels_of(result), whole(image, pixel_model, axes="YX", settings=more)
    )


def test_a_folder_that_is_no_store_is_never_touched(pixel_model, stream, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").touch()

    with pytest.raises(RunError, match="Choose another folder"):
        stream(blobs(70, 70), pixel_model, axes="YX", options=replace(SMALL, begin_anew=True))

    assert [one.name for one in (tmp_path / "store").iterdir()] == ["thesis.txt"]


def test_a_damaged_progress_file_is_told(pixel_model, stream):
    image = blobs(90, 90)
    result = stream(image, pixel_model, axes="YX", settings=OBJECTS)
    progress = read_progress(result.folder)
    progress["state"] = {"tile_size": 3}
    (result.folder / "progress.json").write_text(json.dumps(progress))

    with pytest.raises(RunError, match="damaged"):
        stream(image, pixel_model, axes="YX", settings=OBJECTS)


def test_folders_are_numbered_by_wish(pixel_model, stream):
    options = replace(SMALL, is_numbered=True)

    first = stream(blobs(90, 90), pixel_model, "a.ome.zarr", options=options, axes="YX")
    second = stream(blobs(90, 90, 1), pixel_model, "a.ome.zarr", options=options, axes="YX")
    again = stream(blobs(90, 90, 1), pixel_model, "a.ome.zarr", options=options, axes="YX")

    assert [one.folder.name for one in (first, second, again)] == [
        "a.ome.zarr",
        "a-2.ome.zarr",
        "a-2.ome.zarr",
    ]


def test_a_store_that_another_process_fills_is_refused(pixel_model, stream, drain, tmp_path):
    image = blobs(90, 90)
    first = segment_to_store_steps(
        image, pixel_model, tmp_path / "store", axes="YX", settings=OBJECTS, options=SMALL
    )
    while next(first).total == 0:
        pass

    with pytest.raises(RunError, match=f"filled by process {os.getpid()}"):
        stream(image, pixel_model, axes="YX", settings=OBJECTS)
    drain(first)

    assert stream(image, pixel_model, axes="YX", settings=OBJECTS).count > 0
    assert not (tmp_path / "store" / "in_use.json").exists()


def test_a_complete_store_is_returned_without_any_work(pixel_model, stream):
    image = blobs(90, 90)
    first = stream(image, pixel_model, axes="YX", settings=OBJECTS)
    runs = len(pixel_model.network.sizes)

    again = stream(image, pixel_model, axes="YX", settings=OBJECTS)

    assert len(pixel_model.network.sizes) == runs
    assert again.provenance == first.provenance


def test_without_zarr_one_sentence_says_what_to_install(pixel_model, stream, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)

    with pytest.raises(OutputError, match=r"napari-rwkv-seg\[zarr\]"):
        stream(blobs(70, 70), pixel_model, axes="YX")


def test_smaller_tiles_are_tried_when_memory_runs_out(
    make_model, greedy_network, stream, whole, pixel_model
):
    model = make_model(greedy_network(130, torch.OutOfMemoryError, ""), tile_size=256)
    image = blobs(300, 280)

    result = stream(image, model, axes="YX", settings=OBJECTS)

    np.testing.assert_array_equal(
        labels_of(result), whole(image, pixel_model, axes="YX", settings=OBJECTS, tile_size=128)
    )
    assert result.notes == (
        "Not enough memory for 256-px tiles; ran with 128-px tiles. The result is complete.",
    )


def test_planes_that_others_have_partly_done_are_begun_anew_with_smaller_tiles(
    make_model, greedy_network, stream, whole, pixel_model, monkeypatch
):
    """With tiles of 256 the plane has two strips, with 128 it has one."""
    monkeypatch.setattr(stream_plan, "STRIP_BYTES", 20 * 256 * (2 * 256 + 320))
    model = make_model(greedy_network(256, torch.OutOfMemoryError, ""), tile_size=256)
    image = np.stack([blobs(300, 600), blobs(300, 600, seed=1)])

    def elsewhere(work):
        shares = [share for share in work.missing() if share[:2] == (1, 0)]
        for plane, strip, rows in shares:
            yield work.take(plane, strip, work.run_rows(plane, strip, rows))
        model.network.limit = 130

    result = stream(image, model, axes="ZYX", elsewhere=elsewhere)

    np.testing.assert_array_equal(labels_of(result), whole(image, pixel_model, axes="ZYX"))
    assert "ran with 128-px tiles" in result.notes[0]


def test_the_affine_of_a_medical_image_is_kept_at_every_level(pixel_model, stream):
    affine = ((-1.5, 0.0, 0.5, 90.0), (0.0, -1.5, 0.0, 126.0), (0.0, 0.0, 3.0, -72.0))
    place = Geometry(
        "ZYX", (3.0, 1.5, 1.5), ("millimeter",) * 3, (0.0,) * 3, (*affine, (0, 0, 0, 1.0)), "RAS"
    )
    image = np.stack([blobs(100, 90)] * 2)

    result = stream(image, pixel_model, axes="ZYX", options=StreamOptions(place, block=32))

    fine, coarse = (read_image(result.folder, level=level).geometry for level in (0, 1))
    assert fine == place
    assert coarse.spacing == (3, 3, 3)
    steps = np.diag([2, 2, 1, 1])  # every other pixel along X and Y, from the first on
    np.testing.assert_array_equal(coarse.affine_in("RAS"), np.array(place.affine) @ steps)


def test_the_store_is_an_ome_zarr_labels_image_that_others_read(pixel_model, stream):
    reader = pytest.importorskip("napari_ome_zarr")
    place = Geometry("YX", (0.5, 0.25), ("micrometer",) * 2, (3.0, 4.0))
    options = StreamOptions(place, block=32)

    result = stream(blobs(200, 201), pixel_model, axes="YX", settings=OBJECTS, options=options)

    attributes = json.loads((result.folder / "zarr.json").read_text())["attributes"]["ome"]
    first, second = attributes["multiscales"][0]["datasets"][:2]
    assert first["coordinateTransformations"][0]["scale"] == [0.5, 0.25]
    assert second["coordinateTransformations"][0]["scale"] == [1.0, 0.5]
    found = reader.napari_get_reader(str(result.folder))(str(result.folder))
    np.testing.assert_array_equal(np.asarray(found[0][0][0]), labels_of(result))


def test_a_block_that_is_no_multiple_of_16_is_refused():
    with pytest.raises(SettingsError, match="multiple of 16"):
        StreamOptions(block=100)

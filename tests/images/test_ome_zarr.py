"""OME-Zarr is opened level by level, and what is written is read by other programs."""

import json
import sys
import warnings

import numpy as np
import pytest
import zarr

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.images import (
    Geometry,
    ImageFile,
    LabelClass,
    levels,
    open_image,
    read_image,
    save_labels,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # they use names of theirs that they deprecate
    import ome_zarr.reader
    import ome_zarr.writer
    from napari_ome_zarr import napari_get_reader
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.io import parse_url


def pixels(*shape, highest=200):
    return np.random.default_rng(0).integers(0, highest, shape).astype(np.uint16)


@pytest.fixture(params=["0.4", "0.5"])
def image(request, tmp_path):
    """Return an image (C, Z, Y, X) that the reference library wrote, and its pixels."""
    data = pixels(2, 3, 64, 80)
    fmt = FormatV04() if request.param == "0.4" else FormatV05()
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=fmt.zarr_format)
    shift = {"type": "translation", "translation": [0, 10.0, 20.0, 30.0]}
    transforms = [
        [{"type": "scale", "scale": [1, 2.0, 0.5 * step, 0.25 * step]}, shift] for step in (1, 2)
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this argument is the only one that takes a translation
        ome_zarr.writer.write_multiscale(
            [data, data[..., ::2, ::2]],
            group,
            axes=[{"name": "c", "type": "channel"}, *axes],
            coordinate_transformations=transforms,
            fmt=fmt,
        )
    return tmp_path / "a.zarr", data


def test_an_image_of_the_reference_library_is_read(image):
    path, data = image

    read = read_image(path)

    assert (read.axes, read.pixel_size, read.is_labels) == ("CZYX", (0.5, 0.25), False)
    assert read.geometry.spacing == (2, 0.5, 0.25)
    assert read.geometry.origin == (10, 20, 30)
    assert read.geometry.units == ("micrometer",) * 3
    np.testing.assert_array_equal(read.data, data)


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_is_opened_without_reading_it(image, level):
    path, data = image
    step = 2**level

    opened = open_image(path, level)

    assert hasattr(opened.data, "dask")
    assert opened.geometry.spacing == (2, 0.5 * step, 0.25 * step)
    part = opened.data[1, 2, 5:20, 7:9].compute()
    np.testing.assert_array_equal(part, data[..., ::step, ::step][1, 2, 5:20, 7:9])


def test_levels_tell_their_shapes_and_spacing(image):
    found = levels(image[0])

    assert [level.shape for level in found] == [(2, 3, 64, 80), (2, 3, 32, 40)]
    assert [level.geometry.spacing[-1] for level in found] == [0.25, 0.5]
    with pytest.raises(UnreadableFileError, match="2 resolution levels; there is no 2"):
        open_image(image[0], 2)


def made_labels():
    labels = np.zeros((3, 600, 700), np.int32)
    labels[1, 100:200, 300:500], labels[2, 599, 699] = 7, 300
    return labels


def source(axes="ZYX"):
    place = Geometry("ZYX", (2.0, 0.5, 0.25), ("micrometer",) * 3, (10.0, 20.0, 30.0))
    return ImageFile(np.zeros((3, 600, 700)), axes, place.pixel_size, None, place)


def test_labels_in_a_new_folder_come_back(tmp_path):
    save_labels(tmp_path / "b.ome.zarr", made_labels(), source(), provenance={"model": "m"})

    again = read_image(tmp_path / "b.ome.zarr")
    assert again.is_labels
    assert again.geometry == source().geometry
    np.testing.assert_array_equal(again.data, made_labels())
    assert [level.shape[1:] for level in levels(tmp_path / "b.ome.zarr")] == [
        (600, 700),
        (300, 350),
        (150, 175),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["b.ome.zarr"]


def test_the_affine_of_a_patient_is_kept_too(tmp_path):
    affine = ((0.25, 0.1, 0, 3.5), (0, 0.5, 0, 1 / 3), (0, 0, 2, -7), (0, 0, 0, 1))
    units, place = ("millimeter",) * 3, (0.0,) * 3
    geometry = Geometry("ZYX", (2.0, 0.5, 0.25), units, place, affine, "LPS")
    image = ImageFile(made_labels(), "ZYX", None, None, geometry)

    save_labels(tmp_path / "b.zarr", made_labels(), image)

    assert read_image(tmp_path / "b.zarr").geometry == geometry
    coarse = open_image(tmp_path / "b.zarr", 1).geometry
    assert coarse.affine[0] == (0.5, 0.2, 0, 3.5)


def test_a_pyramid_of_labels_holds_no_new_numbers(tmp_path):
    save_labels(tmp_path / "b.zarr", made_labels(), source())

    coarse = open_image(tmp_path / "b.zarr", 2)
    np.testing.assert_array_equal(coarse.data.compute(), made_labels()[:, ::4, ::4])
    assert coarse.geometry.origin == source().geometry.origin


def test_the_reference_library_and_napari_ome_zarr_read_labels(tmp_path):
    classes = ["background", LabelClass("nucleus", "#ff8000")]
    save_labels(tmp_path / "b.zarr", np.minimum(made_labels(), 1), source(), classes=classes)
    group = tmp_path / "b.zarr" / "labels" / "labels"

    [(layers, keywords, kind)] = napari_get_reader(str(group))(str(group))
    theirs = next(iter(ome_zarr.reader.Reader(parse_url(str(group)))()))

    assert kind == "labels"
    assert keywords["scale"] == [2.0, 0.5, 0.25]
    assert keywords["axis_labels"] == ("z", "y", "x")
    np.testing.assert_array_equal(layers[0], np.minimum(made_labels(), 1))
    np.testing.assert_array_equal(np.asarray(theirs.data[0]), np.minimum(made_labels(), 1))
    assert theirs.metadata["color"] == {1: [1.0, 128 / 255, 0.0, 1.0]}


def test_labels_are_put_into_their_image(image):
    path, _ = image
    labels = np.zeros((3, 64, 80), np.uint8)
    labels[1, 3:9, 4:8] = 5

    save_labels(path / "labels" / "cells", labels, read_image(path))
    save_labels(path / "labels" / "cells", labels * 2, read_image(path))  # replaces its own
    save_labels(path / "labels" / "others", labels, read_image(path))

    layers = napari_get_reader(str(path))(str(path))
    assert [kind for _, _, kind in layers] == ["image", "labels", "labels"]
    np.testing.assert_array_equal(np.asarray(layers[1][0][0]), labels * 2)
    again = read_image(path / "labels" / "cells")
    assert again.geometry == read_image(path).geometry
    np.testing.assert_array_equal(again.data, labels * 2)


def test_an_image_is_never_replaced_by_labels(image):
    path, data = image

    with pytest.raises(OutputError, match="is there already and does not hold labels alone"):
        save_labels(path, np.ones((3, 64, 80), np.uint8))
    np.testing.assert_array_equal(read_image(path).data, data)


def test_another_folder_is_never_replaced(tmp_path):
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("x")

    with pytest.raises(OutputError, match="is there already"):
        save_labels(tmp_path / "b.zarr", made_labels())
    assert (tmp_path / "b.zarr" / "thesis.txt").exists()


def test_lazy_labels_are_written_piece_by_piece(tmp_path):
    save_labels(tmp_path / "a.zarr", made_labels(), source())
    lazy = open_image(tmp_path / "a.zarr")

    save_labels(tmp_path / "b.zarr", lazy.data, lazy)

    np.testing.assert_array_equal(read_image(tmp_path / "b.zarr").data, made_labels())


def test_several_images_in_a_folder_are_listed(tmp_path, image):
    path, data = image
    outer = tmp_path / "outer.zarr"
    outer.mkdir()
    (outer / ".zgroup").write_text('{"zarr_format": 2}')
    for name in "01":
        (outer / name).symlink_to(path)

    with pytest.raises(UnreadableFileError, match="holds 2 images; choose one of them: 0, 1"):
        read_image(outer)
    np.testing.assert_array_equal(read_image(outer, series="1").data, data)


def edit(path, change):
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


@pytest.fixture
def second(tmp_path):
    """Return a small image in Zarr 2, whose metadata are easily damaged."""
    save_labels(tmp_path / "b.zarr", made_labels(), source())
    return tmp_path / "b.zarr" / "labels" / "labels"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda told: told.update(filters=[{"id": "pickle"}]), "packed with 'pickle'"),
        (lambda told: told.update(compressor={"id": "json2"}), "packed with 'json2'"),
        (lambda told: told.update(dtype="|O"), "no real numbers"),
        (lambda told: told.update(dtype=[["a", "<u1"]]), "no real numbers"),
        (lambda told: told.update(shape=[10**6] * 3), "declares"),
        (lambda told: told.update(shape=[10**6] * 3, chunks=[10**6] * 3), "declares"),
        (lambda told: told.update(shape=[3, 600], chunks=[1, 512]), "has 2 axes"),
    ],
    ids=["pickle", "unknown", "objects", "records", "shape", "chunks", "axes"],
)
def test_what_could_harm_is_refused_before_zarr_opens_it(second, change, reason):
    edit(second / "0" / ".zarray", change)

    with pytest.raises(UnreadableFileError, match=reason):
        read_image(second)


@pytest.mark.parametrize("path", ["../../../a", "/etc", "0/../../x", ""])
def test_an_array_outside_of_the_image_is_refused(second, path):
    edit(second / ".zattrs", lambda told: told["multiscales"][0]["datasets"][0].update(path=path))

    with pytest.raises(UnreadableFileError, match="names an array outside"):
        read_image(second)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(multiscales=[]),
        lambda told: told.update(multiscales=7),
        lambda told: told["multiscales"][0].update(datasets="x"),
        lambda told: told["multiscales"][0].update(axes=[{"name": "q"}] * 3),
        lambda told: told["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=[{"type": "scale", "scale": [0, 1, 1]}]
        ),
        lambda told: told["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=[{"type": "scale", "scale": [1]}]
        ),
    ],
    ids=["none", "number", "text", "axes", "zero", "short"],
)
def test_damaged_metadata_are_unreadable(second, change):
    edit(second / ".zattrs", change)

    with pytest.raises(UnreadableFileError, match="labels"):
        read_image(second)


@pytest.mark.parametrize(
    "content", [b"{", b"[" * 100_000, b"\xff\xfe"], ids=["cut", "deep", "bytes"]
)
def test_metadata_that_are_no_json_are_unreadable(second, content):
    (second / ".zattrs").write_bytes(content)

    with pytest.raises(UnreadableFileError, match="no JSON"):
        read_image(second)


def test_a_damaged_chunk_names_the_image(second):
    chunk = next(path for path in (second / "0" / "1").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:9])

    with pytest.raises(UnreadableFileError, match="labels"):
        open_image(second).data.compute()


def test_without_zarr_one_sentence_says_what_to_install(second, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "zarr", None)
    sentence = r"pip install 'napari-rwkv-seg\[zarr\]'"

    with pytest.raises(UnreadableFileError, match=sentence):
        read_image(second)
    with pytest.raises(OutputError, match=sentence):
        save_labels(tmp_path / "c.zarr", made_labels())


@pytest.fixture
def plate(tmp_path):
    """Return a plate of one well with three fields, of 1, of 2 and of 3."""
    told = {
        "": {"plate": {"wells": [{"path": "A/1"}]}},
        "A/1": {"well": {"images": [{"path": field} for field in "012"]}},
    }
    group = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=2)
    group.attrs.update(told[""])
    well = group.create_group("A/1")
    well.attrs.update(told["A/1"])
    for field in "012":
        one = well.create_group(field)
        one.create_array("0", data=np.full((8, 9), int(field) + 1), chunks=(8, 9))
        axes = [{"name": name, "type": "space"} for name in "yx"]
        steps = [{"type": "scale", "scale": [1, 1]}]
        datasets = [{"path": "0", "coordinateTransformations": steps}]
        one.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return tmp_path / "p.zarr"


def test_every_field_of_a_well_of_a_plate_can_be_chosen(plate):
    with pytest.raises(UnreadableFileError, match=r"3 images; .*: A/1/0, A/1/1, A/1/2"):
        read_image(plate)
    for field in "012":
        for read in (read_image(plate, series=f"A/1/{field}"), read_image(plate / "A/1" / field)):
            assert (read.data == int(field) + 1).all()


@pytest.mark.parametrize("path", ["../../../secret", "/etc", ""])
def test_a_plate_leads_nowhere_outside_of_it(plate, path):
    edit(plate / "A" / "1" / ".zattrs", lambda told: told["well"].update(images=[{"path": path}]))
    with pytest.raises(UnreadableFileError, match="without an OME-Zarr image"):
        read_image(plate)

    edit(plate / ".zattrs", lambda told: told["plate"].update(wells=[{"path": path}]))
    with pytest.raises(UnreadableFileError, match="without an OME-Zarr image"):
        read_image(plate)


@pytest.mark.parametrize("told", [7, {}, {"images": 7}, {"images": [7, {}]}], ids=str)
def test_a_well_that_names_no_field_has_none(plate, told):
    edit(plate / "A" / "1" / ".zattrs", lambda before: before.update(well=told))

    with pytest.raises(UnreadableFileError, match="without an OME-Zarr image"):
        read_image(plate)


def test_other_labels_beside_those_of_a_folder_are_never_replaced(tmp_path):
    labels = np.eye(31, 47, dtype=np.uint8)
    save_labels(tmp_path / "b.zarr", labels)
    save_labels(tmp_path / "b.zarr", labels)  # its own are
    save_labels(tmp_path / "b.zarr" / "labels" / "corrected", labels * 2)

    with pytest.raises(OutputError, match="is there already"):
        save_labels(tmp_path / "b.zarr", labels)
    again = read_image(tmp_path / "b.zarr" / "labels" / "corrected")
    np.testing.assert_array_equal(again.data, labels * 2)

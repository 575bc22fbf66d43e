"""What napari shows lies where nibabel and DICOM say it does, and is saved where it lies."""

import json
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path
from pkgutil import resolve_name

import nibabel
import npe2
import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.images import Geometry, ImageFile, napari_io, read_image, save_labels
from napari_rwkv_seg.images.napari_io import (
    SOURCE_KEY,
    get_reader,
    read_layers,
    write_labels_layer,
)

from .dicom_files import make, save, voxels, write_series

# napari says of oblique volumes that their slices are not exact
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
OBLIQUE = np.array(
    [[-0.7, 0.1, 0.3, 12.5], [0.1, 0.8, -0.2, -33], [0.2, 0.1, 2.5, 7], [0, 0, 0, 1]]
)
LPS = np.diag([-1, -1, 1, 1])


def open_layers(path):
    """Return the layers of a path in a viewer, as a drop on napari makes them."""
    viewer = ViewerModel()
    for data in get_reader(str(path))(str(path)):
        viewer._add_layer_from_data(*data)
    return list(viewer.layers)


def write(layer, path):
    return write_labels_layer(str(path), *layer.as_layer_data_tuple()[:2])


def world_of(layer, value):
    """Return where napari shows the only voxel with a value, in x, y, z."""
    [place] = np.argwhere(np.asarray(layer.data) == value)
    return np.array(layer.data_to_world(place))[::-1][:3]


def turned(order, signs):
    """Return an affine whose voxel axes run along the body's axes in another order."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag([0.5, 0.75, 2.0])[:, list(order)] * signs
    affine[:3, 3] = 10, -20, 30
    return affine


AFFINES = [
    turned(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


@pytest.mark.parametrize("affine", [*AFFINES[::3], OBLIQUE], ids=lambda _: "affine")
def test_a_voxel_of_nifti_is_shown_where_nibabel_has_it(tmp_path, affine):
    data = np.zeros((7, 6, 5), np.int16)
    data[1, 4, 2] = 9
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "a.nii.gz")

    [layer] = open_layers(tmp_path / "a.nii.gz")

    expected = LPS @ nibabel.load(tmp_path / "a.nii.gz").affine @ [1, 4, 2, 1]
    np.testing.assert_allclose(world_of(layer, 9), expected[:3], atol=1e-5)
    assert layer.axis_labels == ("z", "y", "x")
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3


@pytest.mark.parametrize("affine", AFFINES[::5], ids=str)
def test_slices_are_cut_along_the_axes_of_the_world(tmp_path, affine):
    nibabel.save(nibabel.Nifti1Image(voxels(7, 6, 5), affine), tmp_path / "a.nii.gz")

    [layer] = open_layers(tmp_path / "a.nii.gz")

    directions = layer._data_to_world.linear_matrix
    np.testing.assert_allclose(directions, np.diag(np.diag(directions)), atol=1e-9)


def test_a_voxel_of_dicom_is_shown_where_the_series_has_it(tmp_path):
    volume = voxels(4, 6, 7)
    volume[2, 1, 5] = 999
    folder = write_series(tmp_path / "s", volume, order=[3, 1, 0, 2])

    [layer] = open_layers(folder)

    across, down = np.array([0.8, 0.6, 0]), np.array([-0.6, 0.8, 0])
    expected = np.array([-10, 20, 5 + 2.5 * 2]) + 5 * 0.75 * across + 1 * 0.5 * down
    np.testing.assert_allclose(world_of(layer, 999), expected)


def test_every_series_of_a_folder_is_a_layer(tmp_path):
    write_series(tmp_path / "s", voxels(4, 6, 7))
    write_series(tmp_path / "s", voxels(3, 8, 9), series="1.2.3.4.2")

    assert [layer.data.shape for layer in open_layers(tmp_path / "s")] == [(4, 6, 7), (3, 8, 9)]


def test_a_series_that_cannot_be_read_does_not_keep_the_others_from_being_opened(tmp_path):
    write_series(tmp_path / "s", voxels(4, 6, 7))
    for number, rows in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]), 1):  # a localizer
        plane = make(voxels(6, 7), number, series="1.2.3.4.0", ImageOrientationPatient=rows)
        plane.ImagePositionPatient, plane.PixelSpacing = [0, 0, 0], [1, 1]
        save(tmp_path / "s" / f"0_{number}.dcm", plane)

    with pytest.warns(UserWarning, match="The series 's 1' is left out: .*ImageOrientationPatient"):
        [layer] = open_layers(tmp_path / "s")

    assert (layer.name, layer.data.shape) == ("s 2", (4, 6, 7))
    for path in (tmp_path / "s").glob("1_*"):
        path.unlink()
    with pytest.raises(UnreadableFileError, match="ImageOrientationPatient"):
        open_layers(tmp_path / "s")


def labels_with_channels(path, count):
    """Write OME-Zarr labels of two levels with axes c, z, y, x, as bioformats2raw leaves them."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    names = {"c": "channel", "z": "space", "y": "space", "x": "space"}
    datasets = []
    for level in range(2):
        data = np.ones((count, 3, 40 >> level, 60 >> level), np.int32)
        group.create_array(str(level), data=data, chunks=data.shape)
        scale = [1, 2, 0.5 * 2**level, 0.25 * 2**level]
        steps = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    axes = [{"name": name, "type": kind} for name, kind in names.items()]
    told = {"version": "0.4", "axes": axes, "datasets": datasets}
    group.attrs.update({"multiscales": [told], "image-label": {"version": "0.4"}})
    return path


@pytest.mark.filterwarnings("ignore:The labels 'l.zarr' have 7,200 pixels:UserWarning")
def test_labels_with_one_channel_are_opened_without_it_at_every_level(tmp_path, monkeypatch):
    monkeypatch.setattr(napari_io, "_MOST_PAINTED", 0)
    [layer] = open_layers(labels_with_channels(tmp_path / "l.zarr", 1))

    assert isinstance(layer, Labels)
    assert [level.shape for level in layer.data] == [(3, 40, 60), (3, 20, 30)]
    assert tuple(layer.scale) == (2, 0.5, 0.25)


def test_labels_with_several_channels_are_shown_as_an_image_which_says_so(tmp_path):
    layers = open_layers(labels_with_channels(tmp_path / "l.zarr", 2))

    assert [type(layer) for layer in layers] == [Image, Image]
    assert "has 2 channels" in layers[0].metadata[SOURCE_KEY]["notes"][-1]


def test_i27_layers_do_not_name_the_patient(tmp_path):
    write_series(tmp_path / "s", voxels(4, 6, 7))

    [layer] = open_layers(tmp_path / "s")

    assert "Dumbledore" not in repr((layer.name, layer.metadata))


def test_time_of_nifti_is_the_first_axis(tmp_path):
    nifti = nibabel.Nifti1Image(voxels(7, 6, 5, 4), turned((1, 2, 0), (1, -1, 1)))
    nifti.header.set_xyzt_units("mm", "sec")
    nifti.header["pixdim"][4] = 1.5
    nibabel.save(nifti, tmp_path / "a.nii.gz")

    [layer] = open_layers(tmp_path / "a.nii.gz")

    assert layer.data.shape[0] == 4
    assert layer.scale[0] == 1.5
    assert layer.axis_labels == ("t", "z", "y", "x")


def pyramid(tmp_path):
    """Return an OME-Zarr with three levels."""
    place = Geometry("ZYX", (2.0, 0.5, 0.25), ("micrometer",) * 3, (10.0, 20.0, 30.0))
    labels = np.zeros((3, 600, 700), np.int32)
    labels[1, 100:200, 300:500] = 7
    save_labels(tmp_path / "b.ome.zarr", labels, ImageFile(labels, "ZYX", None, None, place))
    return tmp_path / "b.ome.zarr", labels


def test_labels_of_a_pyramid_come_back_to_be_painted_on(tmp_path):
    path, labels = pyramid(tmp_path)

    [layer] = open_layers(path)
    layer.paint((0, 5, 5), 9)

    assert layer.editable
    assert not layer.multiscale
    assert layer.data[0, 5, 5] == 9
    np.testing.assert_array_equal(layer.data[1:], labels[1:])
    np.testing.assert_allclose(layer.data_to_world((1, 100, 300)), (12, 70, 105))


def test_labels_too_large_to_paint_on_are_a_lazy_pyramid_in_its_place(tmp_path, monkeypatch):
    path, labels = pyramid(tmp_path)
    monkeypatch.setattr(napari_io, "_MOST_PAINTED", 4 * labels.size - 1)

    with pytest.warns(UserWarning, match="'b.ome.zarr' have 1,260,000 pixels.*does not paint"):
        [layer] = open_layers(path)

    assert isinstance(layer, Labels)
    assert layer.multiscale
    assert [level.shape for level in layer.data] == [(3, 600, 700), (3, 300, 350), (3, 150, 175)]
    assert all(hasattr(level, "dask") for level in layer.data)
    np.testing.assert_allclose(layer.data_to_world((1, 100, 300)), (12, 70, 105))
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
    np.testing.assert_array_equal(np.asarray(layer.data[0]), labels)


def test_channels_of_ome_zarr_are_layers(tmp_path):
    group = zarr.open_group(str(tmp_path / "c.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=voxels(2, 30, 40), chunks=(1, 30, 40))
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}]
    axes.append({"name": "x", "type": "space"})
    steps = [{"type": "scale", "scale": [1, 0.5, 0.25]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]

    layers = open_layers(tmp_path / "c.zarr")

    assert [layer.name for layer in layers] == ["c 0", "c 1"]
    assert [tuple(layer.scale) for layer in layers] == [(0.5, 0.25)] * 2
    np.testing.assert_array_equal(np.asarray(layers[1].data), voxels(2, 30, 40)[1])


def test_ome_tiff_has_its_spacing_and_units(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", voxels(3, 31, 47), metadata=metadata)

    [layer] = open_layers(tmp_path / "a.ome.tif")

    assert isinstance(layer, Image)
    assert tuple(layer.scale) == (2, 0.5, 0.25)
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
    assert layer.name == "a"


def test_labels_of_our_own_can_be_painted_on(tmp_path):
    save_labels(tmp_path / "a.ome.tif", np.eye(31, 47, dtype=np.uint8))

    [layer] = open_layers(tmp_path / "a.ome.tif")
    layer.fill((0, 5), 3)

    assert isinstance(layer, Labels)
    assert isinstance(layer.data, np.ndarray)
    assert layer.data[0, 5] == 3


@pytest.mark.parametrize("affine", [*AFFINES[::7], OBLIQUE], ids=lambda _: "affine")
def test_labels_on_a_volume_are_saved_as_its_file_has_them(tmp_path, affine):
    nibabel.save(nibabel.Nifti1Image(voxels(7, 6, 5), affine), tmp_path / "a.nii.gz")
    [image] = open_layers(tmp_path / "a.nii.gz")
    drawn = (np.asarray(image.data) > 100).astype(np.int32)
    place = {key: getattr(image, key) for key in ("scale", "translate", "affine", "units")}
    labels = Labels(drawn, metadata={SOURCE_KEY: image.metadata[SOURCE_KEY]}, **place)

    assert write(labels, tmp_path / "b.nii.gz") == [str(tmp_path / "b.nii.gz")]

    before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), voxels(7, 6, 5) > 100)


@pytest.mark.parametrize("affine", [*AFFINES[::7], OBLIQUE], ids=lambda _: "affine")
def test_labels_whose_source_is_not_known_are_saved_where_they_are_shown(tmp_path, affine):
    nibabel.save(nibabel.Nifti1Image(voxels(7, 6, 5), affine), tmp_path / "a.nii.gz")
    [image] = open_layers(tmp_path / "a.nii.gz")
    drawn = np.zeros(image.data.shape, np.int32)
    drawn[2, 1, 3] = 1
    keys = ("scale", "translate", "affine", "units", "axis_labels")
    labels = Labels(drawn, **{key: getattr(image, key) for key in keys})

    write(labels, tmp_path / "b.nii.gz")

    saved = nibabel.load(tmp_path / "b.nii.gz")
    [voxel] = np.argwhere(np.asarray(saved.dataobj) == 1)
    np.testing.assert_allclose(
        (LPS @ saved.affine @ [*voxel, 1])[:3], world_of(labels, 1), rtol=1e-5, atol=1e-5
    )


def test_a_layer_that_was_moved_is_saved_where_it_is_now(tmp_path):
    path, _ = pyramid(tmp_path)
    [layer] = open_layers(path)
    moved = Labels(layer.data, scale=layer.scale, translate=(0, 0, 5))
    moved.metadata, moved.units = layer.metadata, layer.units

    write(moved, tmp_path / "c.ome.tif")

    assert read_image(tmp_path / "c.ome.tif").geometry.origin == (0, 0, 5)


@pytest.mark.parametrize(
    "name",
    ["a.nii", "a.nii.gz", "a.dcm", "a.tif", "A.TIFF", "a.ome.tif", "a_labels.tif", "a_labels.png"],
)
def test_napari_asks_us_for_files_of_these_names(name):
    manager = npe2.PluginManager()
    manager.register(npe2.PluginManifest.from_distribution("napari-rwkv-seg"))

    [reader] = manager.iter_compatible_readers([f"/somewhere/{name}"])

    assert reader.command == "napari-rwkv-seg.read"


def test_labels_of_a_batch_come_back_as_labels_in_their_place(tmp_path):
    image = ImageFile(
        np.zeros((9, 7)),
        "YX",
        None,
        Path("a"),
        Geometry("YX", (0.5, 0.25), ("um", "um"), (0.0, 0.0)),
    )
    save_labels(tmp_path / "a_labels.tif", np.eye(9, 7, dtype=np.uint16), image)

    [layer] = open_layers(tmp_path / "a_labels.tif")

    assert isinstance(layer, Labels)
    np.testing.assert_allclose(layer.scale, (0.5, 0.25))


@pytest.mark.parametrize("ending", ["ome.tif", "nii.gz", "ome.zarr", "json", "png"])
def test_every_writer_is_found_by_the_ending(tmp_path, ending):
    labels = Labels(np.eye(31, 47, dtype=np.int32), scale=(0.5, 0.25), units=("um", "um"))
    manager = npe2.PluginManager()
    manager.register(npe2.PluginManifest.from_distribution("napari-rwkv-seg"))
    _, path = manager.get_writer(str(tmp_path / f"a.{ending}"), ["labels"])

    assert write(labels, path) == [path]
    if ending not in ("json", "png"):
        assert read_image(path).pixel_size == pytest.approx((0.5, 0.25))


CONTRIBUTED = npe2.PluginManifest.from_distribution("napari-rwkv-seg").contributions
KINDS = {
    writer.filename_extensions[0]: resolve_name(str(command.python_name))
    for writer in CONTRIBUTED.writers
    for command in CONTRIBUTED.commands
    if command.id == writer.command
}


@pytest.mark.parametrize("ending", sorted({*KINDS} - {".dcm"}))  # which needs the source series
def test_a_kind_that_is_chosen_adds_its_ending_to_the_name_that_napari_offers(tmp_path, ending):
    layer = Labels(np.eye(31, 47, dtype=np.int32)).as_layer_data_tuple()[:2]
    offered = str(tmp_path / "cells · v1.2")

    assert KINDS[ending](offered, *layer) == [offered + ending]
    before = content(Path(offered + ending))
    with pytest.raises(OutputError, match="exists already; choose another name"):
        KINDS[ending](offered, *layer)
    assert content(Path(offered + ending)) == before
    named = str(tmp_path / "named.ome.tif")  # the name counts, whatever was chosen
    assert KINDS[ending](named, *layer) == [named]


def test_the_kind_dicom_seg_adds_its_ending_too(tmp_path):
    [image] = open_layers(write_series(tmp_path / "s", voxels(4, 6, 7)))
    place = {key: getattr(image, key) for key in ("scale", "translate", "affine", "units")}
    drawn = np.ones(image.data.shape, np.uint8)
    layer = Labels(drawn, metadata=image.metadata, **place).as_layer_data_tuple()[:2]

    assert KINDS[".dcm"](str(tmp_path / "seg"), *layer) == [str(tmp_path / "seg.dcm")]


def content(path):
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [each.read_bytes() for each in files]


def test_dicom_seg_is_written_where_the_series_is_known(tmp_path):
    [image] = open_layers(write_series(tmp_path / "s", voxels(4, 6, 7)))
    drawn = (np.asarray(image.data) > 100).astype(np.int32)
    keys = ("scale", "translate", "affine", "units")
    place = {key: getattr(image, key) for key in keys}
    told = {SOURCE_KEY: image.metadata[SOURCE_KEY]}

    write(Labels(drawn, metadata=told, **place), tmp_path / "seg.dcm")

    [again] = open_layers(tmp_path / "seg.dcm")
    assert isinstance(again, Labels)
    np.testing.assert_array_equal(again.data, drawn)
    np.testing.assert_allclose(again.data_to_world((1, 2, 3)), image.data_to_world((1, 2, 3)))
    with pytest.raises(OutputError, match="not known"):
        write(Labels(drawn, **place), tmp_path / "other.dcm")


def test_the_classes_of_a_layer_are_saved_with_their_names_and_colours(tmp_path):
    colours = {None: "#ffffff", 0: "#00000000", 1: "#ff8000", 2: "#0000ff"}
    labels = Labels(
        np.eye(31, 47, dtype=np.int32) * 3,
        features={"index": [0, 1, 2], "class": ["background", "liver", "spleen"]},
        colormap=DirectLabelColormap(color_dict=colours),
    )

    write(labels, tmp_path / "a.json")
    write(labels, tmp_path / "a.zarr")

    names = [each["name"] for each in json.loads((tmp_path / "a.json").read_text())["categories"]]
    assert names == ["liver", "spleen", "class 3"]
    told = zarr.open_group(str(tmp_path / "a.zarr" / "labels" / "labels"), mode="r").attrs
    assert told["image-label"]["colors"] == [
        {"label-value": 1, "rgba": [255, 128, 0, 255]},
        {"label-value": 2, "rgba": [0, 0, 255, 255]},
    ]


@pytest.mark.parametrize("name", ["a.nii", "a.dcm", "nowhere.nii"])
def test_another_file_is_left_to_other_readers(tmp_path, name):
    (tmp_path / "a.nii").write_bytes(b"some text")
    (tmp_path / "a.dcm").write_bytes(b"")

    assert get_reader(str(tmp_path / name)) is None
    assert get_reader([str(tmp_path / "a.nii"), str(tmp_path / "a.dcm")]) is None
    assert get_reader(str(tmp_path)) is None


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    nibabel.save(nibabel.Nifti1Image(voxels(37, 36, 35), OBLIQUE), tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(content[: len(content) // 2])

    with pytest.raises(UnreadableFileError, match=r"a\.nii\.gz"):
        get_reader(str(tmp_path / "a.nii.gz"))(str(tmp_path / "a.nii.gz"))


def test_the_readers_load_no_window_and_no_library_of_a_format():
    code = "import napari_rwkv_seg.images.napari_io, sys; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"napari", "qtpy", "torch", "nibabel", "pydicom", "highdicom", "zarr"} == set()


def float_labels(path, numbers):
    nifti = nibabel.Nifti1Image(numbers.astype(np.float32), OBLIQUE)
    nifti.header.set_intent("label")
    nibabel.save(nifti, path)
    return path


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_labels_stored_as_floats_are_labels_to_be_painted_on(tmp_path, ending):
    [layer] = open_layers(float_labels(tmp_path / f"a.{ending}", voxels(7, 6, 5) // 40))

    assert isinstance(layer, Labels)
    assert isinstance(layer.data, np.ndarray)
    assert sorted(np.unique(layer.data)) == sorted(np.unique(voxels(7, 6, 5) // 40))


@pytest.mark.parametrize("wrong", [0.5, np.nan, 1e12])
def test_labels_whose_numbers_are_not_whole_are_shown_as_an_image(tmp_path, wrong):
    numbers = np.zeros((7, 6, 5))
    numbers[1, 2, 3] = wrong

    [layer] = open_layers(float_labels(tmp_path / "a.nii", numbers))

    assert isinstance(layer, Image)
    assert "not whole" in layer.metadata[SOURCE_KEY]["notes"][0]


PLACES = {
    "turned": {"rotate": 30},
    "mirrored": {"affine": np.diag([1.0, -1, 1])},
    "sheared": {"shear": [0.5]},
}


@pytest.mark.parametrize("ending", ["ome.tif", "zarr", "nii.gz"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("unit", "opened"), [("mm", "millimeter"), ("pixel", "pixel")])
def test_a_plane_that_is_turned_or_mirrored_is_saved_where_it_lies(
    tmp_path, ending, place, unit, opened
):
    drawn = np.zeros((30, 40), np.uint8)
    drawn[3, 7] = 1
    options = {"scale": (0.5, 0.25), "translate": (20, 30), "units": (unit, unit)}
    labels = Labels(drawn, **options, **PLACES[place])

    write(labels, tmp_path / f"a.{ending}")

    [again] = open_layers(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(world_of(again, 1), world_of(labels, 1), rtol=1e-5)
    if ending != "nii.gz":  # which knows millimetres alone
        assert [str(each) for each in again.units] == [opened] * 2


def test_a_turned_series_keeps_its_place_in_time_too(tmp_path):
    drawn = np.zeros((2, 30, 40), np.uint8)
    drawn[1, 3, 7] = 1
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    options = {"scale": (3, 0.5, 0.25), "translate": (5, 20, 30), "rotate": turn}
    labels = Labels(drawn, axis_labels=("t", "y", "x"), units=("s", "mm", "mm"), **options)

    write(labels, tmp_path / "a.ome.tif")

    [again] = open_layers(tmp_path / "a.ome.tif")
    np.testing.assert_allclose(world_of(again, 1), world_of(labels, 1))


def test_a_plane_of_nifti_is_shown_where_nibabel_has_it_if_it_lies_flat(tmp_path):
    data = np.zeros((7, 6), np.int16)
    data[1, 4] = 9
    flat = np.diag([-0.5, 0.75, 2.0, 1.0])
    flat[:3, 3] = 10, -20, 30
    for name, affine in (("flat", flat), ("upright", flat[[0, 2, 1, 3]])):
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / f"{name}.nii")
    [layer] = open_layers(tmp_path / "flat.nii")
    [upright] = open_layers(tmp_path / "upright.nii")

    expected = LPS @ flat @ [1, 4, 0, 1]
    np.testing.assert_allclose(world_of(layer, 9), expected[:2])
    np.testing.assert_allclose(world_of(upright, 9), [0.5, 3.0])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32])
def test_objects_can_be_added_to_labels_that_are_opened(dtype, tmp_path):
    labels = np.zeros((9, 11), dtype)
    labels[2:5, 2:5] = True
    save_labels(tmp_path / "labels.ome.tif", labels, ImageFile(labels, "YX", None, Path("a.tif")))
    [(data, _, kind)] = read_layers(str(tmp_path / "labels.ome.tif"))
    assert kind == "labels"
    assert data.dtype == np.int32
    np.testing.assert_array_equal(data, labels)

"""Which image labels are put together with, by name, place and unit; without a window."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers._source import layer_source

from napari_rwkv_seg.controllers.finetune_pairs import Checked
from napari_rwkv_seg.errors import ImageError
from napari_rwkv_seg.images.napari_io import read_layers
from napari_rwkv_seg.widgets import streamed_layers
from napari_rwkv_seg.widgets.finetune_layers import LayerPair, find_pairs
from napari_rwkv_seg.widgets.finetune_matching import Fit, check_same_place, fit
from napari_rwkv_seg.widgets.made_of import remember_image
from napari_rwkv_seg.widgets.marks import METADATA_KEY
from napari_rwkv_seg.widgets.placement import place, transform_of
from napari_rwkv_seg.widgets.regions import Region
from napari_rwkv_seg.widgets.streamed_layers import StreamedLayers

VOLUME = np.zeros((8, 20, 30), dtype=np.uint8)
GRID = {"scale": (3, 0.5, 0.5), "translate": (5, 6, 7)}


@pytest.fixture
def model() -> ViewerModel:
    """Return a viewer without a window."""
    return ViewerModel()


def told(**facts: object) -> dict[str, object]:
    """Return the metadata of a result."""
    return {METADATA_KEY: {"settings": {"output": "classes"}, **facts}}


def paired(model: ViewerModel) -> list[tuple[str, str]]:
    """Return the names of the pairs that are found."""
    return [(row.source.image_name, row.source.labels_name) for row in find_pairs(model)]


def test_labels_belong_to_the_volume_at_whose_height_they_lie(model) -> None:
    first = model.add_image(VOLUME, name="T1", **GRID)
    second = model.add_image(VOLUME, name="T2", **{**GRID, "translate": (105, 6, 7)})
    labels = model.add_labels(VOLUME.astype(int), name="tumour", **GRID)

    assert paired(model) == [("T1", "tumour")]
    assert LayerPair(model, first, labels, is_wanted=True).problem == ""
    assert "do not lie where" in LayerPair(model, second, labels, is_wanted=True).problem


@pytest.mark.parametrize(
    ("unit", "scale", "size"),
    [
        ("millimeter", (3, 0.5, 2), 1000),
        ("micrometer", (1, 0.3, 0.3), 0.3),
        ("pixel", (1, 1, 1), None),
    ],
)
def test_a_pair_of_layers_tells_how_large_its_pixels_are(model, unit, scale, size) -> None:
    image = model.add_image(VOLUME, scale=scale, units=(unit,) * 3)
    labels = model.add_labels(VOLUME.astype(int), scale=scale, units=(unit,) * 3)
    planes = LayerPair(model, image, labels).planes(Checked(), copied=False)
    (found,) = {pair.pixel_size_um for pair in planes()}
    assert found is None if size is None else found == pytest.approx(size)


def test_labels_of_a_file_without_a_place_do_not_belong_to_an_image_that_was_turned(
    model, tmp_path
) -> None:
    for name, affine in (("turned", np.eye(4)), ("as it is", np.diag([-1.0, -1, 1, 1]))):
        nibabel.save(nibabel.Nifti1Image(VOLUME.T, affine), tmp_path / f"{name}.nii")
        [layer] = read_layers(str(tmp_path / f"{name}.nii"))
        model._add_layer_from_data(*layer)
    with layer_source(path=str(tmp_path / "mask.tif")):
        labels = model.add_labels(VOLUME.astype(int), name="mask")
    painted = model.add_labels(VOLUME.astype(int), name="painted")
    turned, straight = model.layers["turned"], model.layers["as it is"]

    problem = LayerPair(model, turned, labels, is_wanted=True).problem
    assert "'turned' was turned when it was opened" in problem
    assert LayerPair(model, straight, labels, is_wanted=True).problem == ""
    assert LayerPair(model, turned, painted, is_wanted=True).problem == ""


def test_planes_that_lie_farther_apart_are_another_place(model) -> None:
    model.add_image(VOLUME, name="thick", **GRID)
    model.add_labels(VOLUME.astype(int), **{**GRID, "scale": (1, 0.5, 0.5)})

    assert paired(model) == []


def test_of_channels_the_place_does_not_matter(model) -> None:
    model.add_image(np.zeros((2, 3, 20, 30)), name="zcyx", scale=(3, 9, 0.5, 0.5))
    axes = {"axes": "ZCYX", "layer": "zcyx", "level": 0, "channel": 1}
    grid = {"scale": (3, 0.5, 0.5)}
    model.add_labels(np.zeros((2, 20, 30), dtype=int), name="mine", metadata=told(**axes), **grid)

    (row,) = find_pairs(model)
    assert row.source.fit == Fit("ZCYX", 0, 1)


def test_millimetres_and_micrometres_of_one_place_are_put_together(model) -> None:
    model.add_image(VOLUME[0], name="slide", scale=(0.002, 0.001), units=("mm", "mm"))
    model.add_labels(VOLUME[0].astype(int), name="um", scale=(2, 1), units=("um", "um"))
    model.add_labels(VOLUME[0].astype(int), name="mm", scale=(2, 1), units=("mm", "mm"))

    assert paired(model) == [("slide", "um")]


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_a_turned_volume_and_its_labels_are_put_together(model) -> None:
    affine = np.array([[0, 0, 2, 10], [1, 0, 0, 20], [0, -1, 0, 30], [0, 0, 0, 1]], dtype=float)
    model.add_image(VOLUME, name="turned", affine=affine)
    model.add_labels(VOLUME.astype(int), name="mine", affine=affine)
    affine[0, 3] += 1
    model.add_labels(VOLUME.astype(int), name="moved", affine=affine)

    assert paired(model) == [("turned", "mine")]


@pytest.mark.parametrize("centred", [True, False])
def test_labels_of_a_coarse_level_lie_on_it_by_their_centres_or_corners(model, centred) -> None:
    levels = [np.zeros((64, 80)), np.zeros((16, 20))]
    image = model.add_image(levels, multiscale=True, scale=(0.5, 0.5), translate=(9, 9))
    grid = transform_of(image, 1)
    if not centred:
        grid["translate"] = image.translate
    labels = model.add_labels(np.zeros((16, 20), dtype=int), **grid)

    check_same_place(image, labels, fit(image, labels))
    labels.translate = np.array(grid["translate"]) + 2
    with pytest.raises(ImageError, match="do not lie where"):
        check_same_place(image, labels, fit(image, labels))


def test_what_is_learnt_of_an_image_does_not_change_with_its_name(model) -> None:
    image = model.add_image(np.zeros((3, 20, 30)), name="cells")
    labels = model.add_labels(
        np.zeros((20, 30), dtype=int), metadata=told(layer="cells", axes="CYX", channel=1)
    )
    remember_image(labels, image)

    image.name = "patient 7"

    (row,) = find_pairs(model)
    assert row.source.fit == Fit("CYX", 0, 1)


def test_labels_of_a_file_that_were_put_together_by_name_stay_so_when_it_changes(model) -> None:
    image = model.add_image(np.zeros((40, 20, 30)), name="movie")
    model.add_labels(
        np.zeros((40, 20, 30), dtype=int), metadata=told(layer="movie", axes="TYX", channel=None)
    )
    find_pairs(model)

    image.name = "patient 7"
    model.add_image(np.zeros((40, 20, 30)), name="movie")

    (row,) = find_pairs(model)
    assert (row.source.image, row.source.fit) == (image, Fit("TYX"))


def test_a_copy_of_the_view_of_streamed_labels_is_learnt_from_with_its_part_of_the_image(
    model, monkeypatch
) -> None:
    pixels = np.arange(3 * 40 * 50).reshape(3, 40, 50)
    image = model.add_image(pixels, name="slide", scale=(2, 0.5, 0.5), translate=(7, 8, 9))
    monkeypatch.setattr(streamed_layers, "open_store", lambda _: [np.ones((2, 30, 50), np.int32)])
    region = Region((slice(1, 3), slice(5, 35), slice(0, 50)))
    streamed = StreamedLayers(model)
    streamed.begin(Path("none"), "slide · m", place(image, "ZYX", 0, region), "ZYX")
    streamed._shown[0].layer().metadata = told(layer="slide", axes="ZYX", level=0, store="none")
    model.layers[-1].corner_pixels = np.array([[0, 10, 20], [0, 15, 29]])
    model.dims.set_point(0, 11)
    copied = streamed.copy_view()

    row = next(row for row in find_pairs(model) if row.source.labels is copied)
    (pair,) = row.source.planes(Checked("whole image"), copied=True)()

    np.testing.assert_array_equal(pair.image, pixels[2, 15:21, 20:30])
    assert pair.labels.shape == pair.checked.shape == (6, 10)
    assert row.source.as_written()() == {(0,)}
    copied.data_setitem((np.array([0]), np.array([0]), np.array([0])), 7)
    assert not row.source.as_written()()


def test_a_copy_that_lies_between_pixels_or_sticks_out_belongs_to_no_image(model) -> None:
    model.add_image(np.zeros((40, 50)), name="slide")
    for start in ((10.4, 10), (35, 10), (-1, 10)):
        model.add_labels(
            np.zeros((6, 10), dtype=int), translate=start, metadata=told(layer="slide", axes="YX")
        )

    assert paired(model) == []

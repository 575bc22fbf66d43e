from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_rwkv_seg
from napari_rwkv_seg.errors import EvaluationError, ImageError, SettingsError, UnreadableFileError
from napari_rwkv_seg.evaluation.label_files import FileChoices, match_labels, read_label_pair
from napari_rwkv_seg.evaluation.lengths import Spacing, read_length, spacing_from
from napari_rwkv_seg.evaluation.run import evaluate, read_spacing
from napari_rwkv_seg.images import LabelClass, read_image, save_labels, write_labels
from tests.images.nifti_files import save_stored_as


@pytest.fixture
def truth() -> np.ndarray:
    labels = np.zeros((20, 24), np.uint8)
    labels[3:10, 4:12] = 1
    labels[12:18, 4:12] = 2
    return labels


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    found, true = tmp_path / "found", tmp_path / "true"
    found.mkdir()
    true.mkdir()
    return found, true


def test_two_files_are_compared_in_micrometres_if_they_say_so(tmp_path, truth):
    found = np.roll(truth, 2, axis=0)
    write_labels(tmp_path / "found.tif", found, (0.5, 0.5))
    Image.fromarray(truth).save(tmp_path / "true.png")
    scores = evaluate(tmp_path / "found.tif", tmp_path / "true.png")
    assert [(row.name, row.hd95, row.unit) for row in scores.rows] == [
        ("class 1", 1.0, "µm"),
        ("class 2", 1.0, "µm"),
    ]


def test_results_of_a_folder_are_matched_with_masks_and_the_rest_is_named(folders, truth):
    found, true = folders
    write_labels(found / "a_labels.tif", truth)
    (found / "a_labels.json").write_text("{}")
    write_labels(found / "only.ome.tif", truth)
    Image.fromarray(truth).save(true / "a_mask.png")
    scores = evaluate(found, str(true))
    assert [row.pair for row in scores.rows] == ["a_labels.tif"] * 2
    assert scores.notes == ("1 file has no partner and is left out: only.ome.tif in found.",)
    assert scores.means[0].mean["dice"] == 1


def test_one_bad_file_does_not_stop_the_others_and_is_named(folders, truth):
    found, true = folders
    for name in ("a.tif", "b.tif"):
        write_labels(found / name, truth)
        write_labels(true / name, truth)
    (found / "a.tif").write_bytes(b"<html>404</html>")
    scores = evaluate(found, true)
    assert {row.pair for row in scores.rows} == {"b.tif"}
    [problem] = scores.problems
    assert problem.startswith("a.tif: ")
    assert "web page" in problem


def test_a_single_bad_file_is_an_error(tmp_path, truth):
    write_labels(tmp_path / "a.tif", truth)
    with pytest.raises(UnreadableFileError, match=r"no\.tif"):
        evaluate(tmp_path / "no.tif", tmp_path / "a.tif")


def test_two_files_that_could_be_the_partner_are_refused(folders, truth):
    found, true = folders
    for path in (found / "a.tif", true / "a.png", true / "a_gt.tif"):
        path.touch()
    with pytest.raises(ImageError, match=r"'a\.png' and 'a_gt\.tif'"):
        match_labels(found, true)


def test_folders_without_a_common_name_and_a_folder_with_a_file_are_refused(folders):
    found, true = folders
    (found / "a.tif").touch()
    (true / "b.tif").touch()
    with pytest.raises(EvaluationError, match="name them alike"):
        match_labels(found, true)
    with pytest.raises(EvaluationError, match="two files or two folders"):
        match_labels(found, true / "b.tif")


def test_a_stack_over_time_gives_a_pair_a_frame_and_one_in_depth_a_single_one(tmp_path):
    labels = np.zeros((9, 10, 11), np.uint8)
    labels[2:5, 2:5, 2:5] = 1
    tifffile.imwrite(tmp_path / "t.tif", labels, ome=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "z.tif", labels, ome=True, metadata={"axes": "ZYX"})
    frames, _ = read_label_pair(tmp_path / "t.tif", tmp_path / "t.tif")
    assert [one.name for one in frames][:2] == ["t.tif [0]", "t.tif [1]"]
    assert frames[0].found.shape == (10, 11)
    [body], _ = read_label_pair(tmp_path / "z.tif", tmp_path / "z.tif")
    assert body.found.shape == (9, 10, 11)
    with pytest.raises(EvaluationError, match=r"TYX and .* says ZYX; state them"):
        read_label_pair(tmp_path / "t.tif", tmp_path / "z.tif")
    stated = FileChoices("TYX")
    assert len(read_label_pair(tmp_path / "t.tif", tmp_path / "z.tif", stated)[0]) == 9


def test_where_the_distance_of_planes_is_not_known_that_is_said(tmp_path):
    labels = np.ones((3, 4, 5), np.uint8)
    write_labels(tmp_path / "a.tif", labels, (0.5, 0.5), axes="ZYX")
    [pair], notes = read_label_pair(tmp_path / "a.tif", tmp_path / "a.tif")
    assert pair.spacing.unit == "px"
    assert "how far planes are apart" in notes[0]
    stated = FileChoices(spacing=read_spacing("2 0.5 0.5 µm"))
    [pair], notes = read_label_pair(tmp_path / "a.tif", tmp_path / "a.tif", stated)
    assert (pair.spacing.sizes, notes) == ((2.0, 0.5, 0.5), [])


def write_nifti(path: Path, labels: np.ndarray, affine: np.ndarray) -> Path:
    """Write labels (Z, Y, X)."""
    nibabel.save(nibabel.Nifti1Image(labels.T, affine), path)
    return path


def test_volumes_of_nifti_are_compared_in_millimetres_along_every_axis(tmp_path):
    labels = np.zeros((6, 9, 9), np.uint8)
    labels[2:4, 2:6, 2:6] = 1
    affine = np.diag([1.4, 1.4, 5.0, 1.0])
    true = write_nifti(tmp_path / "true.nii.gz", labels, affine)
    found = write_nifti(tmp_path / "found.nii.gz", np.roll(labels, 1, 0), affine)
    [row] = evaluate(found, true).rows
    assert (row.hd95, row.unit) == (pytest.approx(5.0), "mm")
    assert row.tolerance == pytest.approx(1.4)


def test_volumes_that_lie_elsewhere_or_have_other_voxels_are_refused(tmp_path):
    labels = np.ones((5, 6, 7), np.uint8)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    true = write_nifti(tmp_path / "true.nii", labels, affine)
    moved, turned, larger = affine.copy(), affine.copy(), np.diag([1.0, 1.0, 2.1, 1.0])
    moved[0, 3] = 3
    turned[:2, :2] = [[0, 1], [1, 0]]
    for name, other, said in (
        ("moved", moved, "up to 3 mm apart"),
        ("turned", turned, "5 × 7 × 6 pixels"),
        ("larger", larger, r"2 × 1 × 1 mm"),
    ):
        found = write_nifti(tmp_path / f"{name}.nii", labels, other)
        with pytest.raises(EvaluationError, match=said):
            evaluate(found, true)


@pytest.mark.parametrize("codes", ["LPS", "ASR", "PIR"])
def test_labels_stored_another_way_than_the_truth_agree_at_the_same_place(tmp_path, codes):
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    true = write_nifti(tmp_path / "true.nii", labels, np.diag([1.0, 1.5, 2.0, 1.0]))
    save_stored_as(true, tmp_path / "found.nii", codes)

    rows = evaluate(tmp_path / "found.nii", true).rows

    assert [row.dice for row in rows] == [1, 1]


@pytest.mark.parametrize("placed", ["found", "true"])
def test_labels_without_a_place_lie_pixel_on_pixel_on_those_with_one(tmp_path, placed):
    labels = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    sagittal = np.array([[0, 0, 3.0, 60], [-1, 0, 0, -30], [0, 1, 0, -40], [0, 0, 0, 1]])
    files = [write_nifti(tmp_path / "placed.nii", labels, sagittal), tmp_path / "plain.tif"]
    write_labels(files[1], labels)

    rows = evaluate(*(files if placed == "found" else reversed(files))).rows

    assert [row.dice for row in rows] == [1, 1]
    assert rows[0].unit == "mm"


def test_a_volume_as_tiff_takes_its_place_from_the_truth(tmp_path):
    labels = np.ones((5, 6, 7), np.uint8)
    true = write_nifti(tmp_path / "true.nii", labels, np.diag([1.0, 1.0, 2.0, 1.0]))
    write_labels(tmp_path / "found.tif", labels)
    [row] = evaluate(tmp_path / "found.tif", true).rows
    assert row.unit == "mm"


def test_a_zarr_image_is_a_file_and_not_a_folder_of_files(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    pair = (tmp_path / "a.zarr", tmp_path / "a.zarr")
    assert match_labels(*pair).matched == (pair,)


def test_masks_of_0_and_255_are_class_1_and_that_is_said(tmp_path, truth):
    Image.fromarray((truth > 0).astype(np.uint8) * 255).save(tmp_path / "true.png")
    write_labels(tmp_path / "found.tif", (truth > 0).astype(np.uint8))
    scores = evaluate(tmp_path / "found.tif", tmp_path / "true.png")
    assert [(row.number, row.dice) for row in scores.rows] == [(1, 1.0)]
    assert scores.notes == ("Masks of 0 and 255 were read as 0 and 1.",)


def test_labels_of_another_shape_or_pixel_size_are_refused(tmp_path, truth):
    write_labels(tmp_path / "a.tif", truth, (0.5, 0.5))
    write_labels(tmp_path / "b.tif", truth, (0.6, 0.5))
    write_labels(tmp_path / "c.tif", truth[1:], (0.5, 0.5))
    with pytest.raises(EvaluationError, match=r"0\.5 × 0\.5 µm and those of .* 0\.6 × 0\.5 µm"):
        evaluate(tmp_path / "a.tif", tmp_path / "b.tif")
    with pytest.raises(EvaluationError, match=r"20 × 24 pixels and .* is 19 × 24"):
        evaluate(tmp_path / "a.tif", tmp_path / "c.tif")


def test_jpegs_and_colours_are_no_labels_but_equal_channels_are(tmp_path, truth):
    Image.fromarray(truth).save(tmp_path / "a.jpg")
    colours = np.stack([truth, truth, truth * 0], -1)
    Image.fromarray(colours).save(tmp_path / "b.png")
    Image.fromarray(np.stack([truth] * 3, -1)).save(tmp_path / "c.png")
    with pytest.raises(EvaluationError, match="JPEG"):
        read_label_pair(tmp_path / "a.jpg", tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="colour"):
        read_label_pair(tmp_path / "b.png", tmp_path / "b.png")
    [pair], _ = read_label_pair(tmp_path / "c.png", tmp_path / "c.png")
    assert np.array_equal(pair.found, truth)


def test_arrays_are_compared_by_the_public_face(truth):
    volume = np.stack([truth] * 3)
    scores = napari_rwkv_seg.evaluate(
        np.roll(volume, 1, 0), volume, spacing="5 1 1 mm", tolerance="0.5cm",
        class_names={1: "liver", 2: "tumour"},
    )  # fmt: skip
    assert [(row.name, row.dice, row.tolerance) for row in scores.rows] == [
        ("liver", 1.0, 5.0),
        ("tumour", 1.0, 5.0),
    ]
    frames = napari_rwkv_seg.evaluate(volume, volume, axes="tyx")
    assert len(frames.rows) == 6


def test_arrays_that_do_not_fit_are_refused(truth):
    with pytest.raises(EvaluationError, match="shape"):
        evaluate(truth, truth[1:])
    with pytest.raises(EvaluationError, match="sizes of a pixel are stated"):
        evaluate(truth, truth, spacing=(1, 2, 3))
    with pytest.raises(ImageError, match="2 axes"):
        evaluate(truth, truth, axes="TYX")
    with pytest.raises(SettingsError, match="state it in px"):
        evaluate(truth, truth, tolerance="1mm")


@pytest.mark.parametrize("text", ["", "-1mm", "1 parsec", "1.2.3", "nan", "mm"])
def test_what_is_no_length_is_refused_with_an_example(text):
    with pytest.raises(SettingsError, match=r"such as 1\.5mm"):
        read_length(text)


@pytest.mark.parametrize("text", ["0 1 mm", "1mm 2µm", "1px", "a b"])
def test_what_is_no_size_of_a_pixel_is_refused(text):
    with pytest.raises(SettingsError):
        read_spacing(text)


@pytest.mark.parametrize(
    ("text", "sizes", "unit"),
    [
        ("0.65um", (0.65,), "µm"),
        ("5, 1.4, 1.4 mm", (5, 1.4, 1.4), "mm"),
        ("2 µm", (2,), "µm"),
        ("1 2", (1, 2), "µm"),
    ],
)
def test_sizes_of_pixels_are_read_as_people_write_them(text, sizes, unit):
    assert read_spacing(text) == Spacing(sizes, unit)


def test_units_of_axes_are_brought_to_one_and_unlike_ones_are_not():
    assert spacing_from((0.002, 0.5), ("millimeter", "micrometer")) == Spacing((2, 0.5), "µm")
    assert spacing_from((1, 1), ("pixel", "pixel")).unit == "px"
    assert spacing_from((2, 1), ("pixel", "pixel")).unit == "scale units"
    assert spacing_from((1, 1), ("pixel", "mm")) is None
    assert spacing_from((1, 1), ("second", "second")) is None


def test_a_single_plane_is_compared_as_a_plane_whatever_its_file_calls_it(tmp_path, truth):
    affine, moved = np.diag([1.0, 1.0, 5.0, 1.0]), np.roll(truth, 2, axis=0)
    true = write_nifti(tmp_path / "true.nii", truth[None], affine)
    found = write_nifti(tmp_path / "found.nii", moved[None], affine)
    plane, volume = evaluate(moved, truth), evaluate(moved[None], truth[None])
    stated = evaluate(moved[None], truth[None], spacing="5 1 1 mm")
    for scores in (volume, evaluate(found, true), stated):
        for one, expected in zip(scores.rows, plane.rows, strict=True):
            assert (one.hd95, one.surface_dice) == (expected.hd95, expected.surface_dice)
    frames = napari_rwkv_seg.evaluate(moved[None, None], truth[None, None], axes="TZYX")
    assert frames.rows[0].hd95 == plane.rows[0].hd95


def test_a_single_plane_needs_no_distance_of_planes(tmp_path, truth):
    write_labels(tmp_path / "a.tif", truth[None], (0.5, 0.5), axes="ZYX")
    [pair], notes = read_label_pair(tmp_path / "a.tif", tmp_path / "a.tif")
    assert (pair.spacing.sizes, pair.spacing.unit, notes) == ((0.5, 0.5), "µm", [])


def indexed(path: Path, labels: np.ndarray, colours: list[int]) -> Path:
    picture = Image.fromarray(labels)
    picture.putpalette(colours)
    picture.save(path)
    return path


@pytest.mark.parametrize(
    "colours",
    [[0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 0, 0, 100, 100, 100, 200, 200, 200]],
    ids=["colour", "grey"],
)
def test_a_mask_with_a_palette_is_read_by_its_numbers_and_that_is_said(tmp_path, truth, colours):
    found = indexed(tmp_path / "found.png", truth, colours)
    Image.fromarray(truth).save(tmp_path / "true.png")
    scores = evaluate(found, tmp_path / "true.png")
    assert [(row.number, row.dice) for row in scores.rows] == [(1, 1.0), (2, 1.0)]
    assert scores.notes == ("Of pictures with a palette the numbers behind the colours were read.",)
    assert read_image(found).data.shape == (20, 24, 3)


def test_greys_that_were_numbered_to_save_space_are_read_as_greys(tmp_path, truth):
    mask = (truth > 0).astype(np.uint8)
    found = indexed(tmp_path / "found.png", 1 - mask, [255, 255, 255, 0, 0, 0])
    Image.fromarray(mask).save(tmp_path / "true.png")
    scores = evaluate(found, tmp_path / "true.png")
    assert [(row.number, row.dice) for row in scores.rows] == [(1, 1.0)]


def test_our_own_pictures_keep_their_numbers_whatever_their_colours(tmp_path, truth):
    classes = [
        LabelClass("none", "#ffffff"),
        LabelClass("a", "#808080"),
        LabelClass("b", "#000000"),
    ]
    save_labels(tmp_path / "own.png", truth, classes=classes)
    Image.fromarray(truth).save(tmp_path / "true.png")
    scores = evaluate(tmp_path / "own.png", tmp_path / "true.png")
    assert [(row.number, row.dice) for row in scores.rows] == [(1, 1.0), (2, 1.0)]
    assert scores.notes == ()

"""What a kept copy says of the file of an image comes back, and nothing that is made up does."""

import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from napari_rwkv_seg.controllers.journal_source import plain_source, source_of
from napari_rwkv_seg.images.geometry import flat_geometry
from napari_rwkv_seg.images.napari_io import SOURCE_KEY, read_layers
from tests.images.dicom_files import voxels, write_series

SAGITTAL = np.array([[0, 0, -3.0, 60], [1, 0, 0, -30], [0, 1, 0, -40], [0, 0, 0, 1]])


def told_of(path: Path) -> dict[str, Any]:
    [(_, keywords, _)] = read_layers(str(path))
    told: dict[str, Any] = keywords["metadata"][SOURCE_KEY]
    return {key: told[key] for key in ("path", "axes", "shape", "geometry")}


def written(told: Any) -> dict[str, Any]:
    """Return what is read back of a copy's header."""
    plain: dict[str, Any] = json.loads(json.dumps(plain_source(told), default=str))
    return plain


@pytest.fixture
def nifti(tmp_path: Path) -> dict[str, Any]:
    image = nibabel.Nifti1Image(voxels(7, 6, 5), SAGITTAL)
    image.header["pixdim"][5] = np.nan  # which belongs to no axis, and is kept all the same
    nibabel.save(image, tmp_path / "a.nii.gz")
    return told_of(tmp_path / "a.nii.gz")


def test_the_place_of_a_nifti_file_comes_back_number_by_number(nifti):
    again = source_of(written(nifti))

    assert repr(again) == repr(nifti)  # equal, NaN included
    assert again["geometry"].nifti.shape == (7, 6, 5)
    assert again["geometry"].turn.order == (1, 2, 0)


def test_the_series_of_dicom_comes_back(tmp_path):
    told = told_of(write_series(tmp_path / "s", voxels(4, 6, 7)))

    assert source_of(written(told)) == told
    assert len(told["geometry"].dicom.planes) == 4


def test_the_place_of_a_picture_comes_back():
    geometry = flat_geometry("YX", (0.5, 0.25))
    told = {"path": "a.tif", "axes": "YX", "shape": (37, 53), "geometry": geometry}

    assert source_of(written(told)) == told


@pytest.mark.parametrize("told", [None, 7, {}, {"x": 1}, {"geometry": {"axes": "YX"}}])
def test_a_layer_that_says_nothing_of_a_file_is_kept_without_one(told):
    assert plain_source(told) == {}
    assert source_of({}) == {}


def test_metadata_that_a_user_has_broken_do_not_keep_labels_from_being_kept(nifti):
    for shape in (None, "abc", 7, np.arange(3), object()):
        assert source_of(written(nifti | {"shape": shape})) == {}


LIES: dict[str, tuple[str, Any]] = {
    "axes": ("geometry.axes", "ZYQ"),
    "more axes": ("geometry.axes", "TZYX"),
    "no text": ("geometry.axes", 7),
    "shape": ("shape", [0, 6, 5]),
    "endless shape": ("shape", [float("inf"), 6, 5]),
    "spacing": ("geometry.spacing", [1, 1, -1]),
    "origin": ("geometry.origin", [0, 0, float("nan")]),
    "affine of NaN": ("geometry.affine", [[float("nan")] * 4] * 4),
    "flat affine": ("geometry.affine", [[1, 1, 1, 1]] * 4),
    "huge affine": ("geometry.affine", [[1e200, 0, 0, 0], [0, 1e200, 0, 0]] * 2),
    "half an affine": ("geometry.affine", [[1, 0, 0]] * 4),
    "world": ("geometry.world", "MOON"),
    "no geometry": ("geometry", None),
    "version": ("nifti.version", 3),
    "header's shape": ("nifti.shape", [7, 6, 5, *[1] * 9]),
    "fields": ("nifti.numbers", [["magic", [0]]]),
    "few numbers": ("nifti.numbers.0", ["pixdim", [1, 1]]),
    "code": ("nifti.numbers.10", ["qform_code", [float("nan")]]),
    "large code": ("nifti.numbers.12", ["xyzt_units", [300]]),
    "no header": ("nifti", [1]),
    "no turn": ("turn", [1]),
    "order": ("turn.order", [0, 0, 1]),
    "order of a plane": ("turn", {"order": [1, 0], "mirrored": [True, False]}),
    "mirrors": ("turn.mirrored", [1, 0, 0]),
    "no series": ("dicom", {"planes": [["a.dcm", 0]]}),
    "planes": ("dicom", {"planes": [7], "series_uid": "", "study_uid": ""}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_source_that_is_made_up_is_left_out(nifti, lie):
    plain = written(nifti)
    where, value = LIES[lie]
    inner: Any = deepcopy(plain)
    lying = inner
    *way, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for part in way:
        inner = inner[part]
    inner[last] = value
    assert repr(lying) != repr(plain)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert source_of(lying) == {}
    assert source_of(plain)

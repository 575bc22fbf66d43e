"""Whatever a file is damaged by, it gives an image or one sentence, and little memory is taken."""

import gzip
import io
import os
import shutil
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
import tifffile

from napari_rwkv_seg.errors import OutputError, UnreadableFileError
from napari_rwkv_seg.images import levels, open_image, read_image, save_labels
from napari_rwkv_seg.images.napari_io import get_reader

from .dicom_files import make, save, voxels, write_enhanced, write_series

LIMIT = 2_000_000  # bytes of pixels that a damaged file may claim
MEMORY = 64_000_000  # bytes, at the worst moment
MUTANTS = 60


def nifti(folder):
    nibabel.save(nibabel.Nifti1Image(voxels(7, 6, 5), np.eye(4)), folder / "a.nii")
    return folder / "a.nii"


def packed_nifti(folder):
    (folder / "a.nii.gz").write_bytes(gzip.compress(nifti(folder).read_bytes(), mtime=0))
    return folder / "a.nii.gz"


def dicom(folder):
    return save(folder / "a.dcm", make(voxels(6, 7)))


def enhanced_dicom(folder):
    return write_enhanced(folder / "a.dcm", voxels(3, 6, 7))


def seg(folder):
    image = read_image(write_series(folder / "s", voxels(3, 6, 7)))
    save_labels(folder / "seg.dcm", voxels(3, 6, 7) % 3, image)
    return folder / "seg.dcm"


def ome_tiff(folder):
    save_labels(folder / "a.ome.tif", voxels(3, 31, 47))
    return folder / "a.ome.tif"


def mutants(content, seed):
    """Yield damaged copies: bytes changed, cut short, doubled, or overwritten with 0 or 255."""
    rng = np.random.default_rng(seed)
    for number in range(MUTANTS):
        damaged = bytearray(content)
        if number % 4 == 0:
            del damaged[rng.integers(0, len(damaged)) :]
        elif number % 4 == 1:
            start = rng.integers(0, len(damaged))
            damaged[start : start + 8] = bytes([255 * (number % 8 == 1)]) * 8
        else:
            for place in rng.integers(0, len(damaged), 1 + number % 7):
                damaged[place] ^= 1 << rng.integers(0, 8)
        yield bytes(damaged)


def try_to_read(path):
    """Read a file in every way; return whether it gave an image."""
    try:
        image = read_image(path, limit=LIMIT)
        opened = open_image(path, limit=LIMIT)
        levels(path)
        part = opened.data[(slice(0, 3),) * opened.data.ndim]
        np.asarray(part)
    except UnreadableFileError:
        return False
    assert image.data.nbytes <= LIMIT
    assert len(image.geometry.spacing) == len(image.geometry.axes)
    assert all(np.isfinite(size) and size > 0 for size in image.geometry.spacing)
    return True


@pytest.mark.parametrize("seed_file", [nifti, packed_nifti, dicom, enhanced_dicom, seg, ome_tiff])
def test_i28_damaged_files_give_an_image_or_a_sentence(tmp_path, seed_file):
    path = seed_file(tmp_path)
    content = path.read_bytes()
    assert try_to_read(path)
    tracemalloc.start()
    try:
        for damaged in mutants(content, 1):
            path.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what libraries warn of is told, or does not matter
                try_to_read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("version", [2, 3])
def test_i28_a_damaged_ome_zarr_gives_an_image_or_a_sentence(tmp_path, version):
    save_labels(tmp_path / "a.zarr", voxels(2, 31, 47))
    source = tmp_path / "a.zarr" / "labels" / "labels"
    if version == 3:
        source = third(tmp_path, voxels(2, 31, 47))
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert try_to_read(source)
    for number, name in enumerate(files):
        for damaged in list(mutants((source / name).read_bytes(), number))[:: len(files)]:
            copy = tmp_path / "copy"
            shutil.copytree(source, copy)
            (copy / name).write_bytes(damaged)
            try_to_read(copy)
            shutil.rmtree(copy)


def third(folder, data):
    """Return labels within an image of OME-Zarr 0.5."""
    import zarr

    group = zarr.open_group(str(folder / "c.zarr"), mode="w", zarr_format=3)
    group.create_array("0", data=data, chunks=data.shape)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    steps = [{"type": "scale", "scale": [1, 0.5, 0.25]}]
    told = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [told]}
    save_labels(folder / "c.zarr" / "labels" / "cells", data)
    return folder / "c.zarr" / "labels" / "cells"


def strange_things(folder):
    """Yield paths that are no images, whatever they are called."""
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "page.dcm").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (folder / "folder.zarr").mkdir()
    (folder / "folder.nii").mkdir()
    yield from (folder / name for name in ("empty.nii.gz", "page.dcm", "folder.zarr", "folder.nii"))
    yield folder / "nowhere.nii"
    (folder / "loop.zarr").symlink_to(folder / "loop.zarr")
    (folder / "broken.dcm").symlink_to(folder / "gone")
    yield from (folder / "loop.zarr", folder / "broken.dcm")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.nii")
        yield folder / "pipe.nii"
        inner = folder / "with a pipe"
        inner.mkdir()
        os.mkfifo(inner / "pipe.dcm")
        yield inner


def test_i29_what_is_no_image_is_refused_whatever_its_name(tmp_path):
    for path in strange_things(tmp_path):
        with pytest.raises(UnreadableFileError):
            read_image(path)
        assert get_reader(str(path)) is None


def test_i29_the_content_counts_and_not_the_name(tmp_path):
    for number, made in enumerate((nifti, packed_nifti, dicom, ome_tiff)):
        shutil.move(made(tmp_path), tmp_path / f"{number}.png")
        assert read_image(tmp_path / f"{number}.png").data.ndim >= 2


@pytest.mark.parametrize(
    "name",
    ["é", "e\u0301", "\N{GRINNING FACE}", "a\u202eb", "a\nb", "%s {0}", "'\"", "x" * 200],
    ids=ascii,
)
@pytest.mark.parametrize("ending", ["ome.tif", "nii.gz", "zarr", "json", "png"])
def test_i30_any_name_is_written_and_read(tmp_path, name, ending):
    path = tmp_path / f"{name}.{ending}"

    save_labels(path, np.eye(9, 7, dtype=np.uint8))

    assert [each.name for each in tmp_path.iterdir() if each.name != "user data"] == [path.name]
    if ending != "json":
        np.testing.assert_array_equal(read_image(path).data, np.eye(9, 7))


def test_i30_a_name_of_labels_does_not_leave_its_image(tmp_path):
    third(tmp_path, voxels(2, 31, 47))
    with pytest.raises(OutputError, match="cannot name labels"):
        save_labels(tmp_path / "c.zarr" / "labels" / "..", np.eye(9, 7, dtype=np.uint8))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who is refused")
def test_l15_a_folder_that_may_not_be_written_to_is_told(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    for ending in ("ome.tif", "nii.gz", "zarr", "json", "png"):
        with pytest.raises(OutputError, match="Permission denied"):
            save_labels(folder / f"a.{ending}", np.eye(9, 7, dtype=np.uint8))


@pytest.mark.parametrize("ending", ["ome.tif", "nii.gz", "json", "png", "zarr"])
def test_l15_labels_that_were_there_are_replaced_whole(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    for labels in (np.eye(9, 7, dtype=np.uint8), np.eye(8, 6, dtype=np.uint8)):
        save_labels(path, labels)

    assert [each.name for each in tmp_path.iterdir() if each.name != "user data"] == [path.name]
    if ending != "json":
        assert read_image(path).data.shape == (8, 6)


def test_i22_a_tiff_bomb_in_one_strip_is_not_unpacked_lazily(tmp_path):
    file = io.BytesIO()
    data = np.zeros((3000, 4000), np.uint8)
    tifffile.imwrite(file, data, compression="zlib", rowsperstrip=3000)
    (tmp_path / "a.tif").write_bytes(file.getvalue())

    with pytest.raises(UnreadableFileError, match="declares"):
        open_image(tmp_path / "a.tif", limit=1_000_000)

"""The kinds of images that are fuzzed, each read whole, in pieces, and for its levels."""

import gzip
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
import zarr
from dicom_files import make, save, voxels, write_enhanced, write_series  # of tests/images
from numcodecs import Blosc
from PIL import Image
from pydicom.uid import RLELossless
from target import Target, put

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.images import levels, open_image, read_image, save_labels

PIXELS_LIMIT = 10**7


def look(path: Path) -> None:
    """Read an image in every way; raise our error if one of them was refused."""
    refused = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries: what follows a warning is tried too
        for way in (whole, a_piece, levels):
            try:
                way(path)
            except RwkvSegError as error:
                refused = error
    if refused is not None:
        raise refused


def whole(path: Path) -> None:
    image = read_image(path, limit=PIXELS_LIMIT)
    if image.data.nbytes > PIXELS_LIMIT or image.data.ndim != len(image.axes):
        raise ValueError(f"not what was asked for: {image.data.shape} {image.data.dtype}")
    place = image.geometry
    if not all(np.isfinite(size) and size > 0 for size in place.spacing):
        raise ValueError(f"no size of a pixel: {place.spacing}")


def a_piece(path: Path) -> None:
    data = open_image(path, limit=PIXELS_LIMIT).data
    np.asarray(data[(slice(0, 3),) * data.ndim])


def reading(name: str) -> Callable[[bytes, Path], None]:
    return lambda content, folder: look(put(folder, name, content))


def tiffs(_: Path) -> list[bytes]:
    pixels = voxels(2, 3, 17, 23, dtype=np.uint16)
    choices: list[tuple[np.ndarray, dict[str, object]]] = [
        (pixels[0, 0], {}),
        (pixels[0, 0], {"compression": "zlib", "tile": (16, 16)}),
        (pixels, {"ome": True, "metadata": {"axes": "TCYX"}}),
        (pixels[0], {"imagej": True}),
        (pixels[0, 0].astype(np.float32), {"bigtiff": True, "predictor": None}),
        (np.moveaxis(pixels[0], 0, -1).astype(np.uint8), {"photometric": "rgb"}),
    ]
    made = []
    for data, options in choices:
        file = io.BytesIO()
        options.setdefault("photometric", "minisblack")
        tifffile.imwrite(file, data, **options)
        made.append(file.getvalue())
    return made


def pictures(_: Path) -> list[bytes]:
    made = []
    for mode, kind in (("L", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("RGB", "JPEG")):
        file = io.BytesIO()
        Image.new(mode, (23, 17), 3).save(file, kind)
        made.append(file.getvalue())
    return made


def niftis(_: Path) -> list[bytes]:
    """Return files of both versions and byte orders: scaled, of a series, of colours, packed."""
    scaled = nibabel.Nifti1Image(voxels(7, 6, 5), np.diag([2.0, 3, 4, 1]))
    scaled.header.set_slope_inter(0.5, -100)
    swapped = nibabel.Nifti2Header(endianness=">")
    swapped.set_data_dtype(">f4")
    series = nibabel.Nifti2Image(voxels(7, 6, 3, 2).astype(">f4"), np.eye(4), swapped)
    colours = np.zeros((7, 6), [(name, "u1") for name in "RGB"])
    made = [each.to_bytes() for each in (scaled, series, nibabel.Nifti1Image(colours, np.eye(4)))]
    return [*made, gzip.compress(made[0], mtime=0)]


def dicoms(folder: Path) -> list[bytes]:
    """Return a plane, a run-length packed one, one of colours, a file of frames, and labels."""
    packed, colours = make(voxels(6, 7)), make(np.zeros((6, 7), np.uint8))
    packed.compress(RLELossless, voxels(6, 7))
    colours.SamplesPerPixel, colours.PlanarConfiguration = 3, 0
    colours.PhotometricInterpretation, colours.PixelData = "RGB", bytes(126)
    files = [
        save(folder / f"{number}.dcm", file)
        for number, file in enumerate((make(voxels(6, 7)), packed, colours))
    ]
    files.append(write_enhanced(folder / "frames.dcm", voxels(3, 6, 7)))
    image = read_image(write_series(folder / "series", voxels(3, 6, 7)))
    save_labels(folder / "labels.dcm", voxels(3, 6, 7) % 3, image)
    return [path.read_bytes() for path in (*files, folder / "labels.dcm")]


def zarr_files(folder: Path) -> dict[str, bytes]:
    """Return the files of small OME-Zarr images, by their places, in three ways of packing."""
    ways: dict[str, tuple[int, dict[str, Any]]] = {
        "blosc": (2, {"compressors": Blosc()}),
        "zstd": (3, {}),
        "shards": (3, {"shards": (2, 16, 16)}),
    }
    for name, (version, options) in ways.items():
        group = zarr.open_group(str(folder / name), mode="w", zarr_format=version)
        group.create_array("0", data=voxels(3, 17, 23), chunks=(1, 16, 8), **options)
        axes = [{"name": letter, "type": "space", "unit": "micrometer"} for letter in "zyx"]
        steps = [{"type": "scale", "scale": [2, 0.5, 0.25]}]
        told = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
        told = {"multiscales": [told | {"version": f"0.{version + 2}"}]}
        group.attrs.update({"ome": told} if version == 3 else told)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for way in ways
        for path in sorted((folder / way).rglob("*"))
        if path.is_file()
    }


def _places(files: dict[str, bytes]) -> list[str]:
    """Return which files are damaged: all that say what the image is, and one chunk of each."""
    told = [place for place in files if place.rpartition("/")[2].startswith((".z", "zarr"))]
    return told + [
        next(p for p in files if p.startswith((f"{w}/0/0", f"{w}/0/c")))
        for w in ("blosc", "zstd", "shards")
    ]


def zarrs(folder: Path) -> list[bytes]:
    """Return a file of an image behind the number of its place."""
    files = zarr_files(folder)
    return [bytes([number]) + files[place] for number, place in enumerate(_places(files))]


def read_a_zarr(content: bytes, folder: Path) -> None:
    """Put a changed file into a good image, and read all of it."""
    if not (folder / "places.json").exists():
        made = folder / "zarr"
        made.mkdir()
        (folder / "places.json").write_text(json.dumps(_places(zarr_files(made))))
    places = json.loads((folder / "places.json").read_text())
    place = places[content[0] % len(places) if content else 0]
    path = folder / "zarr" / place
    whole = path.read_bytes()
    path.write_bytes(content[1:])
    try:
        look(folder / "zarr" / place.partition("/")[0])
    finally:
        path.write_bytes(whole)


IMAGES = {
    "tiff": Target(tiffs, reading("a.tif")),
    "picture": Target(pictures, reading("a.png")),
    "nifti": Target(niftis, reading("a.nii")),
    "dicom": Target(dicoms, reading("a.dcm")),
    "ome-zarr": Target(zarrs, read_a_zarr),
}

"""The bundled real images: where they lie, and as layers for File ▸ Open Sample.

Three CC0 images of nuclei with their masks (origin and citation in
``samples/SOURCE.md``); none of them was seen in the training of the shipped
model. Arrays are (Y, X) or (Y, X, C) in 8 bits, masks (Y, X) in 16 bits with 0
for background and one number a nucleus.
"""

from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import UnreadableFileError

SAMPLES: dict[str, str] = {
    "nuclei_fluorescence": "Nuclei, fluorescence (256 × 256)",
    "nuclei_field": "Nuclei, fluorescence, wide field (520 × 696)",
    "nuclei_stained": "Nuclei, purple stain, RGB (256 × 320)",
}
"""Name of each sample, and its title in the menus."""

_FOLDER = Path(__file__).with_name("samples")

LayerData = tuple[Any, dict[str, Any], str]


def sample_path(name: str) -> Path:
    """Return the image file of a sample.

    Raises
    ------
    UnreadableFileError
        If there is no sample of this name; the message lists those that are there.
    """
    if name not in SAMPLES:
        raise UnreadableFileError(
            f"There is no sample image {name!r}. There are: {', '.join(SAMPLES)}."
        )
    return _FOLDER / f"{name}.png"


def sample_mask_path(name: str) -> Path:
    """Return the mask file of a sample: (Y, X), 0 background, 1…n the nuclei.

    Raises
    ------
    UnreadableFileError
        If there is no sample of this name.
    """
    image = sample_path(name)
    return image.with_name(f"{image.stem}_mask.png")


def sample_layers(name: str) -> list[LayerData]:
    """Return a sample as napari wants it: a list with one image layer.

    Parameters
    ----------
    name : str
        One of `SAMPLES`.

    Returns
    -------
    list of (array, layer keywords, "image")
        The array is (Y, X) or (Y, X, 3) in uint8.
    """
    from .readers import read_image  # decoders load only when they are wanted

    image = read_image(sample_path(name))
    about = {"licence": "CC0 1.0", "origin": "2018 Data Science Bowl, BBBC038v1", "sample": name}
    keywords = {"name": name, "rgb": image.axes.endswith("C"), "metadata": about}
    return [(image.data, keywords, "image")]


def nuclei_fluorescence() -> list[LayerData]:
    """Return the small grey fluorescence image as a layer."""
    return sample_layers("nuclei_fluorescence")


def nuclei_field() -> list[LayerData]:
    """Return the wide grey fluorescence image as a layer."""
    return sample_layers("nuclei_field")


def nuclei_stained() -> list[LayerData]:
    """Return the stained RGB image as a layer."""
    return sample_layers("nuclei_stained")

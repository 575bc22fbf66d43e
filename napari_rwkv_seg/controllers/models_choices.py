"""What can be chosen for a new model, an export and a download; plain values, no torch."""

from collections.abc import Sequence

from napari_rwkv_seg.zoo.card import ClassCard, colored_classes
from napari_rwkv_seg.zoo.encoders import EncoderEntry, list_encoders
from napari_rwkv_seg.zoo.exchange import ENDINGS, SIZE, Format, lacking
from napari_rwkv_seg.zoo.folders import free_name
from napari_rwkv_seg.zoo.manage import all_names
from napari_rwkv_seg.zoo.new_models import MOST_CHANNELS, VARIANTS, serves
from napari_rwkv_seg.zoo.preferences import read_mirror, write_mirror

from .models_rows import ModelRow

__all__ = [
    "ENDINGS",
    "MOST_CHANNELS",
    "SIZE",
    "VARIANTS",
    "ClassCard",
    "Format",
    "colored_classes",
    "lacking",
    "read_mirror",
    "write_mirror",
]

ARCHITECTURES = {"med_urwkv": "Med-URWKV", "rwkv_unet": "RWKV-UNet"}
CHANNELS = {"Grey (1)": 1, "RGB (3)": 3}
FORMATS: dict[Format, str] = {
    "zip": "Model folder as a zip file, for this program",
    "folder": "Model folder as it is, for this program",
    "bioimageio": "bioimage.io package",
    "onnx": "ONNX graph, for images of one size",
    "torch": "torch.export graph, for images of one size",
}
SIZED: tuple[Format, ...] = ("bioimageio", "onnx", "torch")
FIRST_CLASS = ("object", "")


def formats_of(row: ModelRow) -> list[Format]:
    """Return the formats that a row can go out as."""
    return [form for form in FORMATS if row.is_model or form not in SIZED]


def fitting_encoders(architecture: str) -> list[EncoderEntry]:
    """Return the usable encoders that are a part of an architecture."""
    return [
        entry
        for entry in list_encoders()
        if entry.card is not None and serves(entry.card) == architecture
    ]


def suggested_name(architecture: str) -> str:
    """Return a name for a new model that none has yet."""
    return free_name(f"my_{architecture}", all_names())


def listed_classes(pairs: Sequence[tuple[str, str]]) -> list[ClassCard]:
    """Return the classes of these names and colours, after the background."""
    return colored_classes([("background", ""), *pairs])


def split_names(text: str) -> list[str]:
    """Return the names in a text with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]

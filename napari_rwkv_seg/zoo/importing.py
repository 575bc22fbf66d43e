"""From a checkpoint file to a folder of ours: a whole network becomes a model, else an encoder.

What is not known of a foreign file (its licence, what it was trained on) is said
to be unknown, never guessed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_rwkv_seg.errors import OutputError, SettingsError
from napari_rwkv_seg.files import read_bytes

from .card import ClassCard, ModelCard, Normalization, class_cards, plain_text
from .checkpoint_files import MAX_FILE_BYTES
from .checkpoints import Checkpoint, read_checkpoint
from .encoders import EncoderCard, encoders_folder, list_encoders, write_encoder
from .folders import check_name, free_name, is_taken, make_home
from .recognise import TITLES
from .store import list_models, user_folder, write_model
from .transfer import Imported

CITATIONS = {
    "vrwkv": "Duan et al., Vision-RWKV, arXiv 2403.02308",
    "vrwkv_adapter": "Duan et al., Vision-RWKV, arXiv 2403.02308",
    "rwkv_unet": "Jiang et al., RWKV-UNet, arXiv 2501.08458",
    "rwkv_unet_encoder": "Jiang et al., RWKV-UNet, arXiv 2501.08458",
}
UNKNOWN_LICENSE = "unknown: ask those who made the checkpoint"


@dataclass(frozen=True)
class Origin:
    """What is known of a checkpoint besides its numbers."""

    source: str
    license: str = UNKNOWN_LICENSE
    citation: str = ""
    sha256: str = ""


def import_checkpoint(
    path: str | Path,
    *,
    name: str | None = None,
    classes: Sequence[str] = (),
    origin: Origin | None = None,
    overwrite: bool = False,
) -> Imported:
    """Read a checkpoint of the authors, and keep it as a model or as a pretrained encoder.

    Parameters
    ----------
    path : str or Path
        What `load_checkpoint` takes, but for folders.
    name : str, optional
        The new folder's name; None makes one from the file's.
    classes : sequence of str
        Names of the classes of a whole network, with or without the background.
    origin : Origin, optional
        Where the file is from; None tells the file's name only.
    overwrite : bool
        Replace an encoder of that name; models are never replaced.

    Raises
    ------
    SettingsError
        If the name cannot be used, or the classes are of another number.
    OutputError
        If there is a model or encoder of that name, or it cannot be written.
    UnreadableFileError, ModelError
        As `load_checkpoint`.
    """
    path = Path(path)
    if name is not None:
        check_name(name)
    checkpoint = read_checkpoint(path)
    origin = origin or Origin(source=path.name, sha256=_file_digest(path))
    if checkpoint.classes:
        return _keep_model(checkpoint, name or path.stem, classes, origin, is_wish=name is None)
    if classes:
        raise SettingsError(
            f"{str(path)!r} is an encoder, which has no classes; leave the class names out."
        )
    return _keep_encoder(checkpoint, name or path.stem, origin, name is None, overwrite)


def _keep_model(
    checkpoint: Checkpoint, name: str, classes: Sequence[str], origin: Origin, *, is_wish: bool
) -> Imported:
    taken = {entry.name for entry in list_models()}
    if is_wish:
        name = free_name(name, taken)
    elif is_taken(name, taken):
        raise OutputError(f"There is a model {name!r} already; choose another name.")
    title = f"{TITLES[checkpoint.architecture]} {checkpoint.variant}"
    card = ModelCard(
        name=name,
        title=plain_text(f"{name} ({title})", 80),
        purpose=f"Imported from {origin.source}; what it segments is for its authors to say",
        architecture=checkpoint.architecture,
        variant=checkpoint.variant,
        config=checkpoint.config,
        input_channels=checkpoint.in_channels,
        # The authors feed slices scaled to [0, 1] and nothing else.
        normalization=Normalization(mean=[0.0], std=[1.0]),
        classes=_named_classes(classes, checkpoint.classes),
        license=origin.license,
        training_data="unknown: trained elsewhere",
        citation=origin.citation or CITATIONS[checkpoint.architecture],
        parent=plain_text(origin.source, 80),
    )
    folder = make_home(user_folder()) / name
    description = "\n".join([f"Imported from `{origin.source}`.", *checkpoint.notes])
    write_model(folder, checkpoint.network, card, description, half=False)
    return Imported(folder, "model", checkpoint.notes)


def _keep_encoder(
    checkpoint: Checkpoint, name: str, origin: Origin, is_wish: bool, overwrite: bool
) -> Imported:
    taken = {entry.name for entry in list_encoders()}
    if is_wish:
        name = free_name(name, taken)
    card = EncoderCard(
        name=name,
        title=f"{TITLES[checkpoint.architecture]} {checkpoint.variant}",
        architecture=checkpoint.architecture,  # type: ignore[arg-type]  # pydantic checks it
        variant=checkpoint.variant,
        config=checkpoint.config,
        input_channels=checkpoint.in_channels,
        license=origin.license,
        citation=origin.citation or CITATIONS[checkpoint.architecture],
        source=origin.source,
        source_sha256=origin.sha256,
        notes=list(checkpoint.notes),
    )
    make_home(encoders_folder())
    entry = write_encoder(checkpoint.network, card, overwrite=overwrite)
    return Imported(entry.folder, "encoder", checkpoint.notes)


def _named_classes(names: Sequence[str], count: int) -> list[ClassCard]:
    """Return `count` classes; names may be those of all of them, or leave the background out."""
    if not names:
        return class_cards([f"class {index}" for index in range(1, count)])
    if len(names) == count:
        cards = class_cards(["background", *names[1:]])
        return [cards[0].model_copy(update={"name": names[0]}), *cards[1:]]
    if len(names) == count - 1:
        return class_cards(["background", *names])
    raise SettingsError(
        f"The checkpoint has {count} classes, background included, but {len(names)} names were "
        f"given; give {count - 1} (without the background) or {count}."
    )


def _file_digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, MAX_FILE_BYTES)).hexdigest()

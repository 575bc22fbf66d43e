"""The choices of one fine-tuning run, checked when they are made and kept as `run.toml`.

The same file serves a person who writes it by hand, the command, the dock and a
run folder. Knows no torch; paths in it are relative to the file's own folder.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from napari_rwkv_seg.errors import SettingsError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically
from napari_rwkv_seg.zoo.card import ClassCard, plain_text
from napari_rwkv_seg.zoo.store import DEFAULT_MODEL

SETTINGS_LIMIT = 10_000_000  # bytes: some ten thousand pairs
CPU_MINUTES, CUDA_MINUTES = 5.0, 2.0

Labels = Literal["classes", "objects"]
Depth = Literal["auto", "head", "decoder", "everything"]
Orientation = Literal["auto", "any", "fixed"]
Precision = Literal["auto", "float32", "bfloat16"]
_Line = Annotated[str, AfterValidator(lambda text: plain_text(text, 200))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairEntry(_Strict):
    """Where a pair lies: files of an image, its labels, and what of it is checked ("" for all).

    `pixel_size_um` is only needed where the image's file does not tell the size of its pixels.
    """

    name: _Line
    image: str = Field(min_length=1)
    labels: str = Field(min_length=1)
    checked: str = ""
    group: _Line = ""
    pixel_size_um: float | None = Field(default=None, gt=0, le=1e6)


class RunSettings(_Strict):
    """What to train, on what, and for how long.

    Parameters
    ----------
    name : str
        Of the new model: letters, digits, `_`, `.` and `-`.
    model : str
        The model to start from: its name, or its folder.
    labels : "classes" or "objects"
        What the numbers in the labels stand for; with "objects" every number above 0
        is one object of the one foreground class.
    classes : list of ClassCard
        Of the new model, background first; empty for those of `model`.
    minutes : float, optional
        Of the run, with its validations; if not given 5 on a CPU and 2 on a GPU.
    steps : int
        If above 0, the run takes this many optimiser steps instead, however long they last.
    depth : str
        "head", "decoder" or "everything" is trained; "auto" decides by the labelled pixels.
    orientation : "auto", "any" or "fixed"
        Whether objects may lie any way round, so that images are turned and mirrored while the
        model learns; "fixed" where the side tells classes apart, such as left and right; "auto"
        as the model to start from says.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    seed : int
        Of everything random.
    precision : str
        "float32", "bfloat16", or "auto": bfloat16 where the hardware has it.
    pairs : list of PairEntry
        Images with labels.
    output : str
        Folder of the new model; "" for the user's model folder and `name`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    labels: Labels = "classes"
    classes: list[ClassCard] = Field(default=[], max_length=256)
    minutes: float | None = Field(default=None, gt=0, le=7 * 24 * 60, allow_inf_nan=False)
    steps: int = Field(default=0, ge=0, le=10_000_000)
    depth: Depth = "auto"
    orientation: Orientation = "auto"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")
    seed: int = Field(default=42, ge=0, lt=2**31)
    precision: Precision = "auto"
    pairs: list[PairEntry] = Field(default=[], max_length=100_000)
    output: str = ""

    def budget_minutes(self, is_cuda: bool) -> float:
        """Return how many minutes the run may take."""
        return self.minutes or (CUDA_MINUTES if is_cuda else CPU_MINUTES)


def make_settings(**choices: object) -> RunSettings:
    """Return settings of these choices.

    Raises
    ------
    SettingsError
        If one of them is not allowed; the text names the first.
    """
    try:
        return RunSettings.model_validate(choices)
    except ValidationError as error:
        raise SettingsError(f"The run cannot be set up: {_first(error)}.") from error


def read_settings(path: Path) -> RunSettings:
    """Return the settings in a TOML file.

    Raises
    ------
    SettingsError
        If it is missing, no TOML, or says something that is not allowed; the text
        names the file and the first such entry.
    """
    try:
        content = read_bytes(path, SETTINGS_LIMIT).decode("utf-8")
        return RunSettings.model_validate(tomllib.loads(content))
    except UnreadableFileError as error:
        raise SettingsError(str(error)) from error
    except ValidationError as error:
        reason = _first(error)
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested without end
        reason = plain_text(str(error), 300)
    raise SettingsError(f"{str(path)!r} is not a usable run file: {reason}. Correct it.")


def write_settings(path: Path, settings: RunSettings) -> None:
    """Write settings as TOML; the file appears whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    content = settings_toml(settings).encode("utf-8")
    write_atomically(path, lambda file: file.write(content))


def settings_toml(settings: RunSettings) -> str:
    """Return settings as the text of a TOML file."""
    import tomli_w

    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def settled(settings: RunSettings, folder: Path) -> RunSettings:
    """Return settings in which every path is absolute, as read from a file in `folder`.

    A model is taken for a folder only if it is written as a path, or one lies there.
    """
    base = Path(os.path.abspath(folder))
    is_path = any(sign in settings.model for sign in "/\\") or (base / settings.model).is_dir()
    changes: dict[str, object] = {
        "pairs": [_settled_pair(pair, base) for pair in settings.pairs],
        "output": str(base / settings.output) if settings.output else "",
        "model": str(base / settings.model) if is_path else settings.model,
    }
    return settings.model_copy(update=changes)


def _settled_pair(pair: PairEntry, base: Path) -> PairEntry:
    places = {key: getattr(pair, key) for key in ("image", "labels", "checked")}
    absolute = {key: str(base / place) if place else "" for key, place in places.items()}
    return pair.model_copy(update=absolute)


def _first(error: ValidationError) -> str:
    """Return the first thing that is wrong, with its place."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return plain_text(f"{place}: {first['msg']}" if place else first["msg"], 300)

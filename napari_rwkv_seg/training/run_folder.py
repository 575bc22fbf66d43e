"""The folder of a run: all that is needed to begin it, to go on with it, and to repeat it.

It holds `run.toml`, a snapshot of the pairs with the SHA-256 of each file, the
versions of the libraries, and, as the run goes on, its split, events, checkpoints
and result. A run folder appears whole or not at all. Knows no torch.
"""

import contextlib
import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import OutputError, RunError, UnreadableFileError
from napari_rwkv_seg.files import cannot_write, folder_beside, moved, read_bytes, write_atomically
from napari_rwkv_seg.locks import HeldError, held
from napari_rwkv_seg.zoo.store import PACKAGE

from .run_settings import PairEntry, RunSettings, read_settings, write_settings

if TYPE_CHECKING:
    from .pairs import TrainingPair

FILE_LIMIT = 8_000_000_000  # bytes of one file of a snapshot
_JSON_LIMIT = 100_000_000
_LIBRARIES = ("napari-rwkv-seg", "torch", "numpy", "monai", "lightning-fabric", "scipy")


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder."""

    path: Path

    @property
    def settings_file(self) -> Path:
        """The choices of the run."""
        return self.path / "run.toml"

    @property
    def snapshot(self) -> Path:
        """The pairs as they were when the run was made."""
        return self.path / "snapshot"

    @property
    def split(self) -> Path:
        """Which pixels train and which validate, and the same in words."""
        return self.path / "split.json"

    @property
    def events(self) -> Path:
        """What the run told, a JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """All that is needed to go on."""
        return self.path / "checkpoints"

    @property
    def held_out(self) -> Path:
        """Where the new model differs from the old one on pixels that neither was trained on."""
        return self.path / "held_out"

    @property
    def model(self) -> Path:
        """The new model, written at the end."""
        return self.path / "model"

    @property
    def result(self) -> Path:
        """The scores before and after."""
        return self.path / "result.json"

    def settings(self) -> RunSettings:
        """Return the choices of the run.

        Raises
        ------
        RunError
            If this is no run folder.
        SettingsError
            If its `run.toml` cannot be used.
        """
        if not self.settings_file.is_file():
            raise RunError(f"{str(self.path)!r} is not the folder of a run: it holds no run.toml.")
        return read_settings(self.settings_file)

    def read_json(self, path: Path) -> Any:
        """Return what a JSON file of the run holds.

        Raises
        ------
        RunError
            If it cannot be read.
        """
        try:
            return json.loads(read_bytes(path, _JSON_LIMIT))
        except (UnreadableFileError, ValueError) as error:
            raise RunError(f"The run cannot go on: {str(path)!r} is damaged ({error}).") from error

    def write_json(self, path: Path, content: object) -> None:
        """Write a JSON file of the run, whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def runs_folder() -> Path:
    """Return the folder of the user's runs; it need not exist."""
    import platformdirs

    return platformdirs.user_data_path(PACKAGE, appauthor=False) / "runs"


def new_run_path(name: str, home: Path | None = None) -> Path:
    """Return a path for a run that is not taken: `home`/<date>-<name>."""
    stem = f"{datetime.now().astimezone():%Y-%m-%d-%H%M%S}-{name}"
    home = home or runs_folder()
    taken = (home / f"{stem}-{number}" for number in range(2, 1000))
    first = home / stem
    return first if not first.exists() else next(path for path in taken if not path.exists())


def prepare_run(folder: Path, settings: RunSettings, pairs: Sequence["TrainingPair"]) -> RunFolder:
    """Make the folder of a run, with a snapshot of the pairs; it appears whole or not at all.

    Parameters
    ----------
    folder : Path
        The folder to make; the folders above it are made too.
    settings : RunSettings
        The choices; `pairs` in it are replaced by the places in the snapshot.
    pairs : sequence of TrainingPair
        Images with labels, and what of them is checked.

    Raises
    ------
    OutputError
        If the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise OutputError(f"{str(folder)!r} exists already; choose another folder for the run.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = folder_beside(folder)
        try:
            _fill(RunFolder(made), settings, pairs)
            moved(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return RunFolder(folder)


def read_snapshot(run: RunFolder) -> "list[TrainingPair]":
    """Return the pairs of a run.

    Raises
    ------
    RunError
        If a file of the snapshot is missing, or is not what it was when the run was made.
    """
    from .pairs import TrainingPair

    digests = run.read_json(run.snapshot / "files.json")
    if not isinstance(digests, dict):
        raise RunError(f"The run cannot go on: {str(run.snapshot / 'files.json')!r} is damaged.")
    pairs = []
    for entry in run.settings().pairs:
        image = _read_array(run, entry.image, digests)
        labels = _read_array(run, entry.labels, digests)
        checked = _read_array(run, entry.checked, digests) > 0
        pairs.append(
            TrainingPair(entry.name, image, labels, checked, entry.group, entry.pixel_size_um)
        )
    return pairs


@contextlib.contextmanager
def locked(run: RunFolder, wait_s: float = 1.0) -> Iterator[None]:
    """Hold a run against a second process; a process that dies lets go of it by itself.

    Parameters
    ----------
    run : RunFolder
        The run.
    wait_s : float
        How long another's hold is waited for: who lists runs holds each for a moment.

    Raises
    ------
    RunError
        If another process works on the run, or the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(run.path / ".lock", wait_s))
        except HeldError as error:
            raise RunError(
                f"The run {str(run.path)!r} is under way in another process; stop it there first."
            ) from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunError(f"The run {str(run.path)!r} cannot be written: {reason}.") from error
        yield


def _fill(run: RunFolder, settings: RunSettings, pairs: Sequence["TrainingPair"]) -> None:
    """Write what a run begins with."""
    for folder in (run.snapshot, run.checkpoints):
        folder.mkdir()
    digests: dict[str, str] = {}
    entries = []
    for number, pair in enumerate(pairs):
        arrays = {"image": pair.image, "labels": pair.labels, "checked": pair.checked}
        places = {}
        for part, array in arrays.items():
            name = f"{number:03d}_{part}.tif"
            digests[name] = _write_array(run.snapshot / name, array)
            places[part] = f"snapshot/{name}"
        size = pair.pixel_size_um
        entries.append(PairEntry(name=pair.name, group=pair.group, pixel_size_um=size, **places))
    run.write_json(run.snapshot / "files.json", digests)
    run.write_json(run.path / "versions.json", _versions())
    write_settings(run.settings_file, settings.model_copy(update={"pairs": entries}))


def _write_array(path: Path, array: NDArray[Any]) -> str:
    """Write an array as a compressed TIFF of its own dtype (bool as uint8); return its SHA-256."""
    import tifffile

    data = np.asarray(array)
    if np.ma.is_masked(array):  # inference takes masked pixels for NaN as well
        data = np.where(np.ma.getmaskarray(array), np.nan, data.astype(np.float64))
    data = data.astype(np.uint8) if data.dtype == bool else data
    made = BytesIO()
    axes = "YXC"[: data.ndim]
    tifffile.imwrite(
        made, data, photometric="minisblack", compression="zlib", metadata={"axes": axes}
    )
    content = made.getvalue()
    write_atomically(path, lambda file: file.write(content))
    return hashlib.sha256(content).hexdigest()


def _read_array(run: RunFolder, place: str, digests: Mapping[str, str]) -> NDArray[Any]:
    """Return an array of the snapshot, from the very bytes whose SHA-256 was compared."""
    import tifffile

    path = run.path / place
    try:
        content = read_bytes(path, FILE_LIMIT)
    except UnreadableFileError as error:
        raise RunError(f"The run cannot go on: {error} Start a new one.") from error
    if hashlib.sha256(content).hexdigest() != digests.get(path.name):
        raise RunError(
            f"The run cannot go on: {str(path)!r} was changed since the run began "
            "(SHA-256 differs). Start a new run with the labels as they are now."
        )
    try:
        return np.asarray(tifffile.imread(BytesIO(content)))
    except Exception as error:  # damaged files raise dozens of types in the decoder
        raise RunError(f"The run cannot go on: {str(path)!r} is damaged.") from error


def _versions() -> dict[str, str]:
    """Return the versions that a run was made with."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for library in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found

"""What the user has set for good, in `settings.toml` in the platform's settings folder."""

import tomllib
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import SettingsError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

from .addresses import check_address
from .folders import make_home
from .store import PACKAGE

_LIMIT = 100_000  # bytes


def settings_file() -> Path:
    """Return where the settings lie; the file need not exist."""
    import platformdirs

    return platformdirs.user_config_path(PACKAGE, appauthor=False) / "settings.toml"


def read_mirror() -> str:
    """Return the address that downloads are taken from instead of the authors'; "" for theirs.

    Raises
    ------
    SettingsError
        If the file of settings cannot be understood.
    """
    mirror = _read().get("mirror", "")
    if not isinstance(mirror, str):
        raise SettingsError(f"The setting 'mirror' in {str(settings_file())!r} is no text.")
    return mirror


def write_mirror(mirror: str) -> None:
    """Keep the address to download from; "" for the authors'.

    Raises
    ------
    DownloadError
        If it is not an address that may be used.
    OutputError
        If the settings cannot be written.
    """
    import tomli_w

    if mirror:
        check_address(mirror)
    settings = {**_read(), "mirror": mirror}
    make_home(settings_file().parent)
    write_atomically(settings_file(), lambda file: file.write(tomli_w.dumps(settings).encode()))


def _read() -> dict[str, Any]:
    path = settings_file()
    if not path.exists():
        return {}
    try:
        return tomllib.loads(read_bytes(path, _LIMIT).decode())
    except (ValueError, UnreadableFileError) as error:
        raise SettingsError(
            f"The settings {str(path)!r} cannot be read: {error}. Correct or remove the file."
        ) from error

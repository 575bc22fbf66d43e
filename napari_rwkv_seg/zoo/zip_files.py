"""Zip files from strangers, opened without reading a directory of whatever length they name."""

import lzma
import struct
import zipfile
import zlib
from typing import BinaryIO

MAX_DIRECTORY_BYTES = 4_000_000

DAMAGED_ZIP = (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, IndexError,
               OverflowError, zlib.error, struct.error, lzma.LZMAError)  # fmt: skip
"""What Python's zip reader raises, also for methods that it does not know."""


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """Return the archive in `file`; one of `DAMAGED_ZIP` is raised if it is none, or too long."""
    return zipfile.ZipFile(_InPieces(file))


class _InPieces:
    """A file that gives no more at once than a directory may have; entries are read in pieces.

    A zip file names its directory's length in several places. Here no reading of
    them can differ from `ZipFile`'s own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int | None = -1) -> bytes:
        most = MAX_DIRECTORY_BYTES + 1
        content = self._file.read(most if size is None or size < 0 else min(size, most))
        if len(content) == most:
            raise zipfile.BadZipFile("it lists too many entries")
        return content

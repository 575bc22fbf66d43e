"""Whether the directories of a TIFF come to an end.

Each names the place of the next. tifffile notices a circle that leads back to the first
one only, and follows any other without end, with ever more memory.
"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from napari_rwkv_seg.errors import UnreadableFileError

if TYPE_CHECKING:
    import tifffile


def check_directories(path: Path, file: "tifffile.TiffFile") -> None:
    """Refuse a file whose directories lead round in a circle.

    Parameters
    ----------
    path : Path
        For the error.
    file : TiffFile
        Just opened.

    Raises
    ------
    UnreadableFileError
        If one directory comes a second time, other than the first.
    """
    layout, handle = file.tiff, file.filehandle
    offset = first = file.pages.first.offset
    seen: set[int] = set()
    while 0 < offset < handle.size:
        if offset in seen:
            raise UnreadableFileError(
                f"{str(path)!r} is damaged: its pages lead round in a circle. Get it again, or "
                "open and save it in another program."
            )
        seen.add(offset)
        handle.seek(offset)
        start = handle.read(layout.tagnosize)
        if len(start) < layout.tagnosize:
            return  # tifffile says what is wrong
        tags = struct.unpack(layout.tagnoformat, start)[0]
        handle.seek(offset + layout.tagnosize + tags * layout.tagsize)
        end = handle.read(layout.offsetsize)
        if len(end) < layout.offsetsize:
            return
        offset = struct.unpack(layout.offsetformat, end)[0]
        if offset == first:
            return  # tifffile ends here as well

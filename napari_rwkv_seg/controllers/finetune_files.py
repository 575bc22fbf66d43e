"""Pairs of files: a folder of images, and the masks that belong to them.

Files are matched by their names here and read by a worker when they are counted
or used. Knows no Qt, no napari and no torch.
"""

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Literal

from napari_rwkv_seg.training.pair_files import match_files, read_pair
from napari_rwkv_seg.training.pairs import TrainingPair

from .finetune_pairs import Checked, Meaning, PairRow, Planes


class FilePair:
    """An image file with its mask; all of it is checked. A `PairSource`.

    Parameters
    ----------
    image, mask : Path
        The files.
    """

    stack: tuple[int, ...] = ()
    means: Meaning | Literal[""] = ""
    made_by = ""
    problem = ""

    def __init__(self, image: Path, mask: Path) -> None:
        self._image, self._mask = image, mask
        self.key: Hashable = (str(image), str(mask))
        self.covers: tuple[Hashable, Hashable] = (str(image), None)
        self.image_name = image.name
        self.labels_name = f"{mask.parent.name}/{mask.name}"

    def planes(self, checked: Checked, *, copied: bool) -> Planes:
        """Return what reads the files; of a stack every plane is a pair of one group."""

        def read() -> Iterator[TrainingPair]:
            return iter(read_pair(self._image, self._mask).pairs)

        return read

    def as_written(self) -> Callable[[], bool]:
        """Return what tells that files are the user's own."""
        return lambda: False


def folder_rows(images: Path, masks: Path) -> tuple[list[PairRow], str]:
    """Return the pairs of two folders (or one), and which files have no partner, in words.

    Raises
    ------
    RwkvSegError
        If no image has a mask, or a folder cannot be read.
    """
    found = match_files(images, masks)
    return [PairRow(FilePair(*pair)) for pair in found.matched], " ".join(found.notes)

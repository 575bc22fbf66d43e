"""Which images a batch is to segment: files, folders and patterns become a list.

A pattern is expanded here, so that it means the same in every shell; `**` stands
for any folders. A folder of DICOM slices and a `.zarr` folder are one image each.
Results of images that were found in a folder lie in the same folders below the
output, so that equal names do not collide.
"""

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_rwkv_seg.errors import OutputError, SettingsError, UnreadableFileError
from napari_rwkv_seg.images.listing import ENDINGS, is_image_folder, stem_of
from napari_rwkv_seg.images.readers import ImageFile


@dataclass(frozen=True)
class BatchItem:
    """One image of a batch.

    Parameters
    ----------
    image : Path
        Where it is; a name alone if `read` is given.
    name : str
        What it is called: the path below the folder that was searched, with "/".
    read : callable, optional
        Returns the image where it is not a file, such as a layer.
    is_found : bool
        Whether it was found by a pattern or in a folder, not named itself.
    """

    image: Path
    name: str
    read: Callable[[], ImageFile] | None = None
    is_found: bool = False

    @property
    def stem(self) -> str:
        """The name without its ending; `.ome.tif` and `.nii.gz` are one ending."""
        return stem_of(self.name)


Wanted = str | Path | BatchItem
Others = Callable[[BatchItem], Sequence[Path]]


def find_items(wanted: Sequence[Wanted], out: Path) -> tuple[list[BatchItem], list[str]]:
    """Return the images that were asked for, each once, and sentences about what was left out.

    Parameters
    ----------
    wanted : sequence of str, Path or BatchItem
        Files, folders, and patterns such as "plates/**/*.tif".
    out : Path
        The folder for results; what lies below it is no image unless it is named itself.

    Raises
    ------
    SettingsError
        If nothing at all is found, or a name is empty.
    """
    items: dict[str, BatchItem] = {}
    notes = []
    for each in wanted:
        if each == "":  # as a path it would mean the folder in which one happens to be
            raise SettingsError("The name of an image is empty; give a file, folder or pattern.")
        found = [each] if isinstance(each, BatchItem) else list(_found(str(each), out))
        for item in found:
            key = item.name if item.read else os.path.realpath(item.image)
            items.setdefault(key, item)
        if not found:
            notes.append(_nothing(str(each)))
    if not items:
        raise SettingsError(" ".join(notes) or "There is no image to segment; name some.")
    return list(items.values()), notes


def part_of(items: Sequence[BatchItem], part: str) -> list[BatchItem]:
    """Return every N-th of the images, beginning with the K-th, for a `part` "K/N".

    Raises
    ------
    SettingsError
        If `part` is not of this form, or K is not one of 1 … N.
    """
    first, _, count = part.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise SettingsError(f"A part is K/N, such as 1/8 for the first of 8 parts, not {part!r}.")
    return list(items[int(first) - 1 :: int(count)])


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and contents in a folder.

    Raises
    ------
    UnreadableFileError
        If it is missing or cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for each in sorted(each for each in path.rglob("*") if each.is_file()):
            with each.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{each.relative_to(path).as_posix()}\0{content}\n".encode())
        return whole.hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(f"Cannot read {str(path)!r}: {reason}.") from error


def check_apart(
    items: Sequence[BatchItem], results: Callable[[BatchItem], Sequence[Path]], others: Others
) -> list[BatchItem]:
    """Return the images but those that are results of others and were not named themselves.

    Parameters
    ----------
    items : sequence of BatchItem
        All images.
    results : callable
        Returns the files that will be written for an image, the labels first.
    others : callable
        Returns the files that other choices would write for it.

    Raises
    ------
    OutputError
        If two images share a result, or a result would replace an image that was named.
    """
    made = {_real(path): item for item in items for path in (*results(item), *others(item))}
    kept = [
        item
        for item in items
        if not item.is_found or made.get(_real(item.image), item).name == item.name
    ]
    images = {_real(item.image) for item in kept if item.read is None}
    owners: dict[str, BatchItem] = {}
    for item in kept:
        labels, *_ = paths = results(item)
        other = owners.setdefault(_real(labels), item)
        if other is not item:
            raise OutputError(
                f"{str(other.image)!r} and {str(item.image)!r} would both be written to "
                f"{labels.name!r}. Rename one, segment them into separate folders, or name "
                "the folder above them, so that folders are kept."
            )
        if any(_real(path) in images for path in paths):
            raise OutputError(
                f"The result of {str(item.image)!r} would replace one of the images. "
                "Choose another folder for the results."
            )
    return kept


_ESCAPED = re.compile(r"\[([*?[])\]")  # a sign that stands for itself in a pattern


def _found(wanted: str, out: Path) -> Iterator[BatchItem]:
    """Yield what one word of the user stands for."""
    path = Path(wanted)
    is_pattern = glob.has_magic(wanted) and not path.exists()
    if is_pattern:
        base = _base(wanted)
        yield from _items(sorted(map(Path, glob.iglob(wanted, recursive=True))), base, out)
    elif path.is_dir() and not is_image_folder(path):
        yield from _items(_walk(path), path, out)
    else:
        yield BatchItem(path, path.name or path.resolve().name)


def _items(paths: Iterable[Path], base: Path, out: Path) -> Iterator[BatchItem]:
    """Yield images below `base`: not what lies in an image folder, nor in the output below it."""
    base_real, out_real = os.path.realpath(base), os.path.realpath(out)
    folders: set[Path] = set()
    for path in paths:
        if folders & set(path.parents):
            continue
        real = os.path.realpath(path)
        if out_real != base_real and _is_below(out_real, base_real) and _is_below(real, out_real):
            continue
        if path.is_dir():
            if not is_image_folder(path):
                continue
            folders.add(path)
        yield BatchItem(path, path.relative_to(base).as_posix(), is_found=True)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield images in a folder and the folders in it, sorted; hidden ones are left alone."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise UnreadableFileError(
            f"Cannot look into {str(folder)!r}: {error.strerror or error}."
        ) from error
    for each in inside:
        if each.name.startswith("."):
            continue
        if each.is_dir():
            if each.is_symlink() and each.resolve() in folder.resolve().parents:
                continue  # it leads round in a circle
            if is_image_folder(each):
                yield each
            else:
                yield from _walk(each)
        elif each.name.lower().endswith(ENDINGS):
            yield each


def _base(pattern: str) -> Path:
    """Return the folder of a pattern before its first sign that stands for others."""
    parts = Path(pattern).parts
    are_plain = [not glob.has_magic(_ESCAPED.sub("", part)) for part in parts[:-1]]
    plain = [*are_plain, False].index(False)
    return Path(*(_ESCAPED.sub(r"\1", part) for part in parts[:plain]))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _real(path: Path) -> str:
    """Return where a path leads, to compare by; macOS and Windows take A.tif and a.tif for one."""
    return os.path.realpath(path).casefold()


def _nothing(wanted: str) -> str:
    """Return the sentence about a word that stands for no image."""
    if Path(wanted).is_dir():
        return f"There is no image in {wanted!r}; images end with {', '.join(ENDINGS)}."
    return f"No file fits the pattern {wanted!r}; look at the folder's name and the ending."

"""What the `segment` command is to do: one job an image, and where its results go."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_rwkv_seg.errors import OutputError

from .speech import say


@dataclass(frozen=True)
class Job:
    """One image, and the folder and name of its results."""

    image: Path
    labels: Path

    @property
    def record(self) -> Path:
        """Where is written how the labels were made."""
        return self.labels.with_suffix(".json")

    @property
    def overlay(self) -> Path:
        """Where a picture of image and labels is written."""
        return self.labels.with_name(self.labels.stem.removesuffix("_labels") + "_overlay.png")

    def is_done(self) -> bool:
        """Tell whether there is a result already, and say so."""
        there = self.labels.exists() or self.labels.is_symlink()
        if there:
            say(
                f"{str(self.image)!r} was left out: {str(self.labels)!r} is there already. "
                "Add --overwrite to replace it."
            )
        return there


def plan_jobs(images: Sequence[Path], folder: Path) -> list[Job]:
    """Return one job an image; its results lie in `folder`.

    Raises
    ------
    OutputError
        If two images share a result, or a result would replace one of the images.
    """
    jobs: dict[str, Job] = {}
    for image in images:
        job = Job(image, folder / f"{_stem(image)}_labels.tif")
        key = job.labels.name.casefold()  # macOS and Windows take A.tif and a.tif for one file
        if key in jobs:
            raise OutputError(
                f"{str(jobs[key].image)!r} and {str(image)!r} would both be written to "
                f"{job.labels.name!r}. Rename one, or segment them into separate folders."
            )
        jobs[key] = job
    inputs = {_real(image) for image in images}
    for job in jobs.values():
        if {_real(job.labels), _real(job.overlay)} & inputs:
            raise OutputError(
                f"The result of {str(job.image)!r} would replace one of the images. "
                "Choose another folder for the results."
            )
    return list(jobs.values())


def prepare_folder(folder: Path) -> None:
    """Make the folder and try to write into it, so that no work is lost at the end.

    Raises
    ------
    OutputError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"Results cannot be written to {str(folder)!r}: {error.strerror or error}. "
            "Choose a folder that you may write to."
        ) from error


def _real(path: Path) -> str:
    """Return where a path leads, to compare by; a link that leads nowhere raises nothing."""
    return os.path.realpath(path).casefold()


def _stem(image: Path) -> str:
    """Return the name without its ending; `.ome.tif` is one ending."""
    return image.stem[:-4] if image.stem.lower().endswith(".ome") else image.stem

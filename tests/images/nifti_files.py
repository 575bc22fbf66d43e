"""NIfTI files of one volume that is stored in different ways, at the same place."""

from pathlib import Path

import nibabel
from nibabel import orientations


def save_stored_as(source: Path, path: Path, codes: str) -> Path:
    """Save a NIfTI file again, its voxels running along other axes, such as LPS for RAS."""
    image = nibabel.load(source)
    here = orientations.io_orientation(image.affine)
    there = orientations.axcodes2ornt(tuple(codes))
    nibabel.save(image.as_reoriented(orientations.ornt_transform(here, there)), path)
    return path

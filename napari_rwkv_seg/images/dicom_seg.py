"""Write labels as DICOM-SEG, which refers to the series that they were drawn on.

Everything that names or describes the patient is left empty: files of ours go to other
people. The identifiers of study, series and frame of reference tie the file to its images.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg import __version__
from napari_rwkv_seg.errors import OutputError, RwkvSegError
from napari_rwkv_seg.files import write_atomically

from .geometry import DicomSeries, Geometry
from .image_file import needed_to_write
from .writers import smallest_dtype

_MOST_SEGMENTS = 255
_MOST_PIXELS = 500_000_000  # of all segments, with planes on which nothing is drawn
_PATIENT = (  # what may be told of a patient beside the images; group 0010 goes as a whole
    *("AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDescription"),
    *("InstitutionName", "InstitutionAddress", "PhysiciansOfRecord", "OperatorsName"),
    *("PerformingPhysicianName", "ReferringPhysicianIdentificationSequence"),
    *("NameOfPhysiciansReadingStudy", "AdmittingDiagnosesDescription", "SeriesDescription"),
    *("ClinicalTrialSubjectID", "RequestAttributesSequence", "StationName"),
)
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")  # wanted, may be empty
_ELSE = "save it as NIfTI (.nii.gz) or OME-TIFF"


def write_seg(
    path: Path,
    labels: NDArray[np.integer[Any]],
    geometry: Geometry,
    names: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write labels as a binary DICOM-SEG.

    Parameters
    ----------
    path : Path
        The file to make or to replace.
    labels : integer array (Z, Y, X) or (Y, X)
        In the order of the series' planes.
    geometry : Geometry
        Of the image as it was read, with the files of its series.
    names : sequence of str
        What 0, 1, 2 … mean; without them every number is an object.
    provenance : mapping, optional
        How the labels were made; the model's name is kept as the algorithm's.

    Raises
    ------
    OutputError
        If the source is no DICOM series or has gone, the labels do not fit it or are too many,
        or the file cannot be written.
    ValueError
        If the labels are not whole numbers from 0 to 2³² - 1.
    """
    highdicom: Any = needed_to_write("highdicom", "dicom", path)
    series = _series(path, labels, geometry)
    data = np.asarray(labels).astype(smallest_dtype(labels), copy=False)
    volume = data.reshape(len(series.planes), *data.shape[-2:])
    segments = _segments(path, volume, names)
    sources, order = _sources(path, series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values in the source against the standard
        try:
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=_numbered(volume[order], segments),
                segmentation_type="BINARY",
                segment_descriptions=_descriptions(segments, dict(provenance or {})),
                series_instance_uid=highdicom.UID(),
                series_number=1000,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="napari-rwkv-seg",
                manufacturer_model_name="napari-rwkv-seg",
                software_versions=__version__,
                device_serial_number="0",
                omit_empty_frames=len(segments) * volume.size > _MOST_PIXELS,
            )
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise OutputError(
                f"The series of {path.name!r} has not what DICOM-SEG needs ({_first(error)}): "
                f"{_ELSE}."
            ) from error
        write_atomically(path, made.save_as)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _series(path: Path, labels: Any, geometry: Geometry) -> DicomSeries:
    """Return the series that labels were drawn on."""
    series = geometry.dicom
    if series is None or not series.planes:
        raise OutputError(
            f"{path.name!r} would be DICOM-SEG, which takes the DICOM series that the labels were "
            f"drawn on, and it is not known: {_ELSE}."
        )
    count = int(np.prod(labels.shape[:-2]))
    if "T" in geometry.axes or count != len(series.planes):
        raise OutputError(
            f"{path.name!r} would be DICOM-SEG of {count} planes, but the series is not a volume "
            f"of as many: {_ELSE}."
        )
    return series


def _segments(path: Path, volume: NDArray[Any], names: Sequence[str]) -> list[tuple[int, str]]:
    """Return number and name of every segment."""
    present = [int(number) for number in np.unique(volume) if number]
    if names:
        strange = [number for number in present if number >= len(names)]
        if strange:
            raise OutputError(
                f"{path.name!r} would hold the number {strange[0]}, but there are names for "
                f"0 to {len(names) - 1} only: name every class."
            )
        found = [(number, str(name)[:64]) for number, name in enumerate(names) if number]
    else:
        found = [(number, f"object {number}") for number in present]
    if not found or len(found) > _MOST_SEGMENTS:
        raise OutputError(
            f"{path.name!r} would be DICOM-SEG of {len(found)} segments; it can have 1 to "
            f"{_MOST_SEGMENTS}: {_ELSE}."
        )
    return found


def _numbered(volume: NDArray[Any], segments: list[tuple[int, str]]) -> NDArray[np.uint8]:
    """Return the labels with numbers that count from 1 in the order of the segments."""
    known = np.array([number for number, _ in segments])
    places = np.searchsorted(known, volume).clip(0, len(known) - 1)
    numbers: NDArray[np.uint8] = np.where(known[places] == volume, places + 1, 0).astype(np.uint8)
    return numbers


def _sources(path: Path, series: DicomSeries) -> tuple[list[Any], list[int]]:
    """Return the headers of the series without the patient, and the planes in their order."""
    import pydicom

    files = dict.fromkeys(file for file, _ in series.planes)
    try:
        headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    except (OSError, RwkvSegError, ValueError, pydicom.errors.InvalidDicomError) as error:
        raise OutputError(
            f"{path.name!r} would be DICOM-SEG, which takes the files of its series, and they "
            f"cannot be read any more ({type(error).__name__}): put them back, or {_ELSE}."
        ) from error
    for header in headers:
        _forget_patient(header)
        header.pop("SpacingBetweenSlices", None)  # may be wrong; highdicom measures the positions
    order = list(range(len(series.planes)))
    if len(files) == 1:  # the frames in the order of the file
        order.sort(key=lambda place: series.planes[place][1])
    return headers, order


def _forget_patient(header: Any) -> None:
    """Take everything of the patient out of a header."""
    for element in list(header.group_dataset(0x0010)):
        del header[element.tag]
    for keyword in _PATIENT:
        if keyword in header:
            delattr(header, keyword)
    for keyword in (*_EMPTY, "AccessionNumber", "ReferringPhysicianName", "StudyID"):
        setattr(header, keyword, "")
    if not header.get("SpecificCharacterSet"):
        header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = "napari-rwkv-seg leaves all of the patient out"


def _descriptions(segments: list[tuple[int, str]], provenance: Mapping[str, Any]) -> list[Any]:
    """Return what DICOM wants to be told of each segment."""
    import highdicom
    from pydicom.sr.codedict import codes

    name = str(provenance.get("model") or "napari-rwkv-seg")[:64]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=name, version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    any_structure = codes.SCT.AnatomicalStructure  # what the classes mean is in their names
    return [
        highdicom.seg.SegmentDescription(
            segment_number=place,
            segment_label=label,
            segmented_property_category=any_structure,
            segmented_property_type=any_structure,
            algorithm_type="SEMIAUTOMATIC",
            algorithm_identification=algorithm,
        )
        for place, (_, label) in enumerate(segments, 1)
    ]

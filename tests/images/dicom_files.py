"""Small DICOM files, made here, of a patient whose name must never be seen again."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

NAME = "Dumbledore^Albus"
SERIES = "1.2.3.4.1"


def make(pixels, number=1, *, series=SERIES, syntax=ExplicitVRLittleEndian, **tags):
    """Return a dataset of one plane (or more: (frames, Y, X)) of a CT."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    file.PatientName, file.PatientID, file.PatientBirthDate = NAME, "Dumbledore-7", "18810707"
    file.PatientSex, file.PatientComments = "M", NAME
    file.ReferringPhysicianName, file.AccessionNumber = "Dumbledore^Ariana", "Dumbledore-A"
    file.StudyDescription = file.SeriesDescription = "Dumbledore, knee"
    file.StudyDate = file.StudyTime = file.StudyID = ""
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    file.StudyInstanceUID, file.SeriesInstanceUID = "1.2.3.4", series
    file.FrameOfReferenceUID, file.Modality = "1.2.3.5", "CT"
    file.SeriesNumber, file.InstanceNumber = int(series[-1]), number
    file.Manufacturer = file.PositionReferenceIndicator = file.Laterality = ""
    file.Rows, file.Columns = pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = pixels.dtype.itemsize * 8
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(file, keyword)
        else:
            setattr(file, keyword, value)
    return file


def save(path, file):
    file.save_as(path, enforce_file_format=True)
    return Path(path)


ACROSS, DOWN = (0.8, 0.6, 0.0), (-0.6, 0.8, 0.0)  # turned about the body's axis


def write_series(folder, volume, *, order=None, series=SERIES, **tags):
    """Write a volume (Z, Y, X) as a series; files are named and numbered in `order`."""
    folder.mkdir(exist_ok=True)
    for number, place in enumerate(order or range(len(volume)), 1):
        told = {
            "ImagePositionPatient": [-10.0, 20.0, 5.0 + 2.5 * place],
            "ImageOrientationPatient": [*ACROSS, *DOWN],
            "PixelSpacing": [0.5, 0.75],
            "SliceThickness": 2.5,
        }
        file = make(volume[place], number, series=series, **(told | tags))
        save(folder / f"{series[-1]}_{number:03}.dcm", file)
    return folder


def write_enhanced(path, volume, order=None):
    """Write a volume as one enhanced file, its frames in `order`."""
    file = make(volume[list(order or range(len(volume)))], SeriesNumber=1)
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    file.NumberOfFrames = len(volume)
    shared, measures, turned, value = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2.5
    turned.ImageOrientationPatient = [*ACROSS, *DOWN]
    value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 2, -100, "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turned])
    shared.PixelValueTransformationSequence = Sequence([value])
    file.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for place in order or range(len(volume)):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-10.0, 20.0, 5.0 + 2.5 * place]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    file.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return save(path, file)


def voxels(*shape, dtype=np.int16):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


__all__ = ["NAME", "SERIES", "make", "pydicom", "save", "voxels", "write_enhanced", "write_series"]

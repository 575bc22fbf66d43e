"""What can go wrong, each in one sentence for the user.

Every error that a wrong input can cause is a `RwkvSegError`. Its text names the
input, says what was wrong with it and what to do; the widgets show it as a
napari notification, the commands print it on stderr and exit with 1.
"""


class RwkvSegError(Exception):
    """Base of all errors whose text may be shown to the user as it is."""


class ImageError(RwkvSegError):
    """An image cannot be used: empty, of a wrong dtype, or with unclear axes."""


class UnreadableFileError(RwkvSegError):
    """A file is missing, damaged, too large, or not of a kind that we read."""


class ModelError(RwkvSegError):
    """A model or a checkpoint is missing, damaged, unsafe, or of another architecture."""


class MisfitError(ModelError):
    """A checkpoint looks like a network of ours but does not fit it.

    Attributes
    ----------
    misfits : tuple of str
        Every key that does not fit, and why not; the sentence names the first few.
    """

    def __init__(self, sentence: str, misfits: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.misfits = misfits


class DownloadError(RwkvSegError):
    """A file cannot be fetched: no connection, another file than it should be, or not allowed."""


class DeviceError(RwkvSegError):
    """The device that was asked for is not there."""


class KernelError(RwkvSegError):
    """The CUDA kernels cannot be compiled, loaded or run on this machine."""


class OutputError(RwkvSegError):
    """A result cannot be written where the user wants it."""


class SettingsError(RwkvSegError, ValueError):
    """A setting lies outside its range."""


class TrainingDataError(RwkvSegError):
    """Images and labels that a model cannot be trained on: none, too few, or not fitting."""


class EvaluationError(RwkvSegError):
    """Labels that cannot be compared: of another shape or place, or no labels at all."""


class CancelledError(Exception):
    """The user cancelled the work; not a fault, so not a `RwkvSegError`."""


class RunError(RwkvSegError):
    """A run folder is missing, damaged, changed or in use, or a run cannot go on."""


class ClusterError(RwkvSegError):
    """Work cannot be shared: no scheduler, no workers, or workers that do not see the files."""

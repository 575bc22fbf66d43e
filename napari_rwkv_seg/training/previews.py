"""What a run makes of an image that somebody looks at while it trains."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_rwkv_seg.files import read_bytes, write_atomically
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.predictor import predict_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.steps import drained

from .run_settings import Labels

_LIMIT = 2**32


def write_preview(path: Path, model: Model, labels: Labels, look: Callable[[], object]) -> None:
    """Segment the image in a file, and write its labels beside it as PATH.labels.npy.

    Parameters
    ----------
    path : Path
        An `.npy` of (Y, X) or (Y, X, C).
    model : Model
        What to segment with.
    labels : "classes" or "objects"
        What the numbers are to stand for.
    look : callable
        Called between tiles; may raise to end.

    Raises
    ------
    RwkvSegError, ValueError, EOFError
        If the file cannot be read, holds no image, or nothing can be written beside it.
    """
    image = np.load(io.BytesIO(read_bytes(path, _LIMIT)), allow_pickle=False)
    steps = predict_steps(image, model, axes="YXC"[: image.ndim])
    prediction = drained(steps, lambda _: look())
    numbers = label_probabilities(
        prediction.probabilities, LabelSettings.for_model(model.card, labels)
    )
    write_atomically(
        Path(f"{path}.labels.npy"), lambda file: np.save(file, numbers, allow_pickle=False)
    )

"""Class labels of a plane, by the very predictor that users get."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rwkv_seg.errors import CancelledError
from napari_rwkv_seg.inference.labels import label_probabilities
from napari_rwkv_seg.inference.loading import Model
from napari_rwkv_seg.inference.predictor import predict_steps
from napari_rwkv_seg.inference.settings import LabelSettings
from napari_rwkv_seg.inference.steps import drained

Mask = NDArray[np.bool_]
ClassMap = NDArray[np.uint8]


def predict_classes(
    model: Model, image: NDArray[Any], should_stop: Callable[[], bool] = lambda: False
) -> ClassMap:
    """Return the class labels of a plane (Y, X) or (Y, X, C), made as the model's card says.

    Raises
    ------
    CancelledError
        If `should_stop`, asked before every tile, says so.
    """

    def check(_: object = None) -> None:
        if should_stop():
            raise CancelledError

    check()
    prediction = drained(predict_steps(image, model, axes="YXC"[: image.ndim]), check)
    settings = LabelSettings.for_model(model.card, "classes")
    return label_probabilities(prediction.probabilities, settings).astype(np.uint8)

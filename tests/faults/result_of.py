"""Results of runs on stacks, shown in a viewer without a window."""

import weakref
from collections.abc import Callable

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_rwkv_seg.widgets.placement import place
from napari_rwkv_seg.widgets.regions import Region
from napari_rwkv_seg.widgets.result import Result
from napari_rwkv_seg.widgets.result_layers import ResultLayers
from napari_rwkv_seg.zoo.card import ClassCard, ModelCard


def result_of(model: ViewerModel, image: Image) -> Callable[[np.ndarray], Labels]:
    """Return what shows labels (Z, Y, X) as the result of a run on `image`."""
    card = ModelCard(
        name="bright",
        title="Bright",
        purpose="Tests.",
        architecture="med_urwkv",
        variant="T",
        classes=[ClassCard(name=f"class {number}", color="#102030") for number in range(2)],
        license="CC0-1.0",
        training_data="None.",
        weights_sha256="0" * 64,
    )
    results = ResultLayers(model)

    def show(labels: np.ndarray) -> Labels:
        region = Region(tuple(slice(0, length) for length in labels.shape))
        return results.show(
            Result(
                image=weakref.ref(image),
                title="cells · bright",
                labels=labels,
                probabilities=np.stack([labels == 0, labels > 0]).astype(np.float32),
                card=card,
                output="objects",
                place=place(image, "ZYX", 0, region),
                provenance={"model": "bright", "settings": {"threshold": 0.5}},
            )
        )

    return show

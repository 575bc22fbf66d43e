"""What does the work for a controller: the same inference that commands and library use.

A controller is given an `Engine`, so that tests can give a fake one. The real
one keeps the model that was loaded last, so that a second run starts at once.
Torch is imported when a model is loaded, in the thread that loads it.
"""

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

from napari_rwkv_seg.zoo.store import find_model

from .settings import SegmentSettings
from .streaming import StreamPlan

if TYPE_CHECKING:
    from pathlib import Path

    from napari_rwkv_seg.inference.loading import Model
    from napari_rwkv_seg.inference.progress import Progress
    from napari_rwkv_seg.inference.segment import Segmentation
    from napari_rwkv_seg.inference.settings import LabelSettings, Views
    from napari_rwkv_seg.inference.streaming import StreamedSegmentation
    from napari_rwkv_seg.zoo.card import ModelCard

Facts = dict[str, Any]


class Engine(Protocol):
    """What a `SegmentController` needs to have done."""

    def load(self, model: str, device: str, views: "Views" = 1) -> Any:
        """Return the model, ready to run; called in a worker thread."""

    def steps(
        self, image: Any, model: Any, settings: SegmentSettings
    ) -> Generator["Progress", None, "Segmentation"]:
        """Yield progress, return the result; closing the generator cancels."""

    def stream(
        self, image: Any, model: Any, settings: SegmentSettings, plan: StreamPlan, about: Facts
    ) -> Generator["Progress", None, "StreamedSegmentation"]:
        """Yield progress, fill a store; closing the generator cancels, the store can go on."""

    def relabel(
        self, segmentation: "Segmentation", settings: "LabelSettings"
    ) -> Generator["Progress", None, "Segmentation"]:
        """Make labels anew from kept probabilities; closing the generator cancels."""

    def running_on(self, model: Any) -> tuple[str, str]:
        """Return on what the model runs, and why not on something faster ("" if it does)."""


class InferenceEngine:
    """Runs the inference of this package, and keeps the model loaded last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[Path, ModelCard | None, str] | None = None
        self._model: Model | None = None

    def load(self, model: str, device: str, views: "Views" = 1) -> "Model":
        """Return the model, from memory if it was the last and its card still says the same.

        Raises
        ------
        ModelError
            If the model is missing, damaged or unsafe.
        DeviceError
            If the device is not there.
        """
        from napari_rwkv_seg.inference.loading import load_model, with_views

        with self._lock:
            entry = find_model(model)
            key = (entry.folder, entry.card, device)
            if self._model is None or self._key != key:
                self._model = None  # two models need not fit into memory together
                self._model = load_model(entry.folder, device)
                self._key = key
            return with_views(self._model, views)

    def steps(
        self, image: Any, model: "Model", settings: SegmentSettings
    ) -> Generator["Progress", None, "Segmentation"]:
        """Run `model` on `image` as `settings` say; see `inference.segment.segment_steps`."""
        from napari_rwkv_seg.inference.segment import segment_steps

        return segment_steps(
            image,
            model,
            axes=settings.axes or None,
            settings=settings.labels,
            channel=settings.channel,
            directions=settings.directions,
            spacing=settings.spacing,
        )

    def stream(
        self, image: Any, model: "Model", settings: SegmentSettings, plan: StreamPlan, about: Facts
    ) -> Generator["Progress", None, "StreamedSegmentation"]:
        """Fill a store; see `inference.streaming.segment_to_store_steps`."""
        from napari_rwkv_seg.inference.streaming import StreamOptions, segment_to_store_steps

        options = StreamOptions(geometry=plan.geometry, is_numbered=plan.is_numbered, about=about)
        return segment_to_store_steps(
            image,
            model,
            plan.folder,
            axes=settings.axes or None,
            settings=settings.labels,
            channel=settings.channel,
            options=options,
        )

    def relabel(
        self, segmentation: "Segmentation", settings: "LabelSettings"
    ) -> Generator["Progress", None, "Segmentation"]:
        """Make labels anew from the kept probabilities; the network does not run."""
        from napari_rwkv_seg.inference.segment import relabel_steps

        return relabel_steps(segmentation, settings)

    def running_on(self, model: "Model") -> tuple[str, str]:
        """Return "CPU, 2 threads, compiled kernels" or the like, and why it is slow."""
        import torch

        threads = torch.get_num_threads()
        where = f"CPU, {threads} thread{'s' * (threads != 1)}"
        if model.device.startswith("cuda"):
            where = f"{torch.cuda.get_device_name(model.device)} ({model.device})"
        way = "plain PyTorch" if model.backend == "reference" else "compiled kernels"
        return f"{where}, {way}", model.backend_reason

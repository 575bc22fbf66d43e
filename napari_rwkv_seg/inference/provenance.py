"""How a result was made: the part that whole-image and streamed runs share."""

from typing import Any

import numpy as np

from .loading import Model
from .settings import LabelSettings


def provenance_of(model: Model, settings: LabelSettings) -> dict[str, Any]:
    """Return model, versions, device and settings as plain values, for JSON."""
    import torch

    from napari_rwkv_seg import __version__

    return {
        "model": model.card.name,
        "sha256": model.card.weights_sha256,
        "version": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "settings": settings.to_dict(),
        "device": model.device,
        "views": model.views,
        "backend": model.backend,
        "backend_reason": model.backend_reason,
    }

"""What the user reads: models, progress, devices and mishaps, each in a line.

Pure functions on plain values, so that wording is tested without a window. All
texts are plain text, never markup: a model's card is written by others.
"""

from typing import TYPE_CHECKING

import numpy as np

from napari_rwkv_seg.errors import RwkvSegError
from napari_rwkv_seg.zoo.card import ModelCard
from napari_rwkv_seg.zoo.store import ModelEntry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rwkv_seg.inference.progress import Progress
    from napari_rwkv_seg.inference.segment import Segmentation
    from napari_rwkv_seg.inference.streaming import StreamedSegmentation

NO_IMAGE = "Open an image, or File ▸ Open Sample ▸ RWKV Segmentation."
NO_MODEL = (
    "No model is installed. Install the plugin again, or put a model's folder where "
    "'Check the installation' says."
)

_NOT_FOR_TRADE = ("-nc", "noncommercial", "non-commercial", "research only", "research use")


def license_warning(license_: str) -> str:
    """Return what a user must know of a licence before using a model's results, or ""."""
    plain = license_.strip().lower()
    if plain in ("", "unknown", "none", "?"):
        return "This model states no licence: ask its authors before you use its results."
    if any(word in plain for word in _NOT_FOR_TRADE):
        return f"Licence {license_}: not for commercial use."
    return ""


def model_line(card: ModelCard) -> str:
    """Return what a model is for, in one line for the window."""
    return card.purpose or card.title


def model_facts(card: ModelCard) -> str:
    """Return licence and test scores of a model, in one short line."""
    scores = [f"{name} {value:.3g}" for name, value in list(card.test_scores.items())[:3]]
    return " · ".join([f"Licence {card.license or 'not stated'}", *scores])


def model_tooltip(entry: ModelEntry) -> str:
    """Return what one asks of a model, in lines: its use, licence, data and test scores."""
    card = entry.card
    if card is None:
        return f"{entry.name}: cannot be used.\n{entry.problem}"
    scores = ", ".join(f"{name} {value:.3g}" for name, value in card.test_scores.items())
    facts = [
        (card.title, ""),
        ("Name", card.name),
        ("For", card.purpose),
        ("Licence", card.license or "not stated"),
        ("Test scores", scores or "none stated"),
        ("Classes", ", ".join(one.name for one in card.classes)),
        ("Trained on", card.training_data),
        ("Please cite", card.citation),
    ]
    return "\n".join(
        f"{name}: {text}" if text else name for name, text in facts if text or name == card.title
    )


def progress_line(progress: "Progress") -> str:
    """Return how far a run is, such as "tile 3 of 12 · 4 s left"."""
    if progress.total <= 0:
        return progress.note or "Preparing …"
    if progress.done >= progress.total:
        return progress.note or "Making labels …"
    parts = [f"tile {progress.done} of {progress.total}"]
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    if progress.note:
        parts.append(progress.note)
    return " · ".join(parts)


def summary(segmentation: "Segmentation | None", mask: "NDArray[np.bool_] | None" = None) -> str:
    """Return what a result holds, in one short line; of a part, in the pixels (Y, X) of `mask`."""
    if segmentation is None:
        return ""
    if segmentation.settings.output == "classes":
        return "Done."
    labels = segmentation.labels
    if mask is None:
        count = int(labels.max(initial=0))  # counted from 1 without gaps
    else:
        seen = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
        seen[labels[..., mask]] = True
        count = int(np.count_nonzero(seen[1:]))
    return f"Done: {count} object{'s' * (count != 1)}."


def streamed_summary(streamed: "StreamedSegmentation") -> str:
    """Return what a streamed result holds and where it lies, in a line."""
    count, objects = streamed.count, streamed.settings.output == "objects"
    what = f"Done: {count} object{'s' * (count != 1)}," if objects else "Done,"
    return f"{what} kept in {streamed.folder}."


def duration(seconds: float) -> str:
    """Return a duration in words short enough for a status line."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def mishap(error: BaseException) -> str:
    """Return one sentence for whatever ended a run; what we raise ourselves says it already."""
    if isinstance(error, RwkvSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory for this run. Choose a smaller part under 'Run on', "
            "or close other programs. Your layers are unchanged."
        )
    what = " ".join(str(error).split())[:300]
    reason = f"{type(error).__name__}: {what}" if what else type(error).__name__
    return (
        f"The run stopped unexpectedly ({reason}). Your layers are unchanged; if it happens again, "
        "please report it with what 'Check the installation' shows."
    )

"""What the user reads about models: why something cannot be done, how far it is, how it ended."""

from typing import Literal

from .models_jobs import Arrived, JobEnd, Wish
from .models_rows import ModelRow

Action = Literal["use", "export", "reveal", "rename", "note", "delete"]

NOTHING_CHOSEN = "Choose a model in the list."
GONE = "Its folder is not there any more."
EMPTY_TRASH = "Delete {names} for good? This cannot be undone."
_SHIPPED = "It comes with the package and cannot be changed."
_ENCODER = "A pretrained encoder segments nothing: make a model on it with 'New model…'."


def refusal(action: Action, row: ModelRow | None, busy: str = "") -> str:
    """Return why something cannot be done with a row, in a sentence; "" if it can.

    Parameters
    ----------
    action : Action
        What the user may want.
    row : ModelRow or None
        What is chosen.
    busy : str
        The title of the job under way; there is one at a time.
    """
    if row is None:
        return NOTHING_CHOSEN
    if action in ("rename", "note", "delete") and row.kind == "shipped":
        return _SHIPPED
    if action in ("use", "note") and not row.is_model:
        return _ENCODER if action == "use" else "Notes are for models."
    if action not in ("reveal", "delete") and row.entry.problem:
        return "It cannot be used; its card below says why."
    return waiting(busy) if action == "export" else ""


def waiting(busy: str) -> str:
    """Return why no other job can begin; "" if none is under way."""
    return f"{busy} is under way; wait or cancel it." if busy else ""


def job_line(wish: Wish, arrived: Arrived | None = None) -> str:
    """Return what is being done, and how far it is."""
    if arrived is None:
        return f"{wish.title} …"
    if not arrived.total:
        return f"{wish.title}: {arrived.done / 1e6:.1f} MB"
    if arrived.done >= arrived.total:
        return f"{wish.title}: all is here; checking it …"
    return f"{wish.title}: {arrived.done / 1e6:.1f} of {arrived.total / 1e6:.1f} MB"


def end_line(end: JobEnd) -> str:
    """Return how a job ended; "" if it failed, which its sentence says."""
    if end.sentence:
        return ""
    if not end.result:
        kept = "what has arrived is kept, and the next download goes on from there"
        return f"Cancelled; {kept if end.wish.kind == 'get' else 'nothing was changed'}."
    return _done(end)


def _done(end: JobEnd) -> str:
    result = end.result
    if end.wish.kind == "export":
        return f"Written: {result['path']}\n{result['note']}".strip()
    if end.wish.kind == "empty trash":
        left = f" {result['left']} could not be deleted." if result["left"] else ""
        return f"Deleted for good: {result['count']}.{left}"
    name = str(result["folder"]).replace("\\", "/").rpartition("/")[2]
    lines = [f"{name!r} is among your models."]
    if result["kind"] == "encoder":
        lines = [f"{name!r} is among the encoders: make a model on it with 'New model…'."]
    if end.wish.kind == "get":
        lines.append(f"SHA-256: {result['sha256']}")
    if end.wish.kind == "new":
        lines.append("It is not trained: fine-tune it before you use its labels.")
    return "\n".join([*lines, *result.get("notes", ())])

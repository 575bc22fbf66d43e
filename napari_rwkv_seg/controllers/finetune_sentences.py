"""What the user reads about pairs, a run and its result, each in a line.

Pure functions on plain values, so that wording is tested without a window.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.training.patience import LONGEST_S
from napari_rwkv_seg.zoo.card import ModelCard

from .finetune_choices import FinetuneChoices, new_classes
from .finetune_pairs import PairFacts, PairRow
from .sentences import duration

if TYPE_CHECKING:
    from .finetune_runs import KeptRun
    from .finetune_story import RunStory

NO_PAIRS = (
    "Open an image and its labels: segment an image and correct the result, or paint in a new "
    "Labels layer. Or add a folder of images and masks."
)
DEPTH_NAMES = {
    "auto": "Automatic",
    "head": "Head only (fastest)",
    "decoder": "Decoder",
    "everything": "Everything",
}
ORIENTATION_NAMES = {
    "auto": "As the model says",
    "any": "Any way round",
    "fixed": "As in the images",
}
HOW_NAMES = {
    "whole image": "Whole image",
    "these planes": "These planes",
    "inside these boxes": "Inside these boxes",
}

CANCEL = "End the training and discard what it has learnt so far ({steps} steps)?"
CLOSE = (
    "A training is under way. Close napari and stop it? What it has learnt so far is kept, "
    "and the run can be resumed when this dock is opened again."
)
REMOVED = (
    "A training was under way in the dock that you have closed. Keep what it has learnt so far, "
    "so that the run can be resumed when the dock is opened again?"
)


def what_is_missing(
    rows: Sequence[PairRow], choices: FinetuneChoices, base: ModelCard | None
) -> str:
    """Return why no run can begin, or ""."""
    if base is None:
        return f"There is no usable model {choices.model!r}; pick another one."
    if not rows:
        return NO_PAIRS
    used = [row for row in rows if row.used]
    if not used:
        return "No pair is ticked; tick those that the model is to learn from."
    for row in used:
        if row.problem:
            return f"{row.source.image_name}: {row.problem}"
    if choices.labels == "objects" and len(choices.classes) != 2:
        return (
            "Objects are all of one class, and there are "
            f"{len(choices.classes) - 1}: say that numbers mean classes, or start from a model "
            "with one class."
        )
    return ""


def pixels_line(facts: PairFacts | None, labels: str) -> str:
    """Return what a pair holds, such as "nucleus 12 345 px · background 99 000 px"."""
    if facts is None:
        return "counting …"
    if not facts.checked:
        return "nothing checked"
    background, *others = facts.pixels or (("background", 0),)
    parts = [f"{name} {number(count)} px" for name, count in (*others, background) if count]
    if labels == "objects":
        parts = [f"{number(facts.objects)} object{'s' * (facts.objects != 1)}", *parts[-1:]]
    if facts.checked < facts.total:
        parts.append(f"{percent(facts.checked / facts.total)} checked")
    if facts.as_written:
        parts.append("not corrected")
    if facts.uncorrected:
        parts.append(f"not corrected: plane {facts.uncorrected}")
    return " · ".join(parts)


def checked_line(row: PairRow) -> str:
    """Return the beginning of a line about a pair: what of it is checked, or "" if all."""
    if row.source.stack and row.checked.how == "these planes":
        return f"plane {row.checked.planes}: "
    if row.source.stack and row.checked.how == "whole image":
        return f"all {number(math.prod(row.source.stack))} planes: "
    return "in boxes: " if row.checked.how == "inside these boxes" else ""


def pairs_warning(rows: Sequence[PairRow]) -> str:
    """Return what should be known of the pairs that are used, or ""."""
    facts = [row.facts for row in rows if row.used and row.facts is not None]
    parts = [_twice_warning(rows), _own_answers_warning(facts), _background_warning(facts)]
    return " ".join(part for part in parts if part)


def _twice_warning(rows: Sequence[PairRow]) -> str:
    """Return a warning if several labels of one image are used, or ""."""
    used = [row.source for row in rows if row.used]
    counts = Counter(source.covers for source in used)
    twice = {source.covers: source.image_name for source in used if counts[source.covers] > 1}
    if not twice:
        return ""
    return (
        f"Several ticked labels are of one image ({', '.join(twice.values())}): where they differ "
        "it is taught both. Untick all but one, unless different parts of them are checked."
    )


def _own_answers_warning(facts: Sequence[PairFacts]) -> str:
    """Return a warning if labels are as a model made them, or ""."""
    count = sum(one.as_written for one in facts)
    if count and count == len(facts):
        which = "None of the ticked labels was"
    elif any(one.uncorrected for one in facts):
        which = "Some of the checked planes were not"
    elif count:
        which = f"{count} of the ticked labels were not"
    else:
        return ""
    return (
        f"{which} corrected since a model made them: from those it learns its own answers. "
        "Correct them or leave them out, unless they are right as they are."
    )


def _background_warning(facts: Sequence[PairFacts]) -> str:
    """Return a warning if no background was confirmed in any of the pairs, or ""."""
    if not facts or not all(one.pixels for one in facts) or not any(one.checked for one in facts):
        return ""
    if sum(one.pixels[0][1] for one in facts):
        return ""
    return (
        "No background is confirmed: every checked pixel carries a label. Check some background "
        "as well, or the model learns to find something everywhere."
    )


def classes_hint(
    base: ModelCard | None, choices: FinetuneChoices, made_by: ModelCard | None = None
) -> str:
    """Return what becomes of the classes, or ""; `made_by` is the model that made the labels."""
    new = new_classes(base, choices.classes)
    gone = [
        one.name
        for one in (base.classes if base else ())
        if one.name not in {mine.name for mine in choices.classes}
    ]
    parts = []
    if new:
        parts.append(f"New to the model, learnt from your labels alone: {', '.join(new)}.")
    if gone:
        parts.append(f"Given up: {', '.join(gone)} (a class is kept by its name).")
    theirs = (
        [one.name for one in made_by.classes] if made_by and choices.labels == "classes" else []
    )
    for number, one in enumerate(choices.classes):
        if one.name in theirs and theirs.index(one.name) != number:
            there = theirs.index(one.name)
            parts.append(
                f"To the model that made the labels {one.name!r} was {there}, here it is {number}: "
                "name the classes in its order, unless you have painted otherwise."
            )
            break
    return " ".join(parts)


def started_line(story: "RunStory") -> str:
    """Return where and how a run trains, such as "On CPU; the decoder learns.", "" if not yet."""
    if not story.device:
        return ""
    what = {"head": "the head learns", "decoder": "the decoder learns"}
    depth = what.get(story.depth, "the whole network learns")
    again = ", resumed" if story.resumed else ""
    device = story.device.upper().replace("CUDA", "GPU")
    return f"On {device}; {depth}{again}."


def status_line(story: "RunStory") -> str:
    """Return how far a run is, such as "step 340 · 2 min 10 s left · best 0.83 since"."""
    if story.phase == "starting":
        checking = "checking the model to start from" if story.split else "loading the model"
        return f"Starting: {checking} …"
    parts = [f"step {number(story.step)}"]
    if story.phase == "stopping":
        parts.append("stopping: the best is checked and kept …")
    elif story.left is not None:
        parts.append(f"{duration(story.left)} left")
    if story.base is not None:
        parts.append(f"Dice {story.base:.2f} at the start")
    if story.best is not None:
        parts.append(f"best {story.best:.2f} since")
    return " · ".join(parts)


def result_line(result: dict[str, Any]) -> str:
    """Return the outcome, such as "before 0.71 → after 0.83 Dice on held-out regions (n = 4)"."""
    before, after = (_mean(result, key) for key in ("before", "after"))
    of_known = _mean(result, "after", "mean_of_known")
    if before is not None and of_known is not None:
        after = of_known  # of the same classes
    count = result.get("regions")
    regions = f" (n = {count})" if isinstance(count, int) else ""
    if after is None:
        return "The new model could not be scored."
    start = f"before {before:.2f} → " if before is not None else ""
    return f"{start}after {after:.2f} Dice on held-out regions{regions}"


def class_scores(result: dict[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """Return name, Dice before and Dice after of every class; None where there is none."""
    before, after = (_by_class(result, key) for key in ("before", "after"))
    names = [*after, *(name for name in before if name not in after)]
    return [(name, before.get(name), after.get(name)) for name in names]


def interrupted_line(run: "KeptRun") -> str:
    """Return what is said of a run that waits for a word."""
    when = f"{run.when:%H:%M}"
    if run.when.date() != run.when.now(run.when.tzinfo).date():
        when = f"{run.when:%Y-%m-%d %H:%M}"
    steps = f"after {number(run.steps)} step{'s' * (run.steps != 1)}"
    if run.is_undecided:
        return f"The run of {when} has ended, and its model is neither in use nor declined yet."
    if run.sentence:
        return f"The run of {when} ended {steps}: {run.sentence}"
    return f"A run of {when} was interrupted {steps}."


def folder_away(folder: Path | None) -> str:
    """Return what to do while the folder of a run is not there."""
    return (
        f"The run's folder {str(folder)!r} is not there any more. Bring it back to its place: what "
        "is learnt is in memory until then, but no checkpoint can be kept, and after "
        f"{LONGEST_S / 60:.0f} minutes of waiting for it the training ends."
    )


def died(story: "RunStory", complaint: str) -> str:
    """Return what to say of a training process that ended without a word."""
    steps = f"after {number(story.step)} steps" if story.step else "before its first step"
    reason = f" ({complaint})" if complaint else ""
    return (
        f"The training process ended unexpectedly {steps}{reason}. Your layers are unchanged, "
        "and the run can be resumed from its last checkpoint."
    )


def number(count: int) -> str:
    """Return a whole number with thin gaps between thousands, which every locale can read."""
    return f"{count:,}".replace(",", "\u202f")


def percent(part: float) -> str:
    """Return a share in per cent; what is not nothing is never called 0 %."""
    return f"{max(1, round(100 * part))} %" if part > 0 else "0 %"


def _mean(result: dict[str, Any], key: str, which: str = "mean") -> float | None:
    scores = result.get(key)
    mean = scores.get(which) if isinstance(scores, dict) else None
    return float(mean) if isinstance(mean, int | float) else None


def _by_class(result: dict[str, Any], key: str) -> dict[str, float]:
    scores = result.get(key)
    classes = scores.get("classes") if isinstance(scores, dict) else None
    if not isinstance(classes, dict):
        return {}
    return {str(name): float(x) for name, x in classes.items() if isinstance(x, int | float)}

"""What scores are of, and whether they still are those of what is chosen. Pure functions."""

from dataclasses import replace

from .evaluate import EvaluateChoices, EvaluateJob

OTHERS_CHOSEN = "Other labels or settings are chosen now; evaluate again for their scores."


def about_line(job: EvaluateJob) -> str:
    """Return what was compared with what."""
    if job.layers:
        return " against ".join(repr(one.name) for one in job.layers)
    folders = (job.choices.found, job.choices.true)
    return " against ".join(f"folder {one.name!r}" for one in folders if one is not None)


def are_alike(first: EvaluateChoices, second: EvaluateChoices) -> bool:
    """Return whether choices ask for the same, but for the layers, which they do not have."""
    return _what_counts(first) == _what_counts(second)


def outdated_line(edited: str, *, is_chosen: bool) -> str:
    """Return why scores are not those of what is chosen now; "" if they are.

    Parameters
    ----------
    edited : str
        The name of a layer that was edited since; "" if none was.
    is_chosen : bool
        Whether the scores are of what is chosen now.
    """
    lines = [f"{edited!r} has changed since; evaluate again."] if edited else []
    return "\n".join(lines if is_chosen else [*lines, OTHERS_CHOSEN])


def _what_counts(choices: EvaluateChoices) -> EvaluateChoices:
    if choices.what == "layers":
        return replace(choices, found=None, true=None)
    return replace(choices, stack="body")

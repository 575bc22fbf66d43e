"""Whether `torchrun` started this process, and what it says of the company; knows no torch."""

import os


def is_in_company() -> bool:
    """Return whether `torchrun` started this process, and others with it."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Return whether this process writes and tells: the only one, or the first of a company."""
    return not is_in_company() or os.environ.get("RANK") == "0"


def sizes() -> tuple[int, int]:
    """Return how many processes the company has, and how many of them are on this machine."""
    return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])

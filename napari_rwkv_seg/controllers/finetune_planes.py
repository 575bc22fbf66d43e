"""Planes of a stack: how a user writes which ones, and what they are called."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import product

import numpy as np

from napari_rwkv_seg.errors import SettingsError


def parse_planes(text: str, stack: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the planes that a text names, in order.

    Parameters
    ----------
    text : str
        Numbers and ranges from 0, such as "3, 7-9"; with two leading axes "1/3, 1/7-9".
    stack : sequence of int
        The lengths of the leading axes.

    Raises
    ------
    SettingsError
        If the text names no plane, or one that is not there.
    """
    found: set[tuple[int, ...]] = set()
    for part in re.split(r"[,;\s]+", re.sub(r"\s*-\s*", "-", text.strip())):
        found.update(_part(part, stack) if part else ())
    if not found:
        raise SettingsError("Name the planes that you have checked, such as '3, 7-9', from 0.")
    return sorted(found)


def _part(part: str, stack: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Return the planes of one part of the text, such as "7-9" or "1/7-9"."""
    fields = part.split("/")
    matches = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", one) for one in fields]
    spans = [match for match in matches if match is not None]
    if len(spans) != len(fields) or len(fields) != len(stack):
        form = "/".join(["3", "7-9"][-len(stack) :])
        raise SettingsError(f"Planes are written like '{form}', not {part!r}.")
    ranges = []
    for span, length in zip(spans, stack, strict=True):
        first = int(span[1])
        last = int(span[2] or span[1])
        if not first <= last < length:
            raise SettingsError(f"There is no plane {span[0]}: they count from 0 to {length - 1}.")
        ranges.append(range(first, last + 1))
    return product(*ranges)


def all_planes(stack: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the places of all planes of a stack; one empty place for a single plane."""
    return list(np.ndindex(*stack))


def planes_text(places: Collection[tuple[int, ...]]) -> str:
    """Return planes as a user writes them, such as "3, 7-9"; `parse_planes` reads it."""
    spans: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for place in sorted(places):
        first, last = spans[-1] if spans else ((), ())
        if last and place == (*last[:-1], last[-1] + 1):
            spans[-1] = (first, place)
        else:
            spans.append((place, place))
    return ", ".join(
        "/".join(map(str, first)) + (f"-{last[-1]}" if last != first else "")
        for first, last in spans
    )


def plane_name(name: str, place: Sequence[int]) -> str:
    """Return the name of a plane, such as "cells, plane 3"."""
    return f"{name}, plane {'/'.join(map(str, place))}" if place else name

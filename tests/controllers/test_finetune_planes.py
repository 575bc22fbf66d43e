"""Planes of a stack: how they are written, and which of them somebody has corrected."""

import numpy as np
import pytest

from napari_rwkv_seg.controllers.finetune_pairs import Checked, PairRow, PlacedPair, with_plane
from napari_rwkv_seg.controllers.finetune_planes import parse_planes, planes_text
from napari_rwkv_seg.controllers.finetune_rows import PairRows, count_rows
from napari_rwkv_seg.errors import SettingsError

from .finetuning import ArrayPair, make_entry

CLASSES = make_entry().card.classes


@pytest.mark.parametrize(
    ("text", "stack", "planes"),
    [
        ("3", (9,), [(3,)]),
        ("7-8, 3", (9,), [(3,), (7,), (8,)]),
        (" 3 - 4 ;3", (9,), [(3,), (4,)]),
        ("1/0-1", (2, 3), [(1, 0), (1, 1)]),
    ],
)
def test_planes_are_read_as_they_are_written(text, stack, planes):
    assert parse_planes(text, stack) == planes


@pytest.mark.parametrize(
    ("text", "stack", "words"),
    [
        ("", (9,), "Name the planes"),
        ("9", (9,), "count from 0 to 8"),
        ("5-2", (9,), "count from 0 to 8"),
        ("three", (9,), "written like '7-9'"),
        ("3", (2, 9), "written like '3/7-9'"),
    ],
)
def test_planes_that_are_not_there_are_said(text, stack, words):
    with pytest.raises(SettingsError, match=words):
        parse_planes(text, stack)


@pytest.mark.parametrize(
    ("text", "stack"), [("3", (9,)), ("3, 6-8", (9,)), ("0/8, 1/0-1, 1/3", (2, 9))]
)
def test_planes_are_written_as_they_are_read(text, stack):
    assert planes_text(parse_planes(text, stack)) == text


def test_a_plane_is_added_once():
    once = with_plane(Checked("these planes", "1"), (4,))

    assert once.planes == "1, 4"
    assert with_plane(once, (4,)) == once


class Stack(ArrayPair):
    """Five planes, of which a user has edited some since a model wrote them."""

    stack = (5,)

    def __init__(self, *edited):
        super().__init__("stack")
        self.edited = {(place,) for place in edited}

    def planes(self, checked, *, copied):
        self.read = parse_planes(checked.planes, self.stack)
        pixels = self.image, self.labels, np.ones(self.labels.shape, dtype=bool)
        return lambda: (PlacedPair("plane", *pixels, place=place) for place in self.read)

    def as_written(self):
        untouched = {(place,) for place in range(5)} - self.edited
        return lambda: untouched


def count_all(rows):
    """Count until nothing is left to be counted."""
    while waiting := rows.pending():
        for row, facts in count_rows(waiting, "classes", CLASSES):
            rows.take(row, facts)


def stack_rows(source, planes="4"):
    """Return rows with one stack, of which a plane is proposed."""
    rows = PairRows()
    rows.offer([PairRow(source, checked=Checked("these planes", planes))])
    count_all(rows)
    return rows


def test_planes_that_somebody_has_corrected_are_checked_until_the_user_says_which():
    source = Stack()
    rows = stack_rows(source)
    assert rows.get("stack").checked.planes == "4"
    assert rows.get("stack").facts.as_written

    source.edited = {(1,), (3,)}
    rows.forget()
    count_all(rows)
    assert rows.get("stack").checked.planes == "1, 3"
    assert not rows.get("stack").facts.as_written

    rows.check("stack", Checked("these planes", "1"))
    source.edited.add((2,))
    rows.forget()
    count_all(rows)
    assert rows.get("stack").checked.planes == "1"


def test_saying_that_the_proposed_plane_is_checked_counts_as_said():
    source = Stack()
    rows = stack_rows(source)
    rows.check("stack", rows.get("stack").checked)

    source.edited = {(1,)}
    rows.forget()
    count_all(rows)

    assert rows.get("stack").checked.planes == "4"


@pytest.mark.parametrize(
    ("planes", "as_written", "uncorrected"),
    [("0, 2", True, ""), ("0-2", False, "0, 2"), ("1, 3", False, "")],
)
def test_whether_labels_are_corrected_is_judged_for_the_planes_that_are_checked(
    planes, as_written, uncorrected
):
    rows = stack_rows(Stack(1, 3))
    rows.check("stack", Checked("these planes", planes))
    count_all(rows)

    facts = rows.get("stack").facts
    assert (facts.as_written, facts.uncorrected) == (as_written, uncorrected)

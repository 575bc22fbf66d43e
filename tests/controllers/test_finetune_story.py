"""What is known of a run from its events alone, and how it is worded."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from napari_rwkv_seg.controllers.finetune_choices import FinetuneChoices
from napari_rwkv_seg.controllers.finetune_pairs import PairFacts, PairRow
from napari_rwkv_seg.controllers.finetune_runs import KeptRun
from napari_rwkv_seg.controllers.finetune_sentences import (
    class_scores,
    classes_hint,
    interrupted_line,
    pairs_warning,
    pixels_line,
    result_line,
    started_line,
    status_line,
    what_is_missing,
)
from napari_rwkv_seg.controllers.finetune_story import MOST_POINTS, Curve, EventTail, RunStory

from .finetuning import ArrayPair, make_entry

FACTS = PairFacts((("background", 900), ("cell", 1100)), 3, 2000, 4000, 3)


def told(*events: dict) -> RunStory:
    story = RunStory()
    for event in events:
        story.hear(event)
    return story


def test_a_half_written_line_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []

    path.write_text('{"event": "step", "step": 1}\n{"event": "st')
    assert [event["step"] for event in tail.read()] == [1]
    assert tail.read() == []

    with path.open("a") as file:
        file.write('ep", "step": 2}\n')
    assert [event["step"] for event in tail.read()] == [2]


def test_a_line_without_end_does_not_stop_the_reading(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 300_000 + b"\n" + json.dumps({"event": "stopping"}).encode() + b"\n")

    assert [event["event"] for event in EventTail(path).read_all()] == ["stopping"]


def test_a_curve_of_many_points_is_thinned_out_but_keeps_its_ends():
    curve = Curve()
    for x in range(10_000):
        curve.add(x, 1.0)

    assert len(curve.x) <= MOST_POINTS
    assert curve.x[0] < 100
    assert curve.x[-1] > 9_900


@pytest.mark.parametrize(
    "event",
    [
        {"event": "step", "step": "x", "seconds": None, "left": [], "loss": {}},
        {"event": "validated", "score": None, "dice": 3, "best": "yes"},
        {"event": "unknown"},
        {"event": "prepared", "sentence": 5},
        {"event": "__init__"},
    ],
)
def test_an_event_that_is_not_as_it_should_be_breaks_nothing(event):
    story = told(event)

    assert story.loss.x == []
    assert story.best is None
    assert story.split == ""


def test_where_a_run_trains_is_told_once_it_does():
    story = told({"event": "failed", "sentence": "There is no memory."})
    assert started_line(story) == ""

    started = {"event": "started", "step": 7, "device": "cpu", "depth": "head", "resumed": True}
    assert started_line(told(started)) == "On CPU; the head learns, resumed."


def test_the_status_tells_steps_time_and_the_best_so_far():
    story = told(
        {"event": "started", "step": 0, "device": "cpu"},
        {"event": "validated", "step": 0, "seconds": 1, "score": 0.71, "base": True},
        {"event": "step", "step": 340, "seconds": 170, "left": 130, "loss": 0.2},
        {"event": "validated", "step": 340, "seconds": 171, "score": 0.83, "best": True},
    )

    assert status_line(story) == (
        "step 340 · 2 min 10 s left · Dice 0.71 at the start · best 0.83 since"
    )


def test_the_result_tells_before_and_after_with_the_number_of_regions():
    result = {
        "before": {"mean": 0.71, "classes": {"cell": 0.71}},
        "after": {"mean": 0.83, "classes": {"cell": 0.8, "nerve": 0.5}},
        "regions": 4,
    }

    assert result_line(result) == "before 0.71 → after 0.83 Dice on held-out regions (n = 4)"
    result["after"]["mean_of_known"] = 0.0  # beside which the new class does not count
    assert result_line(result) == "before 0.71 → after 0.00 Dice on held-out regions (n = 4)"
    assert class_scores(result) == [("cell", 0.71, 0.8), ("nerve", None, 0.5)]


def test_a_result_without_scores_is_not_made_up():
    assert result_line({}) == "The new model could not be scored."
    assert class_scores({"after": None}) == []


def test_a_pair_is_told_in_numbers():
    assert pixels_line(FACTS, "classes") == "cell 1\u202f100 px · background 900 px · 50 % checked"
    assert pixels_line(FACTS, "objects").startswith("3 objects · background")
    assert pixels_line(None, "classes") == "counting …"
    assert pixels_line(PairFacts(), "classes") == "nothing checked"


def test_no_confirmed_background_is_warned_of():
    full = PairFacts((("background", 0), ("cell", 1100)), 0, 1100, 4000, 1)

    assert "No background" in pairs_warning([PairRow(ArrayPair(), facts=full)])
    assert pairs_warning([PairRow(ArrayPair(), facts=FACTS)]) == ""
    assert pairs_warning([PairRow(ArrayPair(), used=False, facts=full)]) == ""


def test_labels_that_nobody_has_corrected_are_told():
    own = PairRow(ArrayPair(), facts=replace(FACTS, as_written=True))
    mine = PairRow(ArrayPair(), facts=FACTS)

    assert pixels_line(own.facts, "classes").endswith(" · not corrected")
    assert "None of the ticked labels was corrected" in pairs_warning([own])
    assert "1 of the ticked labels were not corrected" in pairs_warning([own, mine])
    assert pairs_warning([replace(own, used=False), mine]) == ""


def test_planes_of_a_stack_that_nobody_has_corrected_are_told():
    part = PairRow(ArrayPair(), facts=replace(FACTS, uncorrected="0, 2-4"))

    assert pixels_line(part.facts, "classes").endswith(" · not corrected: plane 0, 2-4")
    assert "Some of the checked planes were not corrected" in pairs_warning([part])


def test_two_ticked_labels_of_one_image_are_warned_of():
    one, other = PairRow(ArrayPair(), facts=FACTS), PairRow(ArrayPair(), facts=FACTS)

    assert "Several ticked labels are of one image (cells)" in pairs_warning([one, other])
    assert pairs_warning([one, replace(other, used=False)]) == ""
    assert pairs_warning([one, PairRow(ArrayPair("other"), facts=FACTS)]) == ""


def test_objects_of_several_classes_are_refused_with_the_reason():
    card = make_entry(classes=3).card
    choices = FinetuneChoices("bright", "objects", tuple(card.classes))

    assert "one class" in what_is_missing([PairRow(ArrayPair())], choices, card)


def test_a_class_that_was_renamed_is_said_to_be_new_and_the_old_one_given_up():
    card = make_entry().card
    choices = FinetuneChoices(
        classes=(card.classes[0], card.classes[1].model_copy(update={"name": "vein"}))
    )

    assert "learnt from your labels alone: vein" in classes_hint(card, choices)
    assert "Given up: cell" in classes_hint(card, choices)


def test_a_class_that_had_another_number_when_the_labels_were_made_is_told():
    card = make_entry("bright", 3).card
    first, second, third = card.classes
    turned = card.model_copy(update={"classes": [first, third, second]})
    choices = FinetuneChoices(classes=tuple(card.classes), labels="classes")

    hint = classes_hint(card, choices, turned)
    assert f"that made the labels {second.name!r} was 2, here it is 1" in hint
    assert classes_hint(card, choices, card) == ""
    assert classes_hint(card, replace(choices, labels="objects"), turned) == ""


def test_an_interrupted_run_is_told_with_its_time_and_steps():
    now = datetime.now().astimezone().replace(hour=12, minute=30)
    run = KeptRun(Path("run"), "bright", now, steps=140)

    assert interrupted_line(run) == "A run of 12:30 was interrupted after 140 steps."


def test_that_a_run_waits_for_room_is_told_as_a_note():
    story = RunStory()

    story.hear({"event": "waiting", "what": "The checkpoint cannot be written."})

    assert story.notes == ["The checkpoint cannot be written."]
    assert story.phase == "starting"

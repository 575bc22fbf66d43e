import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_rwkv_seg.controllers.evaluate import (
    NO_FOLDERS,
    NO_LAYERS,
    EvaluateChoices,
    EvaluateController,
    Evaluated,
    EvaluateJob,
)
from napari_rwkv_seg.controllers.evaluate_about import OTHERS_CHOSEN, are_alike, outdated_line
from napari_rwkv_seg.controllers.evaluate_layers import LayerComparison, LayerFacts, check_place
from napari_rwkv_seg.controllers.evaluate_table import comparing_line, natural, summary_of, table_of
from napari_rwkv_seg.errors import EvaluationError, OutputError, SettingsError
from napari_rwkv_seg.evaluation.comparison import EvaluationSettings, compare
from napari_rwkv_seg.evaluation.run import Compared, Evaluation
from napari_rwkv_seg.images import write_labels


def layer(labels: np.ndarray, name: str = "found", scale: object = None, **facts) -> LayerFacts:
    labels = np.asarray(labels)
    sizes = np.ones(labels.ndim) if scale is None else np.asarray(scale, float)
    given = {
        "matrix": np.diag(sizes),
        "shift": np.zeros(labels.ndim),
        "units": ("micrometer",) * labels.ndim,
    }
    return LayerFacts(name, labels.shape, lambda: labels, **(given | facts))


def square(shift: int = 0) -> np.ndarray:
    labels = np.zeros((12, 14), np.int32)
    labels[3:8, 2 + shift : 7 + shift] = 1
    return labels


def do(controller: EvaluateController, job: EvaluateJob) -> Evaluated:
    """Run a job to its end, telling all that is told."""
    steps = controller.steps(job)
    while True:
        try:
            controller.hear(job, next(steps))
        except StopIteration as end:
            controller.finish(end.value)
            return end.value


@pytest.fixture
def controller() -> EvaluateController:
    return EvaluateController()


@pytest.fixture
def told(controller) -> dict[str, list]:
    """Return what the controller tells."""
    news: dict[str, list] = {"evaluated": [], "failed": [], "cancelled": [], "progressed": []}
    for name, heard in news.items():
        getattr(controller, name).connect(heard.append)
    return news


def test_two_layers_are_compared_in_the_units_of_their_world(controller, told):
    found, true = (layer(square(by), name, (0.5, 0.25)) for by, name in ((2, "found"), (0, "true")))
    do(controller, controller.begin([found, true]))
    [outcome] = told["evaluated"]
    [row] = outcome.evaluation.rows
    assert (row.hd95, row.unit, row.pair) == (0.5, "µm", "found")
    assert np.unique(outcome.differences).tolist() == [0, 1, 2, 3]
    assert told["progressed"]
    assert controller.running is None


def test_scores_are_kept_without_the_labels(controller, told):
    pixels = [square(2), square(0)]
    watched = [weakref.ref(one) for one in pixels]
    layers = [layer(one, name) for one, name in zip(pixels, ("found", "true"), strict=True)]
    do(controller, controller.begin(layers))
    told.clear()
    del pixels, layers
    gc.collect()

    assert [one() for one in watched] == [None, None]
    assert [one.name for one in controller.kept.job.layers] == ["found", "true"]


def test_a_rotation_keeps_distances_and_a_shear_is_refused(controller, told):
    turn = np.array([[0.0, -0.5], [0.5, 0.0]])
    do(controller, controller.begin([layer(square(2), matrix=turn), layer(square(), matrix=turn)]))
    assert told["evaluated"][0].evaluation.rows[0].hd95 == 1.0
    sheared = np.array([[1.0, 0.5], [0.0, 1.0]])
    do(controller, controller.begin([layer(square(), matrix=sheared)] * 2))
    assert "sheared" in told["failed"][0]


def test_a_volume_is_one_body_or_frames_as_the_user_says(controller, told):
    volume = np.stack([square()] * 3)
    layers = [layer(np.roll(volume, 1, 0), scale=(5, 1, 1)), layer(volume, "true", (5, 1, 1))]
    do(controller, controller.begin(layers))
    controller.choose(stack="planes")
    do(controller, controller.begin(layers))
    body, planes = (outcome.evaluation.rows for outcome in told["evaluated"])
    assert [row.pair for row in body] == ["found"]
    assert [row.pair for row in planes] == ["found [0]", "found [1]", "found [2]"]
    assert told["evaluated"][1].differences.shape == volume.shape


def test_an_axis_of_length_one_does_not_count(controller, told):
    labels = square()[None, :, None, :]
    units = ("micrometer", "micrometer", "pixel", "micrometer")
    with pytest.raises(EvaluationError, match="2 to 4"):
        check_place(*[layer(labels[..., None, None].repeat(2, -1).repeat(2, -2).repeat(2, 0),
                            units=("pixel",) * 6)] * 2)  # fmt: skip
    flat = square()[None, None]
    do(controller, controller.begin([layer(flat, units=units)] * 2))
    assert told["evaluated"][0].differences.shape == flat.shape


def test_labels_of_another_shape_place_or_unit_are_refused():
    true = layer(square(), "true")
    for other, said in (
        (layer(square()[1:]), "11 × 14 and 12 × 14"),
        (layer(square(), scale=(1.01, 1)), "same place"),
        (layer(square(), shift=np.array([0.0, 0.5])), "same place"),
        (layer(square(), units=("millimeter",) * 2), "same place"),
        (layer(square(), units=("pixel",) * 2), "other units"),
        (layer(square(), units=("micrometer", "second")), "other units"),
        (layer(square(), scale=(0, 1)), "no size of a pixel"),
        (layer(np.zeros(5, int)), "5 and 12 × 14"),
    ):
        with pytest.raises(EvaluationError, match=said):
            LayerComparison(other, true, "body")
    check_place(layer(square(), scale=(1.0000001, 1)), true)
    in_nm = {"units": ("nanometer", "micrometer"), "shift": np.array([2000.0, 3.0])}
    moved = layer(square(), "true", shift=np.array([2.0, 3.0]))
    check_place(layer(square(), scale=(1000, 1), **in_nm), moved)


def test_units_that_are_no_lengths_are_told_and_pixels_are_counted(controller, told):
    facts = {"scale": (3, 3), "units": ("second", "micrometer")}
    do(controller, controller.begin([layer(square(2), **facts), layer(square(), **facts)]))
    evaluation = told["evaluated"][0].evaluation
    assert (evaluation.rows[0].hd95, evaluation.rows[0].unit) == (2, "px")
    assert "second, micrometer" in evaluation.notes[0]


def test_a_mask_of_0_and_255_is_class_1_beside_one_of_0_and_1(controller, told):
    do(controller, controller.begin([layer(square() * 255), layer(square(), "true")]))
    do(controller, controller.begin([layer(square()), layer(square() * 255, "true")]))
    do(controller, controller.begin([layer(square() * 255), layer(square() * 255, "true")]))
    for outcome, number in zip(told["evaluated"], (1, 1, 255), strict=True):
        [row] = outcome.evaluation.rows
        assert (row.number, row.dice) == (number, 1)
        assert set(np.unique(outcome.differences)) == {0, 1}
    assert "'true' of 0 and 255" in told["evaluated"][1].evaluation.notes[0]


def test_names_of_classes_come_from_the_layers(controller, told):
    named = layer(square(), class_names={1: "nucleus"})
    do(controller, controller.begin([layer(square()), named]))
    assert told["evaluated"][0].evaluation.rows[0].name == "nucleus"


def test_folders_are_compared_and_saved(controller, told, tmp_path: Path):
    for name in ("found", "true"):
        (tmp_path / name).mkdir()
        write_labels(tmp_path / name / "a.tif", square())
    (tmp_path / "found" / "b.tif").touch()
    controller.choose(what="folders", found=tmp_path / "found", true=tmp_path / "true")
    do(controller, controller.begin())
    [outcome] = told["evaluated"]
    assert outcome.differences is None
    assert "no partner" in outcome.evaluation.notes[0]
    saved = controller.save(tmp_path / "scores")
    assert saved == tmp_path / "scores.csv"
    assert saved.read_bytes().startswith(b"pair,number,name,dice")
    with pytest.raises(OutputError):
        controller.save(tmp_path / "no" / "scores.csv")


def test_what_is_missing_is_said_before_anything_runs(controller, tmp_path):
    assert controller.problem(None, None) == NO_LAYERS
    assert controller.problem(layer(square()), layer(square())) == ""
    assert "pixels" in controller.problem(layer(square()[1:]), layer(square()))
    controller.choose(tolerance="wide")
    assert "no length" in controller.problem(layer(square()), layer(square()))
    controller.choose(what="folders", tolerance="")
    assert controller.problem(None, None) == NO_FOLDERS
    controller.choose(found=tmp_path, true=tmp_path)
    assert controller.problem(None, None) == ""


def test_a_choice_that_there_is_not_changes_nothing(controller):
    before = controller.choices
    for wrong in ({"what": "files"}, {"labels": "things"}, {"stack": "4-D"}):
        with pytest.raises(SettingsError):
            controller.choose(**wrong)
    assert controller.choices is before


def test_a_job_that_is_stopped_is_cancelled_and_keeps_no_scores(controller, told):
    job = controller.begin([layer(square())] * 2)
    controller.progressed.connect(controller.stop)
    assert do(controller, job).evaluation is None
    assert told["cancelled"] == [job]
    assert controller.kept is None


def test_an_older_job_that_ends_later_is_not_heard(controller, told):
    first = controller.begin([layer(square())] * 2)
    second = controller.begin([layer(square())] * 2)
    assert first.stopped.is_set()
    controller.finish(Evaluated(first, Evaluation(())))
    assert told["evaluated"] == []
    do(controller, second)
    assert len(told["evaluated"]) == 1


def test_a_fault_in_a_worker_is_a_sentence(controller, told):
    def fail() -> None:
        raise ZeroDivisionError("by nothing")

    broken = LayerFacts("a", (2, 2), fail, np.eye(2), np.zeros(2), ("pixel",) * 2)
    do(controller, controller.begin([broken, broken]))
    assert "ZeroDivisionError" in told["failed"][0]


def test_a_layer_that_has_changed_its_size_is_a_sentence(controller, told):
    changed = LayerFacts("a", (2, 2), square, np.eye(2), np.zeros(2), ("pixel",) * 2)
    do(controller, controller.begin([changed, changed]))
    assert "once more" in told["failed"][0]


def test_the_table_shows_a_dash_for_what_is_not_defined_and_sorts_it_first(controller, told):
    empty = np.zeros_like(square())
    do(controller, controller.begin([layer(empty), layer(square())]))
    table = table_of(told["evaluated"][0].evaluation)
    hd95 = table.titles.index("HD95 (µm)")
    assert table.titles[:4] == ("Image", "Class", "Dice", "IoU")
    assert table.titles[hd95 + 1] == "Surface Dice (1 µm)"
    [row] = table.rows
    assert (row[hd95].text, row[hd95].value) == ("–", -np.inf)
    assert row[2].text == "0.000"


def test_images_are_sorted_as_people_count():
    names = ["cells[10]", "Cells[9]", "cells[2]", "b", "cells[02]b"]
    assert sorted(names, key=natural) == ["b", "cells[2]", "cells[02]b", "Cells[9]", "cells[10]"]


def test_the_summary_says_means_and_deviations_of_several_images(controller, told):
    volume = np.stack([square()] * 2)
    found = volume.copy()
    found[0] = 0
    controller.choose(stack="planes")
    do(controller, controller.begin([layer(found), layer(volume)]))
    text = summary_of(told["evaluated"][0].evaluation)
    assert text.startswith("Means over 2 images (± standard deviation):\nclass 1: Dice 0.500 ± 0.7")
    assert "HD95 0.000 µm" in text
    assert summary_of(Evaluation(())) == "Nothing could be compared."


def test_progress_says_which_image_it_is():
    assert comparing_line(Compared(1.4, 5, "b.tif")) == "Image 2 of 5: b.tif"
    assert comparing_line(Compared(0.4, 1, "b.tif")) == "Comparing b.tif …"


def test_the_scores_are_those_of_the_library(controller, told):
    from napari_rwkv_seg.evaluation.comparison import LabelPair
    from napari_rwkv_seg.evaluation.lengths import Spacing

    do(controller, controller.begin([layer(square(1)), layer(square())]))
    pair = LabelPair("found", square(1), square(), Spacing((1.0, 1.0), "µm"))
    assert list(told["evaluated"][0].evaluation.rows) == compare(pair, EvaluationSettings())


def test_choices_are_alike_if_they_differ_in_what_is_not_asked():
    layers = EvaluateChoices()
    assert are_alike(layers, replace(layers, found=Path("a")))
    assert not are_alike(layers, replace(layers, stack="planes"))
    folders = replace(layers, what="folders")
    assert are_alike(folders, replace(folders, stack="planes"))
    assert not are_alike(folders, replace(folders, found=Path("a")))
    assert not are_alike(folders, layers)


def test_a_line_says_why_scores_are_out_of_date():
    assert outdated_line("", is_chosen=True) == ""
    assert outdated_line("mine", is_chosen=True) == "'mine' has changed since; evaluate again."
    assert outdated_line("mine", is_chosen=False).splitlines()[1] == OTHERS_CHOSEN

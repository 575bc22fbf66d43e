"""A controller segments, cancels and relabels without any window."""

import gc
import subprocess
import sys
import weakref
from functools import partial

import numpy as np
import pytest

from napari_rwkv_seg.controllers.segment import Outcome, SegmentController
from napari_rwkv_seg.controllers.sentences import NO_MODEL
from napari_rwkv_seg.controllers.settings import SegmentSettings
from napari_rwkv_seg.errors import SettingsError


def test_a_run_tells_its_start_its_progress_and_its_result(controller, image, drain, heard) -> None:
    drain(controller, controller.begin(lambda: image))

    assert heard[0] == "started"
    assert heard[-1] == "segmented"
    assert set(heard[1:-1]) == {"progressed"}


def test_the_result_is_kept_with_probabilities(controller, image, drain) -> None:
    drain(controller, controller.begin(lambda: image))

    kept = controller.kept.segmentation
    assert kept.probabilities.shape == (2, 7, 11)
    np.testing.assert_array_equal(kept.labels > 0, image > 125)


def test_the_result_is_kept_without_the_image(controller, image, drain) -> None:
    pixels = image.copy()
    watched = weakref.ref(pixels)
    drain(controller, controller.begin(lambda pixels=pixels: pixels))
    del pixels
    gc.collect()

    assert watched() is None
    assert controller.kept.segmentation is not None


def test_provenance_tells_model_layer_and_licence(controller, image, drain) -> None:
    drain(controller, controller.begin(lambda: image, {"layer": "cells"}))

    facts = controller.kept.segmentation.provenance
    assert facts["model"] == "bright"
    assert facts["sha256"] == "0" * 64
    assert facts["layer"] == "cells"
    assert facts["license"] == "CC0-1.0"


def test_m26_a_licence_warning_is_kept_in_the_provenance(engine, controller, image, drain) -> None:
    engine.card = engine.card.model_copy(update={"license": "CC-BY-NC-4.0"})

    drain(controller, controller.begin(lambda: image))

    assert "commercial" in controller.kept.segmentation.provenance["license_warning"]


def test_a_run_keeps_the_settings_that_it_began_with(controller, image, drain) -> None:
    job = controller.begin(lambda: image)
    controller.choose(threshold=0.9)

    drain(controller, job)

    assert controller.kept.segmentation.settings.threshold == 0.5


def test_choosing_tells_the_new_settings(controller) -> None:
    told = []
    controller.settings_changed.connect(told.append)

    controller.choose(scope="current slice", threshold=0.25)

    assert told == [controller.settings]
    assert controller.settings.scope == "current slice"
    assert controller.settings.labels.threshold == 0.25


def test_choosing_the_same_again_tells_nothing(controller) -> None:
    told = []
    controller.settings_changed.connect(told.append)

    controller.choose(threshold=0.5)

    assert told == []


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": -0.1},
        {"threshold": float("nan")},
        {"threshold": "0,5"},
        {"smallest_object": -1},
        {"split_distance": 0},
        {"output": ""},
        {"model": ""},
    ],
    ids=str,
)
def test_p10_a_wrong_value_is_refused_and_nothing_changes(controller, changes) -> None:
    before = controller.settings

    with pytest.raises(SettingsError):
        controller.choose(**changes)

    assert controller.settings == before


@pytest.mark.parametrize("threshold", [0, 1])
def test_p10_the_ends_of_the_threshold_are_allowed(controller, image, drain, threshold) -> None:
    controller.choose(threshold=threshold)

    drain(controller, controller.begin(lambda: image))

    assert controller.kept.segmentation.labels.shape == image.shape


@pytest.mark.parametrize("last", range(4))
def test_p06_stopping_at_any_step_cancels_and_keeps_nothing(
    controller, image, drain, heard, last
) -> None:
    steps = []

    def stop_later(progress: object) -> None:
        steps.append(progress)
        if len(steps) > last:
            controller.stop()

    controller.progressed.connect(stop_later)
    drain(controller, controller.begin(lambda: image))

    assert heard[-1] == "cancelled"
    assert "segmented" not in heard
    assert controller.kept is None


def test_p06_stopping_while_the_model_loads_runs_no_network(
    engine, controller, image, drain, heard
) -> None:
    job = controller.begin(lambda: image)
    controller.stop()

    drain(controller, job)

    assert heard == ["started", "cancelled"]
    assert engine.runs == 0


def test_p06_cancelling_closes_the_run_so_that_it_lets_go_of_its_memory(
    engine, controller, image, drain
) -> None:
    engine.on_step = lambda step: controller.stop()

    drain(controller, controller.begin(lambda: image))

    assert engine.closed == 1


def test_p06_a_generator_closed_from_outside_counts_as_cancelled(controller, image, heard) -> None:
    job = controller.begin(lambda: image)
    steps = controller.steps(job)
    next(steps)

    steps.close()
    controller.finish(Outcome(job))

    assert heard[-1] == "cancelled"


def test_p06_a_cancelled_run_leaves_the_kept_result_alone(controller, image, drain) -> None:
    drain(controller, controller.begin(lambda: image))
    kept = controller.kept
    job = controller.begin(lambda: image)
    controller.stop()

    drain(controller, job)

    assert controller.kept is kept


def test_c10_an_older_job_that_ends_last_is_dropped(controller, image, drain, heard) -> None:
    older = controller.begin(lambda: image)
    newer = controller.begin(lambda: image[:, ::-1])
    drain(controller, newer)
    result = controller.kept

    drain(controller, older)

    assert controller.kept is result
    assert heard.count("segmented") == 1


def test_p07_a_newer_job_tells_the_older_one_to_stop(controller, image) -> None:
    older = controller.begin(lambda: image)

    controller.begin(lambda: image)

    assert older.stopped.is_set()


def test_p07_progress_of_an_older_job_is_not_told(controller, image, heard) -> None:
    older = controller.begin(lambda: image)
    controller.begin(lambda: image)

    controller.hear(older, object())

    assert "progressed" not in heard


def test_p07_of_many_adjustments_only_the_newest_is_kept(controller, image, drain, heard) -> None:
    drain(controller, controller.begin(lambda: image))
    jobs = []
    for step in range(50):
        controller.choose(threshold=0.5 + step / 100)
        jobs.append(controller.begin_relabel())

    for job in jobs:
        if job is not None:
            drain(controller, job)

    assert heard.count("relabelled") == 1
    assert controller.kept.segmentation.settings.threshold == 0.99


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("out of luck"),
        MemoryError(),
        SystemExit(1),
        KeyboardInterrupt(),
        UserWarning("a warning as an error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_p08_whatever_is_raised_ends_the_job_with_one_sentence(
    engine, controller, image, drain, heard, error
) -> None:
    def fail(step: int) -> None:
        raise error

    engine.on_step = fail
    sentences = []
    controller.failed.connect(sentences.append)

    drain(controller, controller.begin(lambda: image))

    assert heard[-1] == "failed"
    assert len(sentences) == 1
    assert sentences[0].endswith(".")
    assert controller.running is None


def test_p08_after_a_failure_the_next_run_works(engine, controller, image, drain, heard) -> None:
    def fail(step: int) -> None:
        raise ValueError("once")

    engine.on_step = fail
    drain(controller, controller.begin(lambda: image))
    engine.on_step = lambda step: None

    drain(controller, controller.begin(lambda: image))

    assert heard[-1] == "segmented"


def test_a_lazy_image_that_cannot_be_read_ends_with_a_sentence(controller, drain, heard) -> None:
    def read() -> np.ndarray:
        raise OSError("the disk is gone")

    outcome = drain(controller, controller.begin(read))

    assert heard[-1] == "failed"
    assert "the disk is gone" in outcome.sentence


@pytest.mark.parametrize("shape", [(0, 10), (10, 0), (3, 0, 5)], ids=str)
def test_i01_an_empty_image_is_refused_with_a_sentence(controller, drain, heard, shape) -> None:
    outcome = drain(controller, controller.begin(partial(np.zeros, shape)))

    assert heard[-1] == "failed"
    assert "empty" in outcome.sentence


def test_p12_a_model_that_is_not_there_is_a_guided_message(image, drain) -> None:
    controller = SegmentController(settings=SegmentSettings(model="no_such_model", axes="YX"))

    outcome = drain(controller, controller.begin(lambda: image))

    assert "There is no model 'no_such_model'" in outcome.sentence
    assert controller.kept is None


def test_p12_the_message_without_any_model_says_what_to_do() -> None:
    assert "Install" in NO_MODEL


def test_relabelling_runs_no_network(engine, controller, image, drain, heard) -> None:
    drain(controller, controller.begin(lambda: image))
    controller.choose(threshold=0.7)

    drain(controller, controller.begin_relabel())

    assert engine.runs == 1
    assert heard[-1] == "relabelled"
    np.testing.assert_array_equal(controller.kept.segmentation.labels > 0, image > 200)


def test_relabelling_without_a_result_does_nothing(controller) -> None:
    assert controller.begin_relabel() is None


def test_relabelling_to_the_same_settings_does_nothing(controller, image, drain) -> None:
    drain(controller, controller.begin(lambda: image))

    assert controller.begin_relabel() is None


def test_relabelling_a_stack_stops_after_the_present_plane_and_keeps_the_result(
    controller, image, drain, heard
) -> None:
    controller.choose(axes="ZYX")
    drain(controller, controller.begin(lambda: np.stack([image] * 3)))
    kept = controller.kept
    controller.choose(threshold=0.7)
    job = controller.begin_relabel()
    steps = controller.steps(job)
    while next(steps).total != 3:
        pass

    controller.stop_relabel()
    with pytest.raises(StopIteration) as end:
        next(steps)
    controller.finish(end.value.value)

    assert end.value.value.segmentation is None
    assert controller.kept is kept
    assert heard[-1] == "segmented"


def test_labels_made_anew_of_an_older_result_are_dropped(controller, image, drain, heard) -> None:
    drain(controller, controller.begin(lambda: image))
    controller.choose(threshold=0.7)
    stale = controller.begin_relabel()
    drain(controller, controller.begin(lambda: image))

    drain(controller, stale)

    assert heard[-1] == "segmented"


def test_controllers_need_no_window_and_no_torch() -> None:
    code = (
        "import sys; import napari_rwkv_seg.controllers.segment, "
        "napari_rwkv_seg.controllers.settings, napari_rwkv_seg.controllers.sentences; "
        "found = {'torch', 'napari', 'qtpy', 'scipy', 'skimage'} & set(sys.modules); "
        "sys.exit(str(found) if found else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr

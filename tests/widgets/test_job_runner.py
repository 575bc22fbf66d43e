"""A job in a worker ends, whatever becomes of it, and Cancel is heard whatever it does."""

import threading

import pytest
from napari.utils import cancelable_progress, progress

from napari_rwkv_seg.widgets.job_runner import JobRunner, ignored

pytestmark = pytest.mark.gui


@pytest.fixture
def bars():
    """Return the bars in napari's activity dock that the test has opened."""
    before = set(progress._all_instances)
    return lambda: [bar for bar in progress._all_instances if bar not in before]


def test_p06_cancel_is_heard_by_a_job_that_tells_no_progress(qtbot, bars):
    stopped, ended = threading.Event(), []

    def work():
        stopped.wait(10)
        return "stopped" if stopped.is_set() else "not stopped"
        yield

    runner = JobRunner("Copy", on_cancel=stopped.set)
    runner.start(work, ignored, ended.append)
    bars()[0].cancel()

    qtbot.waitUntil(lambda: bool(ended))
    assert ended == ["stopped"]
    assert bars() == []


def test_a_job_that_cannot_be_cancelled_offers_no_cancel(qtbot, bars):
    ended = []

    def work():
        return "done"
        yield

    JobRunner("Look").start(work, ignored, ended.append)

    assert [isinstance(bar, cancelable_progress) for bar in bars()] == [False]
    qtbot.waitUntil(lambda: bool(ended))


@pytest.mark.parametrize("error", [RuntimeError("torn chunk"), KeyError("torn chunk")])
def test_an_error_that_no_job_foresees_ends_it_and_is_raised_where_napari_shows_it(qtbot, error):
    ended = []

    def work():
        raise error
        yield

    runner = JobRunner()
    with qtbot.capture_exceptions() as raised:
        runner.start(work, ignored, ended.append)
        qtbot.waitUntil(lambda: bool(ended))

    assert ended == [None]
    assert not runner.is_busy
    assert any("torn chunk" in str(error) for _, error, _ in raised)

"""Work in steps is run to its end, heard, and ended by what its hearer raises."""

import pytest

from napari_rwkv_seg.inference.steps import drained


def work(log):
    try:
        yield 1
        yield 2
        return "done"
    finally:
        log.append("closed")


def test_what_is_yielded_is_heard_and_what_is_returned_is_returned():
    heard, log = [], []
    assert drained(work(log), heard.append) == "done"
    assert heard == [1, 2]
    assert drained(work(log)) == "done"


def test_what_the_hearer_raises_ends_the_work_at_once():
    log = []

    def stop(news):
        raise InterruptedError(news)

    with pytest.raises(InterruptedError, match="1"):
        drained(work(log), stop)
    assert log == ["closed"]

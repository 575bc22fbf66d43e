"""One process fills a store, of all on this machine and on others that see its folder."""

import errno
import json
import os
import platform
import threading
from pathlib import Path

import psutil
import pytest

from napari_rwkv_seg.errors import RunError
from napari_rwkv_seg.inference.stream_claim import claimed
from napari_rwkv_seg.locks import held


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the folder lies on a network share that knows no locks."""
    if os.name == "nt":
        pytest.skip("the lock that is refused here is not that of Windows")

    def refuse(handle: int, what: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


def leave_claim(store: Path, **changes: object) -> None:
    """Leave the claim of this very process, or what is changed of it."""
    store.mkdir(exist_ok=True)
    mine = {"process": os.getpid(), "started": psutil.Process().create_time()}
    claim = mine | {"host": platform.node()} | changes
    (store / "in_use.json").write_text(json.dumps(claim))


def test_a_store_that_another_machine_fills_is_refused_by_name(tmp_path: Path) -> None:
    leave_claim(tmp_path, process=7, host="ward-3")
    with (
        held(tmp_path / "in_use.lock", 0),
        pytest.raises(RunError, match="process 7 on 'ward-3'; wait"),
        claimed(tmp_path),
    ):
        pass


def test_of_all_who_start_at_once_one_fills_the_store(tmp_path: Path) -> None:
    count, won, refused = 8, [], []
    start, end = threading.Barrier(count), threading.Barrier(count)

    def fill(number: int) -> None:
        start.wait(60)
        try:
            with claimed(tmp_path / "store"):
                won.append(number)
                end.wait(60)
        except RunError:
            refused.append(number)
            end.wait(60)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, count - 1)


@pytest.mark.parametrize("host", [platform.node(), "ward-3"])
def test_what_a_killed_process_left_keeps_nobody_away(tmp_path: Path, host: str) -> None:
    leave_claim(tmp_path, host=host)  # its lock went with it
    with claimed(tmp_path):
        assert json.loads((tmp_path / "in_use.json").read_text())["host"] == platform.node()
    assert not (tmp_path / "in_use.json").exists()


@pytest.mark.usefixtures("without_locks")
def test_where_there_are_no_locks_the_claim_of_another_machine_is_deleted_by_hand(
    tmp_path: Path,
) -> None:
    leave_claim(tmp_path, host="ward-3")
    with pytest.raises(RunError, match=r"'ward-3'; .* delete 'in_use.json'"), claimed(tmp_path):
        pass
    (tmp_path / "in_use.json").unlink()
    with claimed(tmp_path):
        pass


@pytest.mark.usefixtures("without_locks")
def test_where_there_are_no_locks_a_claim_of_this_machine_counts_while_its_process_lives(
    tmp_path: Path,
) -> None:
    leave_claim(tmp_path)
    with pytest.raises(RunError, match=f"process {os.getpid()} on"), claimed(tmp_path):
        pass
    leave_claim(tmp_path, started=1.0)  # the number was given again
    with claimed(tmp_path):
        pass
    (tmp_path / "in_use.json").write_text("{torn")
    with claimed(tmp_path):
        pass

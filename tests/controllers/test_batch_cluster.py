"""A batch on a real cluster of two worker processes, one of which is killed on the way."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from napari_rwkv_seg.controllers import (
    batch_cluster,
    batch_tasks,
    batch_workers,
    stream_cluster,
)
from napari_rwkv_seg.controllers.batch import Batch, BatchChoices, batch_steps
from napari_rwkv_seg.controllers.batch_items import BatchItem
from napari_rwkv_seg.controllers.batch_tasks import Task, TaskNews, run_tasks
from napari_rwkv_seg.controllers.batch_workers import Crew, crew_of
from napari_rwkv_seg.errors import ClusterError, SettingsError
from napari_rwkv_seg.inference.stream_folder import open_levels
from napari_rwkv_seg.zoo.card import write_card
from napari_rwkv_seg.zoo.store import find_model

from .batching import run, write_image, write_images, write_tiny_model


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster of two worker processes; a worker that dies is started anew."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=50,
    ) as cluster:
        yield cluster


@pytest.fixture
def crew(cluster: Any) -> Crew:
    """Return the cluster's workers, both of them."""
    cluster.wait_for_workers(2, timeout=60)
    return Crew(scheduler=cluster.scheduler_address)


@pytest.fixture
def batch(tmp_path: Path, crew: Crew) -> Batch:
    model = write_tiny_model(tmp_path / "tiny")
    write_images(tmp_path / "images", 6, broken=1)
    choices = BatchChoices(model=str(model), device="cpu", measure=True)
    return Batch([tmp_path / "images"], tmp_path / "out", choices, crew=crew)


def pids(cluster: Any) -> dict[str, int]:
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        found: dict[str, int] = client.run(os.getpid)
    return found


def ended(steps: Iterator[TaskNews]) -> dict[str, TaskNews]:
    return {news.task.key: news for news in steps if news.task and news.state != "running"}


def test_a_worker_that_is_killed_on_the_way_costs_no_image(cluster: Any, batch: Batch) -> None:
    victim = next(iter(pids(cluster).values()))
    steps, table, killed = batch_steps(batch), None, False
    while table is None:
        try:
            news = next(steps)
        except StopIteration as end:
            table = end.value
            break
        if not killed and any(row.state == "done" for row in news.rows):
            os.kill(victim, signal.SIGKILL)
            killed = True
    assert killed
    # What the victim had written, but not told, is found done by the next worker.
    states = [row.state.replace("skipped", "done") for row in table.rows]
    assert sorted(states) == ["done"] * 5 + ["failed"]
    again = run(replace(batch, crew=None))
    assert again.sentence() == "0 done, 5 skipped, 1 failed of 6 images."
    assert list(batch.out.glob(".batch.*")) == []


def test_a_task_that_kills_every_worker_is_lost_alone(crew: Crew) -> None:
    tasks = [Task("deadly", os._exit, (1,)), *(Task(f"{n}", pow, (n, 2)) for n in range(5))]
    found = ended(run_tasks(tasks, crew))
    assert [found[f"{n}"].value for n in range(5)] == [0, 1, 4, 9, 16]
    assert found["deadly"].state == "lost"
    assert "Several workers died" in str(found["deadly"].error)


def test_what_a_task_raises_is_told(crew: Crew) -> None:
    news = ended(run_tasks([Task("x", divmod, (1, 0))], crew))["x"]
    assert news.state == "lost"
    assert isinstance(news.error, ZeroDivisionError)


def test_a_path_that_workers_do_not_see_is_a_sentence(crew: Crew, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"does not see .*no such folder"):
        next(run_tasks([Task("x", pow, (1, 1))], crew, [tmp_path / "no such folder"]))


def test_a_worker_s_model_looks_as_often_as_is_wished(batch: Batch, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch_cluster, "take_share", lambda: None)
    card = find_model(batch.choices.model).card
    for views in (4, 1):
        choices = replace(batch.choices, views=views)
        assert batch_cluster.model_of(choices, card.weights_sha256).views == views


def test_a_batch_on_workers_says_that_sides_matter_to_its_model(batch: Batch) -> None:
    card = find_model(batch.choices.model).card.model_copy(update={"orientation": "fixed"})
    write_card(Path(batch.choices.model), card)
    wished = replace(batch, choices=replace(batch.choices, views=8))
    with closing(batch_steps(wished)) as steps:
        assert any("tells sides apart" in note for note in next(steps).notes)


def test_torch_has_its_share_of_the_cores(crew: Crew) -> None:
    cores = len(batch_workers._cores())
    news = ended(run_tasks([Task("x", batch_tasks.take_share)], crew))["x"]
    assert news.value == max(1, cores // 2)


def test_workers_with_cores_of_their_own_do_not_share_them() -> None:
    class Client:
        cores: ClassVar = {"tcp://a:1": (0, 1), "tcp://a:2": (2, 3), "tcp://b:1": (0, 1, 2, 3)}

        def run(self, *_: object, **__: object) -> dict[str, tuple[int, ...]]:
            return {**self.cores, "tcp://b:2": (0, 1, 2, 3)}

        def nthreads(self) -> dict[str, int]:
            return dict.fromkeys(self.run(), 1)

    assert list(batch_workers.shares_of(Client()).values()) == [2, 2, 2, 2]


def test_layers_are_not_sent(batch: Batch) -> None:
    item = BatchItem(Path("layer"), "layer", lambda: None)
    with pytest.raises(ClusterError, match="save them as files"):
        run(replace(batch, images=[item]))


def test_workers_of_ones_own_are_started_and_ended() -> None:
    import psutil

    before = set(psutil.Process().children(recursive=True))
    news = ended(run_tasks([Task("x", os.getpid)], Crew(workers=1)))["x"]
    assert news.value != os.getpid()
    left = set(psutil.Process().children(recursive=True)) - before
    assert news.value not in {process.pid for process in left}


def test_a_scheduler_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_workers, "JOIN_S", 2.0)
    with pytest.raises(ClusterError, match="No scheduler answers"):
        next(run_tasks([], Crew(scheduler="tcp://127.0.0.1:9")))


@pytest.mark.parametrize("address", ["foo", "tcp://foo", "http://foo:8786"])
def test_what_is_no_address_is_a_sentence_at_once_and_leaves_no_client_behind(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    made: list[object] = []
    monkeypatch.setattr(distributed, "Client", lambda *args, **more: made.append(args))
    with pytest.raises(ClusterError, match=r"No scheduler answers at .*foo"):
        next(run_tasks([], Crew(scheduler=address)))
    assert made == []


def test_without_the_extra_it_is_a_sentence_which_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_workers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"napari-rwkv-seg\[cluster\]"):
        crew_of(workers=2)


def test_workers_and_a_scheduler_together_are_refused() -> None:
    with pytest.raises(SettingsError, match="not both"):
        crew_of(2, "tcp://host:8786")
    assert crew_of() is None


def test_the_pieces_of_a_huge_image_survive_the_death_of_a_worker(
    cluster: Any, crew: Crew, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a small image; the labels are those of a run without a cluster."""
    monkeypatch.setattr(stream_cluster, "ROWS", 1)
    image = write_image(tmp_path / "tall.tif", shape=(5000, 70))  # five rows of blocks
    victim = next(iter(pids(cluster).values()))
    choices = replace(batch.choices, stream=True)
    killed, rows = False, []
    for news in batch_steps(replace(batch, images=[image], choices=choices)):
        rows += news.rows
        if not killed and news.step is not None and news.step.done > 0:
            os.kill(victim, signal.SIGKILL)
            killed = True
    assert killed
    assert rows[-1].state == "done", rows[-1].note

    alone = replace(batch, images=[image], choices=choices, crew=None, out=tmp_path / "alone")
    assert run(alone).count("done") == 1
    shared, own = (
        open_levels(folder / "tall_labels.ome.zarr") for folder in (batch.out, alone.out)
    )
    assert len(shared) == len(own)
    for one, other in zip(shared, own, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))

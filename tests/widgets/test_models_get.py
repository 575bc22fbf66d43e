"""Getting a pretrained encoder from a server on this machine: whole, cancelled, resumed, wrong."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from napari_rwkv_seg.controllers.models import ModelsController
from napari_rwkv_seg.networks import build_network
from napari_rwkv_seg.widgets.model_news import ModelNews
from napari_rwkv_seg.widgets.models_dock import ModelsDock
from napari_rwkv_seg.zoo.encoders import find_encoder, list_encoders
from napari_rwkv_seg.zoo.preferences import read_mirror
from napari_rwkv_seg.zoo.pretrained import bytes_here, find_pretrained

pytestmark = pytest.mark.gui

PATH = "/OpenGVLab/Vision-RWKV/resolve/main/vrwkv_t_in1k_224.pth"


class Server(ThreadingHTTPServer):
    """Serves `content` at the one path; stops half-way for as long as `gate` is shut."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.path != PATH:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        content = self.server.content
        self.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        middle = max(start, len(content) // 2)
        try:
            self.wfile.write(content[start:middle])
            self.server.gate.wait(20)
            self.wfile.write(content[middle:])
        except OSError:
            self.close_connection = True  # the other side has gone, as a test wanted

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.gate.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def dock(qtbot, tmp_path, monkeypatch):
    """Return a dock on its own, with a real worker."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("napari_rwkv_seg.controllers.models_jobs.LEAVE_S", 0.5)
    dock = ModelsDock(ModelsController(), ModelNews())
    qtbot.addWidget(dock)
    dock.show()
    yield dock
    dock.end()


@pytest.fixture
def ended(qtbot):
    """Return what waits until a dock's job has ended; importing torch takes a process a while."""
    return lambda dock: qtbot.waitUntil(
        lambda: not dock._controller.is_busy and not dock._runner.is_busy, timeout=90_000
    )


def ask(dock: ModelsDock, mirror: str) -> None:
    """Open the question, choose VRWKV-T, and give an address."""
    dock.coming.buttons["get"].click()
    dock.questions.asked.table.selectRow(0)
    dock.questions.asked.mirror.setText(mirror)
    dock.questions.asked.mirror.editingFinished.emit()


def test_nothing_is_fetched_without_a_click(dock, server):
    ask(dock, server.url)
    texts = [dock.questions.asked.table.item(1, column).text() for column in range(4)]
    assert texts == ["VRWKV S: ImageNet-1k, 224 pixels", "95.4 MB", "Apache-2.0", "not fetched"]
    facts = dock.questions.asked.facts.toPlainText()
    assert "Please cite: Duan et al." in facts
    assert f"Address: {server.url}{PATH}" in facts
    dock.questions.asked.reject()
    assert server.asked == []
    assert not dock._controller.is_busy


def test_an_address_that_is_not_safe_is_refused_and_not_kept(dock, server):
    ask(dock, "http://example.org")
    assert "only https is used" in dock.questions.asked.problem.text()
    dock.questions.asked.ok.click()
    assert dock.questions.asked.isVisible()
    assert read_mirror() == ""
    dock.questions.asked.reject()
    assert not dock._controller.is_busy


def test_a_file_that_the_server_does_not_have_is_told(dock, server, ended):
    ask(dock, f"{server.url}/elsewhere")
    dock.questions.asked.ok.click()
    ended(dock)
    assert "404" in dock.job.problem.text()
    assert list_encoders() == []
    assert read_mirror() == f"{server.url}/elsewhere"


def test_a_download_is_cancelled_resumed_checked_and_used(dock, server, ended, until, tmp_path):
    torch.save(build_network("vrwkv", "T").state_dict(), tmp_path / "t.pth")
    server.content = (tmp_path / "t.pth").read_bytes()
    server.gate.clear()
    ask(dock, server.url)
    dock.questions.asked.ok.click()
    megabytes = len(server.content) / 1e6
    until(lambda: f"of {megabytes:.1f} MB" in dock.job.status.text())
    until(lambda: bytes_here(find_pretrained("vrwkv_t_in1k")) > 1e6)
    dock.job.cancel.click()
    ended(dock)
    assert "the next download goes on from there" in dock.job.status.text()
    assert list_encoders() == []
    server.gate.set()

    ask(dock, server.url)
    assert dock.questions.asked.ok.text() == "Resume"
    assert dock.questions.asked.table.item(0, 3).text().endswith("MB here")
    dock.questions.asked.ok.click()
    ended(dock)

    assert server.asked[0] == (PATH, None)
    assert server.asked[1][1].startswith("bytes=")
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert f"SHA-256: {sha256}" in dock.job.status.text()
    assert find_encoder("vrwkv_t_in1k").card.source_sha256 == sha256
    assert dock.table.key.endswith("vrwkv_t_in1k")
    assert sha256 in dock.card.toPlainText()
    ask(dock, server.url)
    assert not dock.questions.asked.ok.isEnabled()
    assert sha256 in dock.questions.asked.facts.toPlainText()
    dock.questions.asked.reject()


def test_a_file_that_is_no_encoder_leaves_nothing(dock, server, ended, user_data):
    server.content = b"surprise" * 1000
    ask(dock, server.url)
    dock.questions.asked.ok.click()
    ended(dock)
    assert "not a PyTorch" in dock.job.problem.text()
    assert list_encoders() == []
    assert list((user_data / "encoders" / ".downloads").glob("*.pth*")) == []

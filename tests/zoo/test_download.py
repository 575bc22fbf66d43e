"""Downloads from a server on this machine: whole, broken, cancelled, wrong, led elsewhere."""

import hashlib
import ssl
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from napari_rwkv_seg.errors import (
    CancelledError,
    DownloadError,
    ModelError,
    OutputError,
    SettingsError,
)
from napari_rwkv_seg.zoo import addresses, download, preferences, pretrained
from napari_rwkv_seg.zoo.addresses import check_address
from napari_rwkv_seg.zoo.download import Download, fetch
from napari_rwkv_seg.zoo.encoders import find_encoder, list_encoders, read_encoder
from napari_rwkv_seg.zoo.pretrained import HOSTS, PRETRAINED, Pretrained, get_encoder

CONTENT = bytes(range(256)) * 4000  # a megabyte, four pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; misbehaves as it is told."""

    content = CONTENT
    etag = '"one"'
    break_after: int | None = None  # bytes, for the first `breaks` answers
    breaks = 0
    location = ""  # where /redirect leads
    names_it = "Location"
    content_type = "application/octet-stream"
    status = 200
    knows_ranges = True
    tells_length = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header(server.names_it, server.location)
            self.end_headers()
            return
        if server.status != 200:
            self.send_error(server.status)
            return
        start = self._start(wanted)
        if start:
            self.send_response(206)
            last = len(server.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        else:
            self.send_response(200)
        rest = server.content[start:]
        self.send_header("Content-Type", server.content_type)
        self.send_header("ETag", server.etag)
        if server.tells_length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            rest = rest[: server.break_after]
        self.wfile.write(rest)

    def _start(self, wanted: str | None) -> int:
        unchanged = self.headers.get("If-Range", self.server.etag) == self.server.etag
        if not wanted or not self.server.knows_ranges or not unchanged:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def file(server, tmp_path) -> Download:
    return Download(f"{server.url}/net.pth", tmp_path / "net.pth", 2_000_000, SHA256)


def refused(file: Download, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch(file)
    assert "\n" not in str(caught.value)
    assert not file.target.exists()


def test_a_file_arrives_whole_and_leaves_nothing_else(file):
    assert fetch(file).read_bytes() == CONTENT
    assert list(file.target.parent.iterdir()) == [file.target]


def test_progress_goes_from_nothing_to_all(file):
    told = []
    fetch(file, told.append)
    assert (told[0].done, told[-1].done) == (0, len(CONTENT))
    assert {each.total for each in told} == {len(CONTENT)}
    assert sorted(each.done for each in told) == [each.done for each in told]


def test_a_file_of_unknown_hash_arrives_too(file):
    assert fetch(replace(file, sha256="")).read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again(file, server):
    server.break_after, server.breaks = 300_000, 2
    assert fetch(file).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=300000-", "bytes=600000-"]


def test_a_connection_that_breaks_too_often_is_told_and_the_part_is_kept(file, server):
    server.break_after, server.breaks = 100_000, 3
    refused(file, "What has arrived is kept; try again")
    assert file.part.read_bytes() == CONTENT[:300_000]
    assert fetch(file).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=300000-"


def test_a_cancelled_download_keeps_its_part_and_goes_on_later(file, server):
    def cancel(progress):
        if progress.done > 400_000:
            raise CancelledError

    with pytest.raises(CancelledError):
        fetch(file, cancel)
    kept = file.part.stat().st_size
    assert 400_000 < kept < len(CONTENT)
    assert not file.target.exists()
    assert fetch(file).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={kept}-"


def test_a_file_that_has_changed_meanwhile_is_fetched_from_the_start(file, server):
    server.break_after, server.breaks = 300_000, 3
    refused(file, "kept")
    server.content, server.etag = CONTENT[::-1], '"two"'
    changed = replace(file, sha256=hashlib.sha256(server.content).hexdigest())
    assert fetch(changed).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_serves_from_the_start(file, server):
    server.knows_ranges = False
    server.break_after, server.breaks = 300_000, 1
    assert fetch(file).read_bytes() == CONTENT


def test_a_part_of_which_nobody_vouches_is_not_continued(file, server):
    file.part.write_bytes(b"something else")
    assert fetch(replace(file, sha256="")).read_bytes() == CONTENT
    assert server.asked == [("/net.pth", None)]


def test_a_wrong_hash_is_refused_and_nothing_is_kept(file, server):
    refused(replace(file, sha256="0" * 64), "SHA-256 differs. Nothing of it was kept")
    assert list(file.target.parent.iterdir()) == []


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_that_is_too_large_is_refused_and_nothing_is_kept(tells_length, file, server):
    server.tells_length = tells_length
    refused(replace(file, limit=500_000), r"larger than it should be \(0 MB|1 MB")
    assert list(file.target.parent.iterdir()) == []


def test_a_web_page_is_refused(file, server):
    server.content_type = "text/html; charset=utf-8"
    refused(file, "gave a web page")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_the_server_refuses_is_told(status, file, server):
    server.status = status
    refused(file, f"the server says {status}")
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_told(file, server):
    refused(replace(file, url="http://127.0.0.1:9/net.pth"), "could not be fetched whole")


def test_a_redirect_on_the_same_host_is_followed(file, server):
    server.location = "/elsewhere"
    assert fetch(replace(file, url=f"{server.url}/redirect")).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/redirect", "/elsewhere"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "is not allowed"),
        ("ftp://127.0.0.1/net.pth", "only https is used"),
        ("http://example.org/net.pth", "only https is used"),
        ("https://example.org/net.pth", "host is not a known one"),
        ("https://user:secret@huggingface.co/net.pth", "carries a user name"),
        ("https://huggingface.co.example.org/net.pth", "host is not a known one"),
        ("data:,net", "is not allowed"),
        ("/redirect", "infinite loop"),
        ("https://[net.pth", "points to what is no address"),
    ],
)
def test_a_redirect_to_elsewhere_is_not_followed(location, reason, file, server):
    server.location = location
    refused(replace(file, url=f"{server.url}/redirect", hosts=HOSTS), reason)


def test_a_redirect_by_the_old_header_is_not_followed_to_elsewhere_either(file, server):
    server.names_it, server.location = "URI", "http://127.0.0.2:9/net.pth"
    refused(replace(file, url=f"{server.url}/redirect", hosts=HOSTS), "only https is used")


@pytest.mark.parametrize(
    "url",
    [
        "http://huggingface.co/x",
        "ftp://huggingface.co/x",
        "file:///etc/passwd",
        "//huggingface.co/x",
        "https:///x",
        "https://[x",
        "https://me:secret@huggingface.co/x",
        "",
    ],
)
def test_an_address_that_may_not_be_asked_is_refused(url):
    with pytest.raises(DownloadError) as caught:
        check_address(url)
    assert "secret" not in str(caught.value)


def test_certificates_are_checked_whatever_others_have_switched_off(monkeypatch):
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
    contexts = []
    handler = addresses.urllib.request.HTTPSHandler

    def note(context):
        contexts.append(context)
        return handler(context=context)

    monkeypatch.setattr(addresses.urllib.request, "HTTPSHandler", note)
    addresses.opener("https://huggingface.co/x", ())
    assert [context.verify_mode for context in contexts] == [ssl.CERT_REQUIRED]
    assert contexts[0].check_hostname


# The list of encoders


def test_the_list_names_each_once_with_licence_citation_and_a_safe_address():
    assert len({each.name for each in PRETRAINED}) == len(PRETRAINED)
    for each in PRETRAINED:
        check_address(each.url, HOSTS)
        assert each.license
        assert each.citation
        assert 20 < each.megabytes < 2000
        assert len(each.sha256) in (0, 64)


def test_every_published_size_of_vrwkv_can_be_fetched():
    assert {each.variant for each in PRETRAINED if each.architecture == "vrwkv"} == set("TSBL")


@pytest.fixture
def offer(server, save, stand_ins, monkeypatch, home) -> Pretrained:
    """Offer one encoder, on the server of this machine, whose hash nobody states."""
    head = {"head.fc.weight": stand_ins("vrwkv", "T")["ln1.weight"]}
    state = {f"backbone.{k}": v for k, v in stand_ins("vrwkv", "T").items()} | head
    server.content = save({"state_dict": state}, "served.pth").read_bytes()
    one = Pretrained("vrwkv_t_in1k", "VRWKV T", "a/net.pth", 1, "", "vrwkv", "T", "ImageNet")
    monkeypatch.setattr(pretrained, "PRETRAINED", (one,))
    return one


def test_an_encoder_is_fetched_from_a_mirror_and_imported(offer, server, home):
    entry = get_encoder("vrwkv_t_in1k", mirror=f"{server.url}/hub/")
    assert [path for path, _ in server.asked] == ["/hub/a/net.pth"]
    assert entry.folder == home / "encoders" / "vrwkv_t_in1k"
    card = find_encoder("vrwkv_t_in1k").card
    assert (card.architecture, card.variant, card.license) == ("vrwkv", "T", "Apache-2.0")
    assert card.source == "https://huggingface.co/a/net.pth"
    assert card.source_sha256 == hashlib.sha256(server.content).hexdigest()
    assert (read_encoder(entry).ln1.weight == 0.5).all()
    assert list((home / "encoders" / ".downloads").iterdir()) == []


def test_an_encoder_that_is_here_is_not_fetched_again(offer, server):
    get_encoder("vrwkv_t_in1k", mirror=server.url)
    get_encoder("vrwkv_t_in1k", mirror=server.url)
    assert len(server.asked) == 1


def test_the_mirror_can_be_set_for_good(offer, server, home):
    preferences.write_mirror(server.url)
    assert preferences.read_mirror() == server.url
    get_encoder("vrwkv_t_in1k")
    assert len(server.asked) == 1
    preferences.write_mirror("")
    assert preferences.read_mirror() == ""


@pytest.mark.parametrize("content", ["mirror = 3", "mirror =", "\xff"])
def test_settings_that_cannot_be_understood_are_told(content, home):
    preferences.settings_file().parent.mkdir(parents=True)
    preferences.settings_file().write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError, match=r"settings\.toml"):
        preferences.read_mirror()


def test_a_mirror_that_may_not_be_asked_is_not_kept(home):
    with pytest.raises(DownloadError, match="only https"):
        preferences.write_mirror("http://example.org")
    assert not preferences.settings_file().exists()


def test_a_file_other_than_the_first_seen_is_refused(offer, server, home, save, stand_ins):
    entry = get_encoder("vrwkv_t_in1k", mirror=server.url)
    (entry.folder / "encoder.toml").unlink()
    server.content = save(stand_ins("vrwkv", "T"), "other.pth").read_bytes()
    with pytest.raises(DownloadError, match="not the file that was first fetched"):
        get_encoder("vrwkv_t_in1k", mirror=server.url)
    assert list((home / "encoders" / ".downloads").iterdir()) == []


def test_a_file_that_holds_no_network_is_refused_and_not_kept(offer, server, home):
    server.content = b"not weights"
    with pytest.raises(ModelError, match="not a PyTorch"):
        get_encoder("vrwkv_t_in1k", mirror=server.url)
    assert list_encoders() == []
    assert list((home / "encoders" / ".downloads").iterdir()) == []


def test_an_excuse_instead_of_the_first_file_does_not_lock_the_file_out(offer, server, home):
    served, server.content = server.content, b'{"error": "quota exceeded"}'
    with pytest.raises(ModelError, match="not a PyTorch"):
        get_encoder("vrwkv_t_in1k", mirror=server.url)
    server.content = served
    get_encoder("vrwkv_t_in1k", mirror=server.url)
    assert pretrained.first_seen_sha256(offer) == hashlib.sha256(served).hexdigest()


def test_an_encoder_of_the_users_with_other_capitals_is_not_replaced(offer, server, home):
    entry = get_encoder("vrwkv_t_in1k", mirror=server.url)
    entry.folder.rename(entry.folder.with_name("VRWKV_t_in1k"))
    with pytest.raises(OutputError, match="in other capitals; rename that first"):
        get_encoder("vrwkv_t_in1k", mirror=server.url)
    assert len(server.asked) == 1


def test_an_unknown_name_is_refused_with_the_choices(home):
    with pytest.raises(ModelError, match=r"no pretrained encoder 'x' to fetch; there are: vrwkv_t"):
        get_encoder("x")

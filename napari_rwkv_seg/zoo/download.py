"""Fetching one file over HTTP: safely, with progress, and continued where it broke off.

`addresses` says what may be asked. What has arrived stays in a `.part` file, which the
next attempt continues by a range request. Pooch checks the SHA-256 and puts the
file in its place.
"""

import contextlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_rwkv_seg.errors import DownloadError
from napari_rwkv_seg.files import append_chunks, moved, read_bytes, write_atomically

from .addresses import check_address, opener

CHUNK_BYTES = 1 << 18
TRIES = 3  # connections, before the user is asked to try again
PAUSE_S = 1.0  # between them
TIMEOUT_S = 30.0  # without a byte
_ETAG_LIMIT = 1000  # bytes


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download has come, in bytes; `total` is None while it is not known."""

    done: int
    total: int | None


Report = Callable[[DownloadProgress], object]


@dataclass(frozen=True)
class Download:
    """One file to fetch.

    Parameters
    ----------
    url : str
        Its address.
    target : Path
        Where it shall lie; the folder must exist.
    limit : int
        Most bytes to accept.
    sha256 : str
        What it must be; "" if that is not known.
    hosts : tuple of str
        Hosts that may serve it, each with its subdomains, besides the one in `url`.
    """

    url: str
    target: Path
    limit: int
    sha256: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def part(self) -> Path:
        """What has arrived so far."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def mark(self) -> Path:
        """Which version of the file the part belongs to: the server's ETag."""
        return self.target.with_name(f"{self.target.name}.part.etag")


def fetch(download: Download, report: Report | None = None) -> Path:
    """Fetch a file, or what is missing of it, and return where it lies.

    Parameters
    ----------
    download : Download
        What to fetch.
    report : callable, optional
        Is told the progress after every piece. What it raises (`CancelledError`)
        ends the download; the part that has arrived stays.

    Raises
    ------
    DownloadError
        If the address is not allowed, the server cannot be reached or does not
        answer properly, or the file is too large or not the one that was published.
    """
    import pooch

    check_address(download.url)

    def transfer(_url: str, output_file: str, _pooch: object) -> None:
        _fetch_part(download, report or (lambda _: None))
        moved(download.part, Path(output_file))
        download.mark.unlink(missing_ok=True)

    known_hash = f"sha256:{download.sha256}" if download.sha256 else None
    try:
        with _quiet(pooch.get_logger()):
            pooch.retrieve(
                download.url,
                known_hash,
                fname=download.target.name,
                path=download.target.parent,
                downloader=transfer,
            )
    except ValueError as error:
        raise DownloadError(
            f"{download.url} is not the file that was published: its SHA-256 differs. Nothing of "
            "it was kept. Try another mirror, or none."
        ) from error
    except OSError as error:
        raise DownloadError(f"{download.url} cannot be stored: {error}.") from error
    return download.target


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Let pooch keep to itself what it does; errors come as exceptions."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fetch_part(download: Download, report: Report) -> None:
    """Complete the part file, with several connections if they break."""
    for attempt in range(1, TRIES + 1):
        try:
            _fetch_once(download, report)
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "")) or str(error) or type(error).__name__
            if attempt == TRIES:
                raise DownloadError(
                    f"{download.url} could not be fetched whole: {reason}. What has arrived is "
                    "kept; try again, and it goes on from there."
                ) from error
            time.sleep(PAUSE_S)
        else:
            return


def _fetch_once(download: Download, report: Report) -> None:
    """Ask for what is missing, and append it to the part; OSError if the connection breaks."""
    can_continue = download.sha256 or download.mark.is_file()  # else two versions might mix
    start = download.part.stat().st_size if can_continue and download.part.is_file() else 0
    with contextlib.closing(_open(download, start)) as response:
        start, total = _place_of(response, start, download)
        if total is not None and total > download.limit:
            _forget(download)
            raise DownloadError(_too_large(download))
        _remember_version(download, response)

        def chunks() -> Iterator[bytes]:
            done = start
            while piece := response.read(CHUNK_BYTES):
                done += len(piece)
                if done > download.limit:
                    raise DownloadError(_too_large(download))
                yield piece
                report(DownloadProgress(done, total))

        report(DownloadProgress(start, total))
        try:
            append_chunks(download.part, start, chunks())
        except DownloadError:
            _forget(download)
            raise
    if total is not None and download.part.stat().st_size < total:
        raise ConnectionError("the connection broke")


def _open(download: Download, start: int) -> Any:
    """Return the server's answer to a request for the bytes from `start` on."""
    headers = {"User-Agent": "napari-rwkv-seg", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if download.mark.is_file():
            headers["If-Range"] = read_bytes(download.mark, _ETAG_LIMIT).decode("ascii", "replace")
    request = urllib.request.Request(download.url, headers=headers)
    try:
        return opener(download.url, download.hosts).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the part does not belong to this file
            _forget(download)
            raise ConnectionError("the part did not fit") from error
        reason = str(error.reason).partition("\n")[0].rstrip(".")
        raise DownloadError(
            f"{download.url} was not given: the server says {error.code} {reason}."
        ) from error


def _place_of(response: Any, start: int, download: Download) -> tuple[int, int | None]:
    """Return where the answer's first byte belongs, and how long the file is."""
    if "text/html" in response.headers.get("Content-Type", ""):
        raise DownloadError(f"{download.url} gave a web page instead of the file.")
    length = response.headers.get("Content-Length", "")
    count = int(length) if length.isdigit() else None
    if response.status != 206:
        return 0, count
    given = response.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {start}-"):
        _forget(download)
        raise ConnectionError(f"the server sent another range ({given[:80]!r})")
    return start, None if count is None else start + count


def _remember_version(download: Download, response: Any) -> None:
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # a weak one does not vouch for every byte
        write_atomically(download.mark, lambda file: file.write(etag[:_ETAG_LIMIT].encode()))
    else:
        download.mark.unlink(missing_ok=True)


def _forget(download: Download) -> None:
    download.part.unlink(missing_ok=True)
    download.mark.unlink(missing_ok=True)


def _too_large(download: Download) -> str:
    return f"{download.url} is larger than it should be ({download.limit / 1e6:.0f} MB at most)."

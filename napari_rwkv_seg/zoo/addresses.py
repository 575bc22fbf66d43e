"""Which addresses may be asked, and what asks them.

Only https is spoken (http to this machine itself), and redirects are followed to
named hosts only. Certificates are checked by a context of our own, whatever else
the process has switched off.
"""

import ssl
import urllib.parse
import urllib.request
from typing import Any

from napari_rwkv_seg.errors import DownloadError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def check_address(url: str, hosts: tuple[str, ...] = ()) -> None:
    """Raise DownloadError unless an address is one that may be asked.

    Parameters
    ----------
    url : str
        The address.
    hosts : tuple of str
        If there are any, its host must be one of them, or a subdomain.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, has_user = (parts.hostname or "").lower(), parts.username or parts.password
        is_loopback = parts.scheme == "http" and host in _LOOPBACK
    except ValueError as error:
        raise DownloadError(f"{url!r} is not an address: {error}.") from error
    shown = urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))
    if has_user:
        raise DownloadError(f"The address {shown!r} carries a user name; give it without.")
    if not host or not (parts.scheme == "https" or is_loopback):
        raise DownloadError(f"The address {shown!r} is refused: only https is used.")
    if hosts and not any(host == each or host.endswith(f".{each}") for each in hosts):
        raise DownloadError(f"The address {shown!r} is refused: its host is not a known one.")


def opener(url: str, hosts: tuple[str, ...]) -> urllib.request.OpenerDirector:
    """Return what speaks http and https and nothing else, with certificates checked.

    Parameters
    ----------
    url : str
        What will be asked: its host may redirect to itself.
    hosts : tuple of str
        Others that it may redirect to, each with its subdomains.
    """
    own = urllib.parse.urlsplit(url).hostname or ""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects((own, *hosts)),
    ):
        director.add_handler(handler)
    return director


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only where `check_address` lets it go."""

    max_redirections = 5

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        fp.close()  # what else the answer says, however long it is, is of no interest
        check_address(newurl, self.hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError as error:
            fp.close()
            raise DownloadError(
                f"{req.full_url} was not given: its server points to what is no address ({error})."
            ) from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

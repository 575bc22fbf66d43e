"""Pretrained encoders that can be fetched from where their authors put them.

Nothing is fetched but by `get_encoder`. Importing this costs no torch and asks
no server. Sizes and SHA-256 are those that the authors' pages on Hugging Face
state; where none is stated, that of the first download is kept and held against
later ones. RWKV-UNet's encoders are not here: their authors give no licence and
no address that a program can read; import a file that you have.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from napari_rwkv_seg.errors import DownloadError, ModelError, OutputError, UnreadableFileError
from napari_rwkv_seg.files import read_bytes, write_atomically

from .addresses import check_address
from .download import Download, Report, fetch
from .encoders import EncoderEntry, encoders_folder, find_encoder, list_encoders
from .folders import is_taken, make_home
from .preferences import read_mirror

HOME = "https://huggingface.co"
HOSTS = ("huggingface.co", "hf.co")  # its own file servers are subdomains of the second
_VISION_RWKV = "OpenGVLab/Vision-RWKV/resolve/main"
_CITATION = "Duan et al., Vision-RWKV, arXiv 2403.02308"
_KNOWN_LIMIT = 1_000_000  # bytes


@dataclass(frozen=True)
class Pretrained:
    """An encoder that can be fetched.

    Attributes
    ----------
    name : str
        How it is chosen, and the name of the folder that it becomes.
    title : str
        What it is, for people.
    path : str
        The file, below the host's address.
    megabytes : float
        About how much is fetched, in units of 10^6 bytes.
    sha256 : str
        Of the file; "" if its authors' page does not state it.
    architecture, variant : str
        What it holds.
    trained_on : str
        The images that it was trained on.
    license, citation : str
        On what terms, and by whom.
    """

    name: str
    title: str
    path: str
    megabytes: float
    sha256: str
    architecture: str
    variant: str
    trained_on: str
    license: str = "Apache-2.0"
    citation: str = _CITATION

    @property
    def url(self) -> str:
        """The address that its authors gave it."""
        return self.url_at("")

    def url_at(self, mirror: str) -> str:
        """Return its address on a mirror; "" is where its authors put it."""
        return f"{mirror.rstrip('/') or HOME}/{self.path}"


def _vrwkv(name: str, file: str, megabytes: float, sha256: str, trained_on: str) -> Pretrained:
    kind, variant = ("vrwkv_adapter", name[14]) if "adapter" in name else ("vrwkv", name[6])
    title = "VRWKV-Adapter" if kind == "vrwkv_adapter" else "VRWKV"
    return Pretrained(
        name=name,
        title=f"{title} {variant.upper()}",
        path=f"{_VISION_RWKV}/{file}",
        megabytes=megabytes,
        sha256=sha256,
        architecture=kind,
        variant=variant.upper(),
        trained_on=trained_on,
    )


PRETRAINED = (
    _vrwkv("vrwkv_t_in1k", "vrwkv_t_in1k_224.pth", 25, "", "ImageNet-1k, 224 pixels"),
    _vrwkv(
        "vrwkv_s_in1k",
        "vrwkv_s_in1k_224.pth",
        95.4,
        "956cd2687777232bd59cec40461717126d03ed292086431662113778f7197620",
        "ImageNet-1k, 224 pixels",
    ),
    _vrwkv(
        "vrwkv_b_in1k",
        "vrwkv_b_in1k_224.pth",
        375,
        "43a312e30b1815a55062707a06d76d901390e119230322f4b45862aa6b495875",
        "ImageNet-1k, 224 pixels",
    ),
    _vrwkv(
        "vrwkv_l_in22k",
        "vrwkv_l_in22k_192.pth",
        1600,
        "57b27c8fbc3d5d9f831011200519638b129089d84349cdf1c6e7cea0e729a2e9",
        "ImageNet-22k, 192 pixels",
    ),
    _vrwkv(
        "vrwkv_l_in22k_in1k",
        "vrwkv_l_22kto1k_384.pth",
        1340,
        "c783010c8f4aa033f37e1a74bd44acd6280a138eb20243bb4a4985125baea4af",
        "ImageNet-22k, then ImageNet-1k at 384 pixels",
    ),
    _vrwkv(
        "vrwkv_adapter_t_ade20k",
        "upernet_vrwkv_adapter_tiny_512_160k_ade20k.pth",
        146,
        "ddba2fcd7458270d934bfa715dd73f2e74d4733350a32a5ef42f20889c8f84b7",
        "ImageNet-1k, then ADE20K at 512 pixels",
    ),
    _vrwkv(
        "vrwkv_adapter_s_ade20k",
        "upernet_vrwkv_adapter_small_512_160k_ade20k.pth",
        238,
        "01fe70132caec7d9197550fed159ae73a3a7e11902d65b0ff4bc333a65cff214",
        "ImageNet-1k, then ADE20K at 512 pixels",
    ),
)


def find_pretrained(name: str) -> Pretrained:
    """Return what can be fetched by that name; ModelError, with the choices, if nothing can."""
    for each in PRETRAINED:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in PRETRAINED)
    raise ModelError(f"There is no pretrained encoder {name!r} to fetch; there are: {names}.")


def is_here(pretrained: Pretrained) -> bool:
    """Tell whether an encoder of that name is here already and can be used."""
    return any(each.name == pretrained.name and not each.problem for each in list_encoders())


def bytes_here(pretrained: Pretrained) -> int:
    """Return how many bytes of it an unfinished download has left; the next goes on from there."""
    part = _target_of(pretrained)
    part = part.with_name(f"{part.name}.part")
    return part.stat().st_size if part.is_file() else 0


def first_seen_sha256(pretrained: Pretrained) -> str:
    """Return the SHA-256 that was recorded when it was first fetched here; "" if it never was."""
    return _first_seen().get(pretrained.path, "")


def get_encoder(
    name: str, *, mirror: str | None = None, report: Report | None = None
) -> EncoderEntry:
    """Fetch a pretrained encoder, unless it is here already, and return its folder.

    Parameters
    ----------
    name : str
        One of `PRETRAINED`.
    mirror : str, optional
        Address of a server with the same files under the same paths; None takes the
        user's setting, "" the authors' server.
    report : callable, optional
        Is told a `DownloadProgress` after every piece. What it raises
        (`CancelledError`) ends the download; another call goes on from there.

    Raises
    ------
    ModelError
        If there is no such encoder, or the file holds another network.
    DownloadError
        If it cannot be fetched, or is not the file that was published or first fetched.
    OutputError, SettingsError
        If it cannot be written, or another differs from it in capitals only; if the
        settings cannot be read.
    """
    pretrained = find_pretrained(name)
    if is_here(pretrained):
        return find_encoder(name)
    if is_taken(name, {each.name for each in list_encoders()} - {name}):
        raise OutputError(f"An encoder is called {name!r}, in other capitals; rename that first.")
    file = fetch(_download_of(pretrained, mirror), report)
    try:
        sha256 = _checked_sha256(pretrained, file)
        from .importing import Origin, import_checkpoint  # torch, only now that there is a file

        origin = Origin(pretrained.url, pretrained.license, pretrained.citation, sha256)
        import_checkpoint(file, name=pretrained.name, origin=origin, overwrite=True)
    finally:  # a file that cannot be used must not be taken for a good one next time
        file.unlink(missing_ok=True)
    if not pretrained.sha256:  # only now is it known to be an encoder, not a server's excuse
        _remember_first_seen(pretrained, sha256)
    return find_encoder(name)


def _download_of(pretrained: Pretrained, mirror: str | None) -> Download:
    mirror = read_mirror() if mirror is None else mirror
    base = mirror.rstrip("/") or HOME
    check_address(base)
    make_home(_target_of(pretrained).parent)
    return Download(
        url=pretrained.url_at(mirror),
        target=_target_of(pretrained),
        limit=int(pretrained.megabytes * 1.1e6) + 1_000_000,
        sha256=pretrained.sha256,
        hosts=(urlsplit(base).hostname or "", *HOSTS),
    )


def _target_of(pretrained: Pretrained) -> Path:
    return encoders_folder() / ".downloads" / f"{pretrained.name}.pth"


def _checked_sha256(pretrained: Pretrained, file: Path) -> str:
    """Return the file's SHA-256; one that nobody stated must be that of the first download."""
    import hashlib

    if pretrained.sha256:
        return pretrained.sha256
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if first_seen_sha256(pretrained) not in ("", found):
        raise DownloadError(
            f"{pretrained.url} is not the file that was first fetched on this machine: its SHA-256 "
            f"differs. If its authors have changed it, remove {str(_first_seen_file())!r}."
        )
    return found


def _remember_first_seen(pretrained: Pretrained, sha256: str) -> None:
    text = json.dumps(_first_seen() | {pretrained.path: sha256}, indent=2) + "\n"
    write_atomically(_first_seen_file(), lambda target: target.write(text.encode()))


def _first_seen_file() -> Path:
    return encoders_folder() / "first_seen.json"


def _first_seen() -> dict[str, str]:
    """Return the SHA-256 of first downloads, by path."""
    try:
        content = json.loads(read_bytes(_first_seen_file(), _KNOWN_LIMIT))
    except (UnreadableFileError, ValueError):
        return {}
    return {str(key): str(value) for key, value in content.items()} if content else {}

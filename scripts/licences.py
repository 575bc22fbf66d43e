"""Write docs/licences.md: what is installed with the package, with versions and licences.

    python scripts/licences.py           # docs/licences.md
    python scripts/licences.py --lock    # requirements/tested.txt as well: exact versions of all

Read from the metadata of what is installed here. What none of it states is said to be unstated.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from napari_rwkv_seg.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "napari-rwkv-seg"
TOLD = """# Licences of what is installed with the plugin

Written by `python scripts/licences.py` from the metadata of the packages, on Python {python}.
The plugin itself is under BSD-3-Clause. "Extra" are those that come only with an extra, such as
`napari-rwkv-seg[dicom]`; what the tests alone need is not listed. Torch is the build for CPUs
here; one for CUDA brings NVIDIA's libraries under NVIDIA's own terms.

| package | version | licence | when |
|---|---|---|---|
"""
LOCKED = """# Exact versions with which the tests passed; `make` holds pip to them.
# `make CONSTRAINTS= ...` takes the newest instead.
# Written by `python scripts/licences.py --lock`. Torch is pinned in the Makefile.
"""


Found = dict[str, metadata.Distribution | None]


def closure(roots: list[Requirement], extras: set[str]) -> Found:
    """Return some requirements and all that these need, by name; None for what is not installed."""
    found: Found = {}
    seen: set[tuple[str, str]] = set()  # a package may be needed again, with another extra
    waiting = [(root, extra) for root in roots for extra in ({""} | extras)]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        wanted = {(name, one) for one in ({""} | requirement.extras)} - seen
        seen |= wanted
        try:
            found[name] = package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found[name] = None
            continue
        needs = [Requirement(text) for text in package.requires or []]
        waiting += [(each, one) for each in needs for _, one in wanted]
    return found


def licence(distribution: metadata.Distribution) -> str:
    """Return the licence that a package states, in one short line."""
    facts = distribution.metadata
    classifiers = [
        text.rpartition("::")[2].strip()
        for text in facts.get_all("Classifier") or []
        if text.startswith("License ::") and not text.endswith("OSI Approved")
    ]
    text = facts.get("License-Expression") or " / ".join(classifiers) or facts.get("License") or ""
    first = re.sub(r"\s+", " ", text.strip().splitlines()[0]) if text.strip() else ""
    return first[:60].replace("|", "/") or "not stated"


def _told(found: metadata.Distribution | None) -> str:
    return f"{found.version} | {licence(found)}" if found else "– | not installed here"


def table() -> str:
    """Return the document."""
    roots = [Requirement(text) for text in metadata.requires(PACKAGE) or []]
    base = closure([root for root in roots if root.marker is None], set())
    names = set(metadata.metadata(PACKAGE).get_all("Provides-Extra") or [])
    everything = closure(roots, names)
    rows = [
        f"| {name} | {_told(found)} | {'always' if name in base else 'extra'} |"
        for name, found in sorted((everything | base).items())
        if name != PACKAGE
    ]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return TOLD.format(python=python) + "\n".join(rows) + "\n"


def lock() -> str:
    """Return the exact versions of all that is installed."""
    left_out = {PACKAGE, "torch", "pip", "setuptools", "wheel", "triton", "pip-audit"}
    versions = {
        canonicalize_name(each.metadata["Name"]): each.version for each in metadata.distributions()
    }
    rows = [
        f"{name}=={version}"
        for name, version in sorted(versions.items())
        if name not in left_out and not name.startswith("nvidia-") and "+" not in version
    ]
    return LOCKED + "\n".join(rows) + "\n"


def main() -> None:
    """Write what was asked for."""
    files = {ROOT / "docs" / "licences.md": table()}
    if "--lock" in sys.argv:
        (ROOT / "requirements").mkdir(exist_ok=True)
        files[ROOT / "requirements" / "tested.txt"] = lock()
    for path, text in files.items():
        write_atomically(path, lambda file, text=text: file.write(text.encode("utf-8")))


if __name__ == "__main__":
    main()

"""Damaged files of every kind: accepted, or refused in a sentence; the same ones every time."""

import contextlib
import os
import tracemalloc

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

NAMES = ["card", "safetensors", "checkpoint", "zip", "events", "run", "tiff", "picture", "nifti",
         "dicom", "ome-zarr", "journal", "sealed journal"]  # fmt: skip
IMAGES = ("tiff", "picture", "nifti", "dicom", "ome-zarr")
EXAMPLES = {"zip": 60, "run": 60, "tiff": 100, "nifti": 100, "dicom": 100, "ome-zarr": 100}
MEMORY = 64_000_000  # bytes that a damaged image may take: of 10 MB of pixels at most, as is asked
SPICES = [b"", b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"NaN", b"1e999", b"-1", b"\n", b'"',
          b"[[[[", b"../", b"%s", "é\u202e".encode(), b"0" * 40]  # fmt: skip

change = st.tuples(
    st.sampled_from(["flip", "spice", "cut", "drop", "double"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)


def damaged(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """Return bytes with changes made, each at a place between 0 and 1."""
    made = bytearray(content)
    for kind, part, value in changes:
        at = int(part * len(made))
        if kind == "flip" and made:
            made[at] ^= value or 1
        elif kind == "spice":
            spice = SPICES[value % len(SPICES)]
            made[at : at + len(spice)] = spice
        elif kind == "cut":
            del made[at:]
        elif kind == "drop":
            del made[at : at + value]
        elif kind == "double":
            made[at:at] = made[at : at + value]
    return bytes(made)


def run(targets, name: str, folder, count: int, *, seed_only: bool = False) -> tuple[int, int]:
    """Read `count` damaged files of a kind; return how many were accepted, and how many refused."""
    target, ends = targets.TARGETS[name], [0, 0]
    made = folder / "seeds"
    made.mkdir()
    seeds = target.seeds(made)
    place = folder / "work"
    place.mkdir()
    for seed in seeds:  # what they import is not measured
        targets.check(target, seed, place)

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(seeds), st.lists(change, max_size=8), st.binary(max_size=64))
    def read(seed, changes, tail):
        content = damaged(seed, changes) if changes else tail
        with bounded(name):
            ends[0 if targets.check(target, content, place) else 1] += 1

    read()
    return ends[0], ends[1]


@contextlib.contextmanager
def bounded(name: str):
    """Fail if reading an image takes much more memory than was allowed to it."""
    if name not in IMAGES:
        yield
        return
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"


@pytest.fixture
def own_data(workplace, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "work" / "data"))
    return workplace


@pytest.mark.parametrize("name", NAMES)
def test_a_good_file_is_accepted(targets, own_data, name):
    target = targets.TARGETS[name]
    (own_data / "seeds").mkdir()
    (own_data / "work").mkdir()
    for seed in target.seeds(own_data / "seeds"):
        if name not in ("zip", "safetensors", "checkpoint"):  # their weights fit no network
            assert targets.check(target, seed, own_data / "work")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_a_mutant_is_accepted_or_refused_in_a_sentence(targets, own_data, name):
    accepted, refused = run(targets, name, own_data, EXAMPLES.get(name, 250))
    assert accepted + refused >= 50
    assert refused or name in ("events", "run")  # of which what is damaged is passed over


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*IMAGES, "checkpoint", "safetensors", "card", "journal"])
def test_ten_thousand_mutants_of_each_format_end_in_a_result_or_a_sentence(
    targets, own_data, name, record_property
):
    count = int(os.environ.get("MUTANTS", "10000"))
    accepted, refused = run(targets, name, own_data, count)
    record_property(f"mutants of {name}", accepted + refused)
    assert accepted + refused >= 0.9 * count

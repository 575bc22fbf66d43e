import json
from pathlib import Path

from napari_rwkv_seg.training.events import Event, EventLog, make_event, parse_line, read_events


def test_every_event_is_appended_and_handed_on(tmp_path: Path) -> None:
    heard: list[Event] = []
    log = EventLog(tmp_path / "events.jsonl", heard.append)
    log("step", step=1, loss=0.123456789)
    log("finished", sentence="größer")
    events, _ = read_events(tmp_path / "events.jsonl")
    assert events == heard
    assert [event["event"] for event in events] == ["step", "finished"]
    assert events[0]["loss"] == 0.12346


def test_a_value_that_is_not_finite_becomes_null_as_json_knows_no_nan() -> None:
    event = make_event("step", loss=float("nan"), dice={"a": float("inf")})
    assert (event["loss"], event["dice"]) == (None, {"a": None})


def test_a_reader_leaves_a_half_written_last_line_for_later(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "step", "time": 1}\n{"event": "st')
    events, place = read_events(path)
    assert [event["event"] for event in events] == ["step"]
    with path.open("a") as file:
        file.write('ep2"}\n')
    assert read_events(path, place)[0] == [{"event": "step2"}]


def test_a_resumed_log_ends_the_line_that_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "step", "time": 1}\n{"event": "st')
    EventLog(path, lambda _: None)("saved", step=3)
    assert [event["event"] for event in read_events(path)[0]] == ["step", "saved"]


def test_lines_that_are_no_events_are_ignored() -> None:
    for line in ("", "[1]", "{}", "null", '{"event": 3}', "\x00", "[" * 100_000):
        assert parse_line(line) is None
    assert parse_line(json.dumps({"event": "unknown"})) == {"event": "unknown"}


def test_a_missing_file_holds_no_events_yet(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl", 5) == ([], 5)


def test_a_log_that_cannot_be_written_still_hands_its_events_on(tmp_path: Path) -> None:
    heard: list[Event] = []
    EventLog(tmp_path / "no folder" / "events.jsonl", heard.append)("step", step=1)
    assert heard[0]["step"] == 1

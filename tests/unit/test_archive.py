"""An archive on one machine: what is found, what is written, and that nothing is lost or twice."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pyarrow import parquet

from emotion2vec_client.archive.job import CARD_KEY
from emotion2vec_client.archive.stores import Store
from emotion2vec_client.cli import main
from tests.unit.archive_runs import COMMAND, NAMES, PART, PARTS, files, rows
from tests.unit.cli_fakes import FakeClient, fake, touch

__all__ = ["fake"]


def test_each_input_is_a_row_of_a_part_that_says_which_model_answered() -> None:
    touch(*NAMES)
    assert main([*COMMAND, "--embedding"]) == 0
    assert files() == NAMES
    assert sorted(path.name for path in Path("out").glob("*")) == [
        "_archive",
        *(f"part-{number:05}.parquet" for number in range(PARTS)),
    ]
    [first, *_] = rows()
    assert first["emotion"] == "unknown"
    assert first["confidence"] == first["unknown"] == pytest.approx(9 / 45)
    assert first["duration"] == 1.0
    assert first["error"] is None
    assert first["embedding"] == pytest.approx([0.1, 0.2, 0.3])
    card = parquet.read_schema("out/part-00003.parquet").metadata[CARD_KEY.encode()]
    assert json.loads(card)["weights"] == "pretrained"
    summary = json.loads(Path("out/_archive/manifest.json").read_text("utf-8"))
    assert summary["inputs"] == summary["rows"] == len(NAMES)
    assert (summary["failed"], summary["parts"]) == (0, PARTS)


def test_a_bad_file_is_a_row_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    touch(*NAMES, "clips/bad.wav")
    # Also when there is nothing left to do.
    for _ in range(2):
        # What repeats a job until it succeeds must not repeat one that is complete.
        assert main(COMMAND) == 0
        assert "1 file failed" in capsys.readouterr().err
    failures = [row for row in rows() if row["error"]]
    assert [(row["file"], row["emotion"]) for row in failures] == [("clips/bad.wav", None)]
    assert json.loads(Path("out/_archive/manifest.json").read_text("utf-8"))["failed"] == 1


def test_a_timeline_has_a_row_per_segment_and_a_row_per_recording() -> None:
    touch("clips/a.wav", "clips/silent.wav", "clips/bad.wav")
    assert main([*COMMAND, "--timeline", "--embedding"]) == 0
    found = {row["file"]: row for row in rows()}
    assert [found[f"clips/{name}.wav"]["segments"] for name in ("a", "silent", "bad")] == [
        2,
        0,
        None,
    ]
    assert found["clips/a.wav"]["emotion"] == "unknown"
    assert found["clips/silent.wav"]["emotion"] is None
    assert found["clips/silent.wav"]["error"] is None
    segments = parquet.read_table("out/_segments").to_pylist()
    starts = [(row["file"], row["start"]) for row in segments]
    assert starts == [
        ("clips/a.wav", 0.0),
        ("clips/a.wav", 1.0),
        ("clips/bad.wav", None),
        ("clips/silent.wav", None),
    ]
    assert segments[1]["embedding"] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("died_at", range(2 * PARTS + 3))
@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_a_run_that_dies_at_any_write_is_continued(
    died_at: int, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writes: inputs, plan, parts, manifest. A run may die before or after each."""
    touch(*NAMES)
    writes, count = {"put": Store.put, "create": Store.create}, 0

    class Killed(BaseException):
        pass

    def or_die(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_die(self: Store, name: str, data: bytes) -> Any:
            nonlocal count
            count += 1
            if count == died_at + 1 and not written:
                raise Killed
            done = write(self, name, data)
            if count == died_at + 1:
                raise Killed
            return done

        return write_or_die

    for name, write in writes.items():
        monkeypatch.setattr(Store, name, or_die(write))
    if died_at < 2 * PARTS + 2:
        with pytest.raises(Killed):
            main(COMMAND)
    assert main(COMMAND) == 0
    assert files() == NAMES


def test_a_write_that_is_cut_off_leaves_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    touch(*NAMES)

    def out_of_power(number: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", out_of_power)
        assert main(COMMAND) == 130
    assert list(Path("out").rglob("*.parquet")) == []
    assert main(COMMAND) == 0
    assert files() == NAMES


def test_the_next_part_is_recognised_while_one_is_written(
    fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(*NAMES)
    put, asked = Store.put, Event()

    def press(recording: object) -> None:
        if str(recording) == NAMES[PART]:
            asked.set()

    def put_late(self: Store, name: str, data: bytes) -> None:
        if name == "part-00000.parquet":
            assert asked.wait(60), "nothing is recognised while a part is written"
        put(self, name, data)

    fake.asked = staticmethod(press)
    monkeypatch.setattr(Store, "put", put_late)
    assert main(COMMAND) == 0
    assert files() == NAMES


def test_only_what_is_missing_is_recognised_and_sources_are_not_listed_again(
    fake: type[FakeClient],
) -> None:
    touch(*NAMES)
    asked: Counter[str] = Counter()
    fake.asked = staticmethod(lambda recording: asked.update([str(recording)]))
    assert main(COMMAND) == 0
    Path("out/part-00001.parquet").unlink()
    touch("clips/later.wav")
    Path(NAMES[0]).unlink()
    assert main(COMMAND) == 0
    assert files() == NAMES
    assert asked == Counter(NAMES) + Counter(NAMES[PART : 2 * PART])


def test_ctrl_c_says_how_to_go_on(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)

    def press(recording: object) -> None:
        if str(recording) == NAMES[7]:
            raise KeyboardInterrupt

    fake.asked = staticmethod(press)
    assert main(COMMAND) == 130
    said = capsys.readouterr().err
    assert "2 of 4 parts" in said
    assert "run the same command again" in said
    fake.asked = staticmethod(lambda recording: None)
    assert main(COMMAND) == 0
    assert files() == NAMES


def test_a_server_that_stays_down_ends_the_command_and_not_the_archive(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES[:5], "clips/gone.wav")
    assert main(COMMAND) == 1
    said = capsys.readouterr().err
    assert "no server is ready; 1 of 2 parts" in said
    assert "run the same command again" in said
    fake._check = lambda self, path: None  # type: ignore[method-assign]
    assert main(COMMAND) == 0
    assert len(files()) == 6


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["clips/1.wav"], "sources was [] and is ["),
        (["--embedding"], "embedding was false and is true"),
        (["--timeline"], "timeline was null"),
        (["--column", "file"], 'column was "path" and is "file"'),
        (["--part-size", "4"], "part size was 3 and is 4"),
    ],
)
def test_another_command_is_refused(
    changed: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    before = rows()
    assert main([*COMMAND, *changed]) == 2
    assert named in capsys.readouterr().err
    assert rows() == before


def test_the_same_words_in_another_folder_are_another_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES, "elsewhere/clips/new.wav")
    assert main(COMMAND) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main([*COMMAND[:3], "../out", *COMMAND[4:]]) == 2
    assert f'is ["{tmp_path}/elsewhere/clips"]' in capsys.readouterr().err
    # Another way to the same folder is the same source.
    assert main(["archive", "../clips", "-o", "../out", *COMMAND[4:]]) == 0


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("-", "out", "stdin (-) is no source"),
        ("clips", "", "--output '' is no folder: give a path"),
        ("clips", "s3://", "--output 's3://' is no folder"),
    ],
)
def test_what_is_no_source_or_no_destination(
    source: str, out: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    assert main(["archive", source, "-o", out]) == 2
    assert said in capsys.readouterr().err


def test_another_model_is_refused(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    fake.weights = "random"
    assert main(COMMAND) == 2
    assert 'weights was "pretrained" and is "random"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("exported", "2026-02-03", 0),
        ("tools", {"onnx": "2"}, 0),
        ("checkpoint", "a copy of a", 0),
        ("sha256", "1", 2),
        ("precision", "int8", 2),
    ],
)
def test_a_new_export_of_the_same_weights_continues(
    field: str, value: Any, code: int, fake: type[FakeClient]
) -> None:
    touch(*NAMES)
    assert main(COMMAND) == 0
    info = fake.model_info

    def other(self: FakeClient) -> Any:
        found = info(self)
        return replace(found, card={**found.card, field: value})

    fake.model_info = other  # type: ignore[method-assign]
    assert main(COMMAND) == code


def test_the_help_says_what_ray_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archive", "--help"]) == 0
    said = " ".join(re.findall(r"[\w:.-]+", capsys.readouterr().out))
    assert "Several need Ray." in said
    assert "with Ray of each of 2 actors per --url." in said
    assert main(["predict", "--help"]) == 0
    assert "need Ray" not in capsys.readouterr().out


def test_a_model_that_changes_during_the_work_ends_it(
    fake: type[FakeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)

    def change(recording: object) -> None:
        if str(recording) == NAMES[4]:
            fake.weights = "random"

    fake.asked = staticmethod(change)
    assert main(COMMAND) == 1
    assert "runs another model" in capsys.readouterr().err
    assert files() == NAMES[:PART]


def test_a_folder_with_other_parquet_files_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    touch(*NAMES, "out/mine.parquet")
    assert main(COMMAND) == 1
    assert "choose another folder" in capsys.readouterr().err


def test_progress_comes_in_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    touch(*NAMES, "clips/bad.wav")
    assert main(COMMAND) == 0
    said = capsys.readouterr().err
    assert "11 of 11 files" in said
    assert "files/s" in said
    assert "1 failed" in said


def test_several_services_need_ray(capsys: pytest.CaptureFixture[str]) -> None:
    touch(*NAMES)
    assert main([*COMMAND, "--url", "a:1", "--url", "b:1"]) == 2
    assert "add --ray" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 (Connection refused)"),
        ("ray://127.0.0.1:1", "no Ray cluster answers at ray://127.0.0.1:1"),
        ("127.0.0.1:ray", "127.0.0.1:ray is no address of a Ray cluster"),
    ],
)
def test_an_address_without_a_ray_cluster_is_told_at_once(
    address: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(*NAMES)
    assert main([*COMMAND, "--address", address]) == 1
    assert said in capsys.readouterr().err

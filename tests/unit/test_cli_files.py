"""The files that a command reads: folders, patterns, names on stdin."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import typer

from emotion2vec_client.cli import main
from emotion2vec_client.cli.files import Files
from tests.conftest import SAMPLES
from tests.unit.cli_fakes import fake, touch

__all__ = ["fake"]


def send(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Puts bytes on stdin."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_folders_give_their_audio_sorted_and_nothing_hidden() -> None:
    touch("d/b.wav", "d/a.MP3", "d/sub/c.webm", "d/notes.txt", "d/.hidden.wav", "d/.git/x.wav")
    assert list(Files(["d"])) == [Path("d/a.MP3"), Path("d/b.wav"), Path("d/sub/c.webm")]


def test_patterns_names_and_stdin_come_in_the_order_of_the_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch("x1.wav", "x2.wav", "[odd].wav", "sub/x3.wav")
    send(monkeypatch, b"two words.wav\n\nb.wav\n")
    found = list(Files(["x*.wav", "-", "missing.wav", "[odd].wav", "**/x3.wav"]))
    assert [str(path) for path in found] == [
        *("x1.wav", "x2.wav", "two words.wav", "b.wav", "missing.wav", "[odd].wav", "sub/x3.wav")
    ]


def test_a_loop_of_links_is_not_followed() -> None:
    touch("d/a.wav")
    os.symlink("..", "d/loop")
    assert list(Files(["d"])) == [Path("d/a.wav")]


@pytest.mark.parametrize("argument", ["empty", "*.wav", "-"])
def test_nothing_found_is_wrong_usage(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    send(monkeypatch, b"")
    with pytest.raises(typer.BadParameter):
        list(Files([argument]))
    send(monkeypatch, b"")
    assert main(["predict", argument]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_skipped_files_in_folders_are_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    touch("d/a.wav", "d/.hidden", "d/b.txt", "d/c.pdf", "e/a.wav", "e/d.docx", "e/e.py", "f.txt")
    os.symlink("../e", "d/link")
    files = Files(["d", "e", "f.txt"])
    assert files.count() == len(list(files)) == 3
    assert capsys.readouterr().err == (
        "skipped 4 files whose names do not end in an audio extension: d/b.txt, d/c.pdf, e/d.docx "
        "and 1 more\ndid not follow 1 link to a folder\n"
    )
    list(Files(["e/a.wav", "f.txt"]))
    assert not capsys.readouterr().err


@pytest.mark.parametrize("null", [False, True])
def test_names_on_stdin_may_be_any_bytes(null: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [b"by\xffte.wav", b" two  words.wav", "中文.wav".encode()]
    names += [b"two\nlines.wav"] if null else []
    send(monkeypatch, (b"\0" if null else b"\n").join(names))
    assert [os.fsencode(path) for path in Files(["-"], null)] == names


@pytest.mark.parametrize("null", [[], ["-0"]])
@pytest.mark.parametrize("name", ["happy.wav", "sad.mp3", "fearful.m4a", "angry.flac", "story.ogg"])
def test_audio_on_stdin_is_not_taken_for_names(
    name: str,
    null: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    send(monkeypatch, (SAMPLES / name).read_bytes())
    assert main(["predict", "-", *null]) == 2
    captured = capsys.readouterr()
    assert "- reads file names from stdin, but got audio" in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_names_that_end_with_nul_are_told_from_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send(monkeypatch, b"a.wav\0b.wav\0")
    assert main(["predict", "-"]) == 2
    assert "add -0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "timeline", "similarity"])
def test_every_command_that_takes_files_takes_names_that_end_with_nul(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send(monkeypatch, b"a.wav\0two\nlines.wav\0")
    assert main([command, "-0", "-"]) in (0, 1)
    assert "two\\nlines.wav" in capsys.readouterr().out or command == "similarity"

"""Finds the files that a command's arguments name."""

import glob
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Optional, cast

import typer

from emotion2vec_client.cli.common import flag

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("wav", "wave", "aif", "aiff", "aifc", "caf", "flac", "mp3", "aac", "amr", "awb"),
        *("ogg", "oga", "ogv", "opus", "mka", "mkv", "webm"),
        *("m4a", "m4b", "m4v", "mp4", "mov", "3gp", "3g2"),
    )
)
"""Audio files in a folder, as the server can read them; a file that you name may have any suffix.
"""

NAMED = 3
"""Number of skipped files that the report names."""

LONGEST_NAME = 2**16

ENOUGH = 16
"""Bytes that are enough to distinguish audio from names."""

AUDIO = re.compile(
    rb"RIFF....WAVE|RF64....WAVE|FORM....AIF[FC]|caff\0|fLaC\0|OggS\0|ID3[\2-\4]|\xff[\xe0-\xff]"
    rb"|#!AMR|\0...(ftyp|moov|mdat|wide)|\x1a\x45\xdf\xa3",
    re.DOTALL,
)
"""First bytes of audio files, which no list of file names starts with."""

FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|DIR|GLOB|-...",
        help="Audio files, folders (searched recursively) or patterns; - reads names from stdin, "
        "one per line.",
        show_default=False,
    ),
]
NullOption = Annotated[
    bool,
    flag("--null", "-0", help="Names on stdin end with NUL, as 'find -print0' writes them."),
]


@dataclass
class Files:
    """The files that arguments name, in the order of the arguments.

    Each iteration searches again, so that a million names need not be in memory. The first one
    reports on stderr what it skipped in folders.

    Attributes:
        arguments: Files, folders (searched for audio by suffix, sorted, without hidden files),
            patterns that the shell did not expand, and ``-`` for names on stdin.
        null: Whether names on stdin end with NUL instead of a line break.
        suffixes: What is taken from folders.
    """

    arguments: Sequence[str]
    null: bool = False
    suffixes: frozenset[str] = SUFFIXES
    _reported: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.null and "-" not in self.arguments:
            raise typer.BadParameter("--null is for names on stdin: give - for them")
        if self.arguments.count("-") > 1:
            raise typer.BadParameter("stdin can be read once: give one -")

    def __iter__(self) -> Iterator[Path]:
        """Yields the files. A plain name is not checked: reading the file will show if it exists.

        Raises:
            typer.BadParameter: An argument matches nothing, or stdin does not contain names.
        """
        skipped = Skipped()
        for argument in self.arguments:
            found = False
            for path in self._expand(argument, skipped):
                found = True
                yield path
            if not found:
                raise typer.BadParameter(_nothing(argument))
        if not self._reported:
            self._reported = True
            skipped.report()

    def count(self) -> Optional[int]:
        """Number of files; None if names come on stdin, which cannot be read twice."""
        return None if "-" in self.arguments else sum(1 for _ in self)

    @property
    def is_one_name(self) -> bool:
        """Whether this can only be one file; a folder with one file may get more."""
        return len(self.arguments) == 1 and not (
            self.arguments[0] == "-"
            or os.path.isdir(self.arguments[0])
            or is_pattern(self.arguments[0])
        )

    def _expand(self, argument: str, skipped: "Skipped") -> Iterator[Path]:
        if argument == "-":
            if sys.stdin is not None:
                stream = cast(io.BufferedIOBase, sys.stdin.buffer)
                yield from (Path(name) for name in _names(stream, self.null))
        elif os.path.isdir(argument):
            yield from _walk(argument, skipped, self.suffixes)
        elif is_pattern(argument):
            for match in sorted(glob.iglob(argument, recursive=True)):
                yield from self._expand(match, skipped) if match != "-" else [Path(match)]
        else:
            yield Path(argument)


class Listed(Files):
    """Files that are known one by one, whose names are neither folders nor patterns."""

    def __iter__(self) -> Iterator[Path]:
        """Yields the files."""
        yield from map(Path, self.arguments)


@dataclass
class Skipped:
    """Files and links in folders that were skipped, with the first few names.

    Attributes:
        files: Whose suffix is not one of audio.
        links: To folders.
        names: Of the first files.
        nameless: Folders of object stores without a name, as in ``calls//a.wav``.
    """

    files: int = 0
    links: int = 0
    names: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)

    def file(self, path: str) -> None:
        """Counts a file whose suffix is not one of audio."""
        self.files += 1
        if len(self.names) < NAMED:
            self.names.append(path)

    def report(self) -> None:
        """Reports on stderr what was skipped."""
        # Names may be any bytes, which a terminal may not be able to show.
        names = ", ".join(os.fsencode(name).decode("utf-8", "replace") for name in self.names)
        if self.files:
            more = f" and {self.files - NAMED:,} more" if self.files > NAMED else ""
            what = "file whose name does" if self.files == 1 else "files whose names do"
            print(
                f"skipped {self.files:,} {what} not end in an audio extension: {names}{more}",
                file=sys.stderr,
            )
        if self.links:
            print(
                f"did not follow {self.links:,} "
                f"{'link to a folder' if self.links == 1 else 'links to folders'}",
                file=sys.stderr,
            )
        for folder in self.nameless:
            print(f"skipped everything under {folder}: give a list of it", file=sys.stderr)


def _walk(folder: str, skipped: Skipped, suffixes: frozenset[str]) -> Iterator[Path]:
    # Names instead of directory entries, which need more memory: a folder may hold a million.
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            if os.path.islink(path):
                skipped.links += 1
            else:
                yield from _walk(path, skipped, suffixes)
        elif os.path.splitext(name)[1].lower() in suffixes:
            yield Path(path)
        else:
            skipped.file(path)


def _names(stream: io.BufferedIOBase, null: bool) -> Iterator[str]:
    """Yields names as they come, while the pipe is open."""
    start, held = b"", []
    for raw in _ended_by_nul(stream) if null else iter(lambda: stream.readline(LONGEST_NAME), b""):
        if len(start) < ENOUGH:
            start = (start + raw)[:ENOUGH]
        if AUDIO.match(start) or len(raw) >= LONGEST_NAME:
            raise typer.BadParameter(
                "- reads file names from stdin, but got audio or other binary data: save it to a "
                "file, and give its name"
            )
        if not null and b"\0" in raw:
            raise typer.BadParameter(
                "the names on stdin have NUL bytes: add -0 if they come from 'find -print0', and "
                "give audio as a file, because - reads names"
            )
        name = os.fsdecode(raw.rstrip(b"\0") if null else raw.rstrip(b"\r\n"))
        if name:
            held.append(name)
        if len(start) == ENOUGH:
            yield from held
            held.clear()
    yield from held


def _ended_by_nul(stream: io.BufferedIOBase) -> Iterator[bytes]:
    rest = b""
    # Not read(), which would wait for the full number of bytes.
    while block := stream.read1(LONGEST_NAME):
        *whole, rest = (rest + block).split(b"\0")
        yield from (name + b"\0" for name in whole)
        if len(rest) >= LONGEST_NAME:
            break
    if rest:
        yield rest


def is_pattern(argument: str) -> bool:
    """Whether the argument is a pattern, and not the name of a file that looks like one."""
    return glob.has_magic(argument) and not os.path.exists(argument)


def _nothing(argument: str) -> str:
    if argument == "-":
        return "no file names came on stdin: write one per line"
    if os.path.isdir(argument):
        known = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        return f"no audio in the folder {argument}: it needs files that end in one of {known}"
    return f"nothing matches {argument}: check the pattern"

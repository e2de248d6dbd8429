"""Which files the arguments of a command name."""

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
"""What counts as audio in a folder, as the server reads it; a file that is named may have any name.
"""

NAMED = 3
"""Skipped files that are named; the others are counted."""

LONGEST_NAME = 2**16

ENOUGH = 16
"""Bytes that are enough to distinguish audio from names."""

AUDIO = re.compile(
    rb"RIFF....WAVE|RF64....WAVE|FORM....AIF[FC]|caff\0|fLaC\0|OggS\0|ID3[\2-\4]|\xff[\xe0-\xff]"
    rb"|#!AMR|\0...(ftyp|moov|mdat|wide)|\x1a\x45\xdf\xa3",
    re.DOTALL,
)
"""How audio starts, and no file name does."""

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
    """The files that arguments name, in their order.

    They are looked up each time, so that a million of them need not be held. What is skipped in
    folders is reported on stderr, once.

    Attributes:
        arguments: Files, folders (searched for audio by suffix, sorted, without what is hidden),
            patterns that the shell did not expand, and ``-`` for names on stdin.
        null: Whether names on stdin end with NUL, and with the end of a line otherwise.
    """

    arguments: Sequence[str]
    null: bool = False
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.null and "-" not in self.arguments:
            raise typer.BadParameter("--null is for names on stdin: give - for them")
        if self.arguments.count("-") > 1:
            raise typer.BadParameter("stdin can be read once: give one -")

    def __iter__(self) -> Iterator[Path]:
        """Finds them.

        Raises:
            typer.BadParameter: An argument gives nothing, or stdin holds no names. A name that is
                no pattern is taken as it is: whether there is such a file is for the one who reads
                it to say.
        """
        skipped = Skipped()
        for argument in self.arguments:
            found = False
            for path in self._expand(argument, skipped):
                found = True
                yield path
            if not found:
                raise typer.BadParameter(_nothing(argument))
        if not self._told:
            self._told = True
            skipped.tell()

    def count(self) -> Optional[int]:
        """How many there are; None where names come on stdin, which cannot be read twice."""
        return None if "-" in self.arguments else sum(1 for _ in self)

    @property
    def is_one_name(self) -> bool:
        """Whether they are one file for certain: a folder may hold more another time."""
        return len(self.arguments) == 1 and not (
            self.arguments[0] == "-"
            or os.path.isdir(self.arguments[0])
            or _is_pattern(self.arguments[0])
        )

    def _expand(self, argument: str, skipped: "Skipped") -> Iterator[Path]:
        if argument == "-":
            if sys.stdin is not None:
                stream = cast(io.BufferedIOBase, sys.stdin.buffer)
                yield from (Path(name) for name in _names(stream, self.null))
        elif os.path.isdir(argument):
            yield from _walk(argument, skipped)
        elif _is_pattern(argument):
            for match in sorted(glob.iglob(argument, recursive=True)):
                yield from self._expand(match, skipped) if match != "-" else [Path(match)]
        else:
            yield Path(argument)


@dataclass
class Skipped:
    """What was found in folders and not taken; of many, the first few names are kept."""

    files: int = 0
    links: int = 0
    names: list[str] = field(default_factory=list)

    def file(self, path: str) -> None:
        """A file that is not audio by its name."""
        self.files += 1
        if len(self.names) < NAMED:
            self.names.append(path)

    def tell(self) -> None:
        """Says it on stderr."""
        # As far as a terminal can show them: names may be any bytes.
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


def _walk(folder: str, skipped: Skipped) -> Iterator[Path]:
    # Names and not entries with all that is known of them: a folder may hold a million.
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            if os.path.islink(path):
                skipped.links += 1
            else:
                yield from _walk(path, skipped)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:
            yield Path(path)
        else:
            skipped.file(path)


def _names(stream: io.BufferedIOBase, null: bool) -> Iterator[str]:
    """Names as they come, while the pipe stays open."""
    start, held = b"", []
    for raw in _ended_by_nul(stream) if null else iter(lambda: stream.readline(LONGEST_NAME), b""):
        if len(start) < ENOUGH:
            start = (start + raw)[:ENOUGH]
        if AUDIO.match(start) or len(raw) >= LONGEST_NAME:
            raise typer.BadParameter(
                "- reads file names from stdin, but audio or other binary data came: save it to a "
                "file, and give its name"
            )
        if not null and b"\0" in raw:
            raise typer.BadParameter(
                "the names on stdin hold NUL bytes: add -0 if they come from 'find -print0', and "
                "give audio as a file, since - reads names"
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
    # Not read(), which would wait until so much has come.
    while block := stream.read1(LONGEST_NAME):
        *whole, rest = (rest + block).split(b"\0")
        yield from (name + b"\0" for name in whole)
        if len(rest) >= LONGEST_NAME:
            break
    if rest:
        yield rest


def _is_pattern(argument: str) -> bool:
    return glob.has_magic(argument) and not os.path.exists(argument)


def _nothing(argument: str) -> str:
    if argument == "-":
        return "no file names came on stdin: write one per line"
    if os.path.isdir(argument):
        known = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        return f"no audio in the folder {argument}: it needs files that end in one of {known}"
    return f"nothing matches {argument}: check the pattern"

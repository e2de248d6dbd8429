"""Finds the recordings of an archive, one by one, so that ten million need no memory."""

from __future__ import annotations

import csv
import glob
import io
import os
import posixpath
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import typer

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.archive.recordings import Recording
from emotion2vec_client.archive.stores import (
    OF_THE_FILE,
    StoreError,
    errors_of,
    is_url,
    opened,
    resolve,
)
from emotion2vec_client.cli.common import sentence
from emotion2vec_client.cli.files import SUFFIXES, Files, Skipped, is_pattern

SHARD = ".tar"
COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
LISTS = (".parquet", ".csv")
FOUND = SUFFIXES | {SHARD}
"""What is taken from folders."""

SHARD_READERS = 8
"""Shards whose members are listed at once."""

SHARD_BLOCK = 2**20
"""Bytes that a store is asked for at once while the members of a shard are listed."""


def find(sources: Sequence[str], column: str) -> Iterator[Recording]:
    """Yields the recordings of each source, and reports on stderr what it skipped in folders.

    Args:
        sources: Files, folders, patterns, tar shards, and lists (Parquet or CSV), each by path or
            URL.
        column: The column of a list that has paths or URLs.

    Raises:
        typer.BadParameter: A source has no recordings, or a list has no such column.
        OSError: A source cannot be read.
        StoreError: Its store does not answer.
    """
    for source in sources:
        # Before anything is listed, which may take long.
        if not is_url(source):
            _check_local(source)
    for source in sources:
        found = False
        # Two lists may have the same names.
        apart = len(sources) > 1 or is_pattern(source)
        for recording in _with_members(_files(source, column, apart)):
            found = True
            yield recording
        if not found:
            raise typer.BadParameter(f"no audio in {source}")


def _files(source: str, column: str, apart: bool) -> Iterator[Recording]:
    """The files of a source, shards as a whole.

    Args:
        source: See `find`.
        column: See `find`.
        apart: Whether names from lists get the list's folder.
    """
    for file in _remote(source) if is_url(source) else _local(source):
        if _suffix(file) not in LISTS:
            yield Recording(file, _absolute(file))
            continue
        for name in _listed(file, column):
            yield Recording(_beside(file, name) if apart else name, _beside(_absolute(file), name))


def _with_members(files: Iterable[Recording]) -> Iterator[Recording]:
    """The same with the members of each shard in its place; several shards are read at once."""
    ahead: deque[Recording | Future[list[Recording]]] = deque()
    with ThreadPoolExecutor(SHARD_READERS) as pool:
        try:
            for file in files:
                is_shard = _suffix(file.path) == SHARD
                ahead.append(pool.submit(_members, file) if is_shard else file)
                if len(ahead) > SHARD_READERS:
                    yield from _listed_or_one(ahead.popleft())
            while ahead:
                yield from _listed_or_one(ahead.popleft())
        finally:
            for each in ahead:
                if isinstance(each, Future):
                    each.cancel()


def _listed_or_one(found: Recording | Future[list[Recording]]) -> Sequence[Recording]:
    return found.result() if isinstance(found, Future) else [found]


def _check_local(source: str) -> None:
    if source.lower().endswith(COMPRESSED):
        raise typer.BadParameter(
            f"{source} is compressed, which cannot be read in parts: unpack it"
        )
    if source != "-" and not is_pattern(source) and not os.path.exists(source):
        raise typer.BadParameter(f"there is no file or folder {source}")


def _local(source: str) -> Iterator[str]:
    for path in Files([source], suffixes=FOUND):
        yield str(path)


def _remote(source: str) -> Iterator[str]:
    with errors_of(source):
        filesystem, path = resolve(source)
        # A name may look like a pattern.
        matches = [path] if filesystem.exists(path) else []
        if not matches and glob.has_magic(path):
            matches = sorted(filesystem.glob(path))
    if not matches:
        raise typer.BadParameter(f"there is no file or folder {source}")
    skipped = Skipped()
    for match in matches:
        with errors_of(source):
            folder = filesystem.isdir(match)
        for each in _walk(filesystem, match, source, skipped) if folder else [match]:
            yield filesystem.unstrip_protocol(each)
    skipped.report()


def _walk(filesystem: Any, folder: str, source: str, skipped: Skipped) -> Iterator[str]:
    # Not the filesystem's own walk, which leaves out what it cannot list.
    with errors_of(source):
        entries = sorted(
            (entry["name"].rstrip("/"), entry["type"] == "directory")
            for entry in filesystem.ls(folder, detail=True)
        )
    for path, is_folder in entries:
        name = posixpath.basename(path)
        if path == folder.rstrip("/"):
            # The object that stands for the folder itself, or a key with "//", which is a folder
            # without a name, and which the filesystems cannot list.
            if is_folder:
                skipped.nameless.append(filesystem.unstrip_protocol(f"{path}//"))
        elif name.startswith("."):
            continue
        elif is_folder:
            yield from _walk(filesystem, path, source, skipped)
        elif _suffix(name) in FOUND:
            yield path
        else:
            skipped.file(filesystem.unstrip_protocol(path))


def _members(file: Recording) -> list[Recording]:
    """The audio in a tar file, without its bytes. A damaged shard is itself the last one."""
    found: list[Recording] = []
    shard, path = file.name, file.path
    try:
        with opened(path, SHARD_BLOCK) as stream, errors_of(path):
            try:
                with tarfile.open(fileobj=stream, mode="r:") as tar:
                    found.extend(_audio(shard, path, tar))
                    # tarfile takes a damaged header for the end.
                    stream.seek(tar.offset)
                    if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                        raise tarfile.ReadError("it has no end")
            except tarfile.TarError as error:
                found.append(Recording(shard, path, problem=f"the shard is damaged: {error}"))
    except OF_THE_FILE as error:
        found.append(Recording(shard, path, problem=sentence(error)))
    return found


def _audio(shard: str, path: str, tar: tarfile.TarFile) -> Iterator[Recording]:
    while (member := tar.next()) is not None:
        # tarfile keeps all members otherwise.
        tar.members = []  # type: ignore[attr-defined]
        hidden = posixpath.basename(member.name).startswith(".")
        if hidden or _suffix(member.name) not in SUFFIXES:
            continue
        name = f"{shard}/{member.name}"
        if member.islnk() or member.issym():
            yield Recording(
                name, path, problem="it is a link: pack the shard with -h --hard-dereference"
            )
        elif not member.isreg():
            continue
        elif member.issparse():
            yield Recording(name, path, problem="it is sparse: pack the shard without -S")
        else:
            yield Recording(name, path, member.offset_data, member.size)


def _listed(file: str, column: str) -> Iterator[str]:
    """The values of a list's column."""
    try:
        with opened(file) as stream:
            yield from (_csv if _suffix(file) == ".csv" else _parquet)(file, stream, column)
    except (ValueError, csv.Error) as error:
        raise typer.BadParameter(f"{file} cannot be read as a list: {error}") from error
    except (typer.BadParameter, StoreError, OSError):
        raise
    except Exception as error:
        # Of a store, while the list is read.
        raise StoreError(f"the store of {file} failed: {error}") from error


def _csv(file: str, stream: BinaryIO, column: str) -> Iterator[str]:
    # Names may be any bytes, as in the CSV that the commands write.
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    rows = csv.DictReader(text)
    _check_column(file, column, rows.fieldnames or [])
    for row in rows:
        yield row[column] or ""


def _parquet(file: str, stream: BinaryIO, column: str) -> Iterator[str]:
    parquet = import_extra("pyarrow.parquet", "archive")
    table = parquet.ParquetFile(stream)
    _check_column(file, column, table.schema_arrow.names)
    for batch in table.iter_batches(columns=[column]):
        for value in batch.column(0):
            name = value.as_py() or ""
            if not isinstance(name, str):
                raise ValueError(f"column {column} has {value.type}, and not text")
            yield name


def _check_column(file: str, column: str, names: Sequence[str]) -> None:
    if column not in names:
        raise typer.BadParameter(
            f"{file} has no column {column}: name one of {', '.join(names)} with --column"
        )


def _beside(file: str, name: str) -> str:
    """Where a list's recording is: a relative path is joined to the list's folder."""
    if is_url(name) or os.path.isabs(name):
        return name
    if is_url(file):
        return f"{file.rpartition('/')[0]}/{name}"
    return os.path.join(os.path.dirname(file), name)


def _absolute(file: str) -> str:
    return file if is_url(file) else os.path.abspath(file)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()

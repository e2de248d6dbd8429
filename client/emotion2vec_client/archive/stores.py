"""Files on this machine and in object stores, by path or URL."""

from __future__ import annotations

import errno
import inspect
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from emotion2vec_client.analysis.arrays import import_extra
from emotion2vec_client.errors import ServerUnavailableError

OBJECT_STORES = frozenset(
    ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory")
)
"""Protocols whose files appear complete or not at all; elsewhere a file is renamed once complete.
"""

OF_THE_FILE = (FileNotFoundError, IsADirectoryError, PermissionError)
"""Errors of a single file. Any other error of a store would stop all further files too."""

OF_A_PATH = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
     errno.ELOOP, errno.EINVAL)
)  # fmt: skip
"""The same on this machine. Others, such as EIO and ESTALE, are those of a disk or a mount."""

OF_A_PAGE = (403, 404, 410)
"""The same of a web server."""

OF_AN_OBJECT = frozenset(
    ("NoSuchKey", "NoSuchVersion", "AccessDenied", "InvalidObjectState", "403", "404")
)
"""The same in S3's own words. s3fs raises `PermissionError` for expired credentials as well."""

UNFINISHED = ".unfinished"
ABANDONED_SECONDS = 3600


class StoreError(ServerUnavailableError):
    """A store of files does not answer, or cannot be used."""


def is_url(name: str) -> bool:
    """Whether it names a file in a store, and not on this machine."""
    return "://" in name


def protocol_of(url: str) -> str:
    """The protocol, such as ``s3``."""
    return url.partition("://")[0].rpartition("::")[2]


def resolve(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URL, and the path in it.

    Raises:
        FileNotFoundError: No filesystem has this protocol.
        ImportError: The package for the protocol is not installed.
    """
    fsspec = import_extra("fsspec", "archive")
    protocol = protocol_of(url)
    if protocol not in fsspec.available_protocols():
        raise FileNotFoundError(errno.ENOENT, "Unknown protocol", url)
    # Without the cache, which would grow with the number of files.
    if "::" in url.partition("://")[0]:
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(url, use_listings_cache=False))
    # `url_to_fs` would take a "::" in an object's name for a chain of filesystems.
    kind = fsspec.get_filesystem_class(protocol)
    options = kind._get_kwargs_from_urls(url) | {"use_listings_cache": False}
    return fsspec.filesystem(protocol, **options), cast("str", kind._strip_protocol(url))


@contextmanager
def errors_of(url: str) -> Iterator[None]:
    """Turns what a filesystem raises into an error of the file, or of its store.

    Raises:
        OSError: The file is missing, or may not be read.
        StoreError: The store does not answer, or the package for it is not installed.
    """
    try:
        yield
    except StoreError:
        raise
    except OF_THE_FILE as error:
        answer = getattr(error.__cause__, "response", None) or {}
        code = answer.get("Error", {}).get("Code")
        if code is not None and code not in OF_AN_OBJECT:
            raise StoreError(f"the store of {url} failed: {code}: {error}") from error
        raise
    except ImportError as error:
        raise StoreError(f"cannot use {url}: {error}") from error
    except Exception as error:
        # gcsfs begins its error for a forbidden object with this word.
        if getattr(error, "status", None) in OF_A_PAGE or str(error).startswith("Forbidden: "):
            raise PermissionError(errno.EACCES, f"Not available ({error})", url) from error
        raise StoreError(f"the store of {url} failed: {error or type(error).__name__}") from error


@contextmanager
def opened(name: str, block_size: int | None = None) -> Iterator[BinaryIO]:
    """A file for reading, by path or URL; it opens with the errors of `errors_of`.

    Args:
        name: Path or URL.
        block_size: Bytes that a store is asked for at once; its own default otherwise.
    """
    if not is_url(name):
        with open(name, "rb") as file:
            yield file
        return
    with errors_of(name):
        filesystem, path = resolve(name)
        file = filesystem.open(path, "rb", block_size=block_size)
    with file:
        yield file


def read(name: str, start: int = 0, size: int | None = None) -> bytes:
    """The bytes of a file, or ``size`` of them from ``start``; fewer if it ends earlier."""
    if size == 0:
        return b""
    if not is_url(name):
        try:
            with open(name, "rb") as file:
                file.seek(start)
                return file.read(-1 if size is None else size)
        except OSError as error:
            if error.errno in OF_A_PATH:
                raise
            raise StoreError(f"cannot read {name}: {error.strerror}") from error
    with errors_of(name):
        filesystem, path = resolve(name)
        end = None if size is None else start + size
        try:
            data: bytes = filesystem.cat_file(path, start=start or None, end=end)
        except OF_THE_FILE:
            raise
        except Exception:
            # Stores refuse to read from the end of a file: an empty one ends where it begins.
            if end is not None and _ends_by(filesystem, path, start):
                return b""
            raise
        return data


def _ends_by(filesystem: Any, path: str, position: int) -> bool:
    # If it fails as the read did, that error is the one to report.
    with suppress(Exception):
        return bool(filesystem.size(path) <= position)
    return False


@dataclass(frozen=True)
class Store:
    """A folder on this machine or in an object store, in which each file appears in one step.

    Attributes:
        url: Absolute path or URL of the folder.
    """

    url: str

    @classmethod
    def of(cls, name: str) -> Store:
        """The store of a path or URL.

        Raises:
            ValueError: It names no folder.
        """
        if not name or name.endswith("://"):
            raise ValueError(
                f"{name!r} is no folder: give a path, or a URL such as s3://bucket/out"
            )
        return cls(name.rstrip("/") if is_url(name) else os.path.abspath(name))

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return read(f"{self.url}/{name}")

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """A file for reading; what is raised meanwhile becomes an error as in `errors_of`."""
        path = f"{self.url}/{name}"
        with errors_of(path), opened(path) as file:
            yield file

    def put(self, name: str, data: bytes) -> None:
        """Writes a file, which replaces another of this name, so that it is never seen in pieces.

        Raises:
            OSError: It cannot be written.
            StoreError: The store does not answer.
        """
        path = f"{self.url}/{name}"
        # Two runs that write the same file must not share the unfinished one.
        unfinished = f"{self.url}/_archive/{_unfinished()}"
        if is_url(path):
            with errors_of(path):
                self._put_remote(path, unfinished, data)
        else:
            _put_local(Path(path), Path(unfinished), data)

    def create(self, name: str, data: bytes) -> bool:
        """Writes a file in one step unless there is one of this name; returns whether it did.

        Of two that call this at once, one gets True. Where a store cannot promise that, both may:
        read the file afterwards.
        """
        path = f"{self.url}/{name}"
        unfinished = f"{self.url}/_archive/{_unfinished()}"
        if is_url(path):
            with errors_of(path):
                return self._create_remote(path, unfinished, data)
        try:
            _put_local(Path(path), Path(unfinished), data, exclusive=True)
        except FileExistsError:
            return False
        return True

    def names(self, folder: str = "") -> list[str]:
        """Names of the files in a folder, none if there is no such folder."""
        path = f"{self.url}/{folder}".rstrip("/")
        try:
            if not is_url(path):
                return os.listdir(path)
            with errors_of(path):
                filesystem, inner = resolve(path)
                return [str(each).rpartition("/")[2] for each in filesystem.ls(inner, detail=False)]
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        path = f"{self.url}/{name}"
        try:
            if not is_url(path):
                os.unlink(path)
                return
            with errors_of(path):
                filesystem, inner = resolve(path)
                filesystem.rm_file(inner)
        except FileNotFoundError:
            return

    def _create_remote(self, path: str, unfinished: str, data: bytes) -> bool:
        filesystem, inner = resolve(path)
        known = "mode" in inspect.signature(filesystem.pipe_file).parameters
        if known and protocol_of(path) in OBJECT_STORES:
            try:
                filesystem.pipe_file(inner, data, mode="create")
                return True
            except OSError as error:
                # Stores that are like S3 do not all say in the same way that there is one.
                if isinstance(error, FileExistsError) or filesystem.exists(inner):
                    return False
                if error.errno != errno.ENOSYS:
                    raise
        if filesystem.exists(inner):
            return False
        self._put_remote(path, unfinished, data)
        return True

    def _put_remote(self, path: str, unfinished: str, data: bytes) -> None:
        filesystem, inner = resolve(path)
        if protocol_of(path) in OBJECT_STORES:
            filesystem.pipe_file(inner, data)
            return
        _, temporary = resolve(unfinished)
        for each in (temporary, inner):
            filesystem.makedirs(each.rpartition("/")[0], exist_ok=True)
        filesystem.pipe_file(temporary, data)
        filesystem.mv(temporary, inner)


def _unfinished() -> str:
    return f"{time.time():.0f}-{uuid.uuid4().hex}{UNFINISHED}"


def is_abandoned(name: str) -> bool:
    """Whether an unfinished file is older than any write takes."""
    began = name.partition("-")[0]
    old = began.isdigit() and time.time() - int(began) > ABANDONED_SECONDS
    return name.endswith(UNFINISHED) and old


def _put_local(path: Path, unfinished: Path, data: bytes, exclusive: bool = False) -> None:
    for each in (path, unfinished):
        each.parent.mkdir(parents=True, exist_ok=True)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            # Otherwise a machine that loses power could have the name without the bytes.
            os.fsync(file.fileno())
        if exclusive:
            # Unlike a rename, this fails if there is one.
            try:
                os.link(unfinished, path)
            except OSError:
                # Some disks have no links.
                if path.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
                unfinished.replace(path)
        else:
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

"""Results on disk: written atomically, kept for a while, found by name."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gateway.schema import Result, TimelineResult

Saved = TypeVar("Saved", Result, TimelineResult)

AUDIO, RESULT, EMBEDDING = "processed_audio.wav", "result.json", "embedding.npy"
TIMELINE = ("timeline.csv", "timeline.srt", "timeline.vtt")
FILES = (AUDIO, RESULT, EMBEDDING, *TIMELINE)

UNNAMED = "audio"
"""The name of an upload without one."""

MAX_NAME = 200
"""Longest name of an upload, in characters."""

FOLDER = re.compile(r"outputs_\d{8}_\d{6}(_\d+)?")
"""Name of a result's folder; nothing else under outputs/ is ever read or removed."""

UNFINISHED = ".unfinished-"
UNFINISHED_SECONDS = 3600
"""An unfinished folder that is older was left by a crash."""


def short_name(filename: str | None) -> str:
    """The name of an upload in results and jobs."""
    return PurePath(filename or UNNAMED).name[:MAX_NAME]


def npy(array: npt.NDArray[np.float32] | None) -> dict[str, bytes]:
    """embedding.npy by its name, or nothing if there is no array."""
    if array is None:
        return {}
    file = io.BytesIO()
    np.save(file, array)
    return {EMBEDDING: file.getvalue()}


class Store:
    """Folders ``outputs_YYYYMMDD_HHMMSS`` under one root; safe to use from several threads.

    Args:
        root: Created when the first result is saved.
        keep_results: How many results to keep; 0 writes nothing.
        keep_hours: How long to keep a result.
        keep_audio: Whether to keep processed_audio.wav.
    """

    def __init__(
        self, root: Path, keep_results: int, keep_hours: float, keep_audio: bool = True
    ) -> None:
        self.root = root
        self._keep_results = keep_results
        self._keep_seconds = keep_hours * 3600
        self._keep_audio = keep_audio
        self._lock = threading.Lock()
        self._last = ("", 0)

    @property
    def keeps(self) -> bool:
        """Whether results are written at all."""
        return self._keep_results > 0

    def save(
        self,
        result: Saved,
        files: Mapping[str, bytes],
        when: datetime,
    ) -> Saved:
        """Writes a result; it appears with all its files or not at all.

        Args:
            result: Plain JSON types.
            files: Contents of the other files, by name; some of `FILES`.
            when: Names the folder; further ones of the same second get ``_2``, ``_3`` …

        Returns:
            The result with ``output_dir`` and ``files`` added, as in result.json; without them if
            nothing is kept.

        Raises:
            OSError: It cannot be written; nothing of it remains.
        """
        if not self.keeps:
            return result
        if not self._keep_audio:
            files = {file: content for file, content in files.items() if file != AUDIO}
        self.root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
        try:
            folder.chmod(0o755)
            for file, content in files.items():
                (folder / file).write_bytes(content)
            while True:
                name = self._next_name(when)
                complete: Saved = {
                    **result,
                    "output_dir": str(self.root / name),
                    "files": {
                        file: f"/outputs/{name}/{file}"
                        for file in FILES
                        if file in files or file == RESULT
                    },
                }
                text = json.dumps(complete, ensure_ascii=False, indent=2)
                (folder / RESULT).write_text(text + "\n", encoding="utf-8")
                try:
                    # This fails if the target is not empty, so two results never mix.
                    folder.rename(self.root / name)
                except FileExistsError:
                    continue
                except OSError as error:
                    if not (self.root / name).exists():
                        raise OSError(f"cannot make {self.root / name}: {error}") from error
                    continue
                return complete
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _next_name(self, when: datetime) -> str:
        stamp = f"outputs_{when:%Y%m%d_%H%M%S}"
        with self._lock:
            last, count = self._last
            count = count + 1 if last == stamp else 1
            self._last = (stamp, count)
        return stamp if count == 1 else f"{stamp}_{count}"

    def find(self, folder: str, file: str) -> Path:
        """A file of a result.

        Raises:
            FileNotFoundError: There is no such file, or it is not part of a result.
        """
        path = self.root / folder / file
        known = FOLDER.fullmatch(folder) and file in FILES
        if not known or path.parent.is_symlink() or path.is_symlink() or not path.is_file():
            raise FileNotFoundError(f"there is no result file {folder}/{file}: it may be too old")
        return path

    def read(self, folder: str) -> Result | TimelineResult:
        """The result of a folder, as `save` returned it.

        Raises:
            FileNotFoundError: There is no such result.
        """
        result: Result | TimelineResult = json.loads(self.find(folder, RESULT).read_bytes())
        return result

    def remove(self, folder: str) -> None:
        """Removes a result with all its files, atomically.

        Raises:
            FileNotFoundError: There is no such result.
            OSError: It cannot be removed.
        """
        path = self.root / folder
        if not FOLDER.fullmatch(folder) or path.is_symlink() or not path.is_dir():
            raise FileNotFoundError(f"there is no result {folder}: it may be too old")
        # Its name is not that of a result; `prune` removes it if this is interrupted.
        doomed = tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root)
        try:
            path.rename(doomed)
        finally:
            shutil.rmtree(doomed)

    def prune(self) -> int:
        """Removes results that are too old or too many, and what a crash left unfinished.

        Returns:
            How many results were removed.
        """
        if not self.root.is_dir():
            return 0
        now = time.time()
        results: list[tuple[float, str]] = []
        for entry in os.scandir(self.root):
            try:
                age = now - entry.stat(follow_symlinks=False).st_mtime
            except FileNotFoundError:
                continue
            if not entry.is_dir(follow_symlinks=False):
                continue
            if entry.name.startswith(UNFINISHED) and age > UNFINISHED_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
            elif FOLDER.fullmatch(entry.name):
                results.append((age, entry.path))
        results.sort()
        doomed = [
            path
            for rank, (age, path) in enumerate(results)
            if rank >= self._keep_results or age > self._keep_seconds
        ]
        for path in doomed:
            shutil.rmtree(path, ignore_errors=True)
        return len(doomed)

"""Calls ``fetch`` in new processes, with a user's caches and hubs."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# The libraries read their variables when they are imported, so each process imports them. Their
# own dependencies are imported once, before the processes fork.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["asyncio", "click", "filelock", "httpx2", "requests", "rich.console", "tqdm.auto", "yaml"]
)

USUAL = {"name": None, "hub": None, "revision": None}


@dataclass
class Answer:
    """The result of one call of ``fetch``."""

    printed: str
    answer: dict[str, Any]

    @property
    def folder(self) -> Path:
        assert "folder" in self.answer, self.answer
        return Path(self.answer["folder"])

    @property
    def error(self) -> str:
        assert "error" in self.answer, self.answer
        return str(self.answer["error"])


@dataclass
class Home:
    """A user's caches, and the addresses of the hubs."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of this user's processes."""
        caches = {
            "HF_HOME": str(self.path / "huggingface"),
            "MODELSCOPE_CACHE": str(self.path / "modelscope"),
            "MODELSCOPE_HOME": str(self.path / "modelscope-home"),
        }
        return caches | self.environment

    def start(self, *calls: dict[str, Any]) -> tuple[BaseProcess, Connection]:
        """Calls ``fetch`` in a process, which sends an `Answer` for each call."""
        answers, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_run, args=(self.variables, calls, theirs))
        process.start()
        theirs.close()
        return process, answers

    def fetch_each(self, *calls: dict[str, Any]) -> list[Answer]:
        """Calls ``fetch`` several times in one process."""
        process, answers = self.start(*calls)
        with answers:
            found = [answers.recv() for _ in calls]
        process.join()
        return found

    def fetch(self, **options: Any) -> Answer:
        """Calls ``fetch`` once in a new process."""
        [answer] = self.fetch_each(options)
        return answer


def _run(environment: dict[str, str], calls: tuple[dict[str, Any], ...], to: Connection) -> None:
    os.environ.update(environment)
    # Hugging Face's library waits a second before it reconnects.
    time.sleep = lambda seconds: None
    for options in calls:
        to.send(_call(**options))


def _call(answer_seconds: int | None = None, published: Path | None = None, **asked: Any) -> Answer:
    from export import download
    from export import published as known
    from export.errors import ExportError

    if answer_seconds:
        download.ANSWER_SECONDS = answer_seconds
    if published:
        # Treat the hub's checkpoint as the published one.
        facts = {name: known.measure(published / name) for name in known.FILES}
        known.LARGE.files.update(facts)  # type: ignore[attr-defined]
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()):
        try:
            found = download.fetch(**USUAL | asked)
        except ExportError as error:
            answer: dict[str, Any] = {"kind": type(error).__name__, "error": str(error)}
        else:
            checked = found.files is not None
            answer = {"folder": str(found.folder), "name": found.name, "checked": checked}
    return Answer(printed.getvalue(), answer)

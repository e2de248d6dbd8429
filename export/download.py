"""Gets named checkpoints from ModelScope or Hugging Face, through their libraries and caches."""

from __future__ import annotations

import errno
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export import published
from export.errors import ExportError, HubUnreachableError
from export.hubs import HUBS, Hub, causes
from export.progress import SILENT_SECONDS, say, step
from export.published import FILES, FileFacts

ANSWER_SECONDS = 20
"""A hub that has not answered after this time counts as unreachable."""


@dataclass(frozen=True)
class Download:
    """A checkpoint folder in a hub's own cache.

    Attributes:
        folder: Contains config.yaml, tokens.txt and model.pt.
        name: Its name on the hub.
        revision: The revision that was requested; None for the newest.
        files: Sizes and digests; None if there was nothing to compare them with.
    """

    folder: Path
    name: str
    revision: str | None
    files: Mapping[str, FileFacts] | None


@dataclass(frozen=True)
class _Source:
    """A hub, and the name and revision to request from it."""

    hub: Hub
    name: str
    revision: str | None

    def files(self) -> dict[str, FileFacts]:
        """What the hub has; raises `ExportError` if a file is missing or the answer is invalid."""
        try:
            files = self.hub.files(self.name, self.revision)
        except (AttributeError, KeyError, TypeError) as error:
            raise ExportError(
                f"{self.hub.title} sent an answer that cannot be read ({error!r})"
            ) from error
        missing = [name for name in FILES if name not in files]
        if missing:
            raise ExportError(f"{self.hub.title} has no {' and no '.join(missing)} in {self}")
        return {name: files[name] for name in FILES}

    def cached(self) -> Path | None:
        """The folder in the hub's cache, if it contains all three files."""
        folder = self.hub.cached(self.name, self.revision)
        try:
            complete = folder and all((folder / name).is_file() for name in FILES)
        except OSError as error:
            raise ExportError(f"cannot read the cache {folder}: {error.strerror}") from error
        return folder if complete else None

    def __str__(self) -> str:
        return f"{self.name} at {self.revision or 'its newest revision'}"


def fetch(name: str | None, hub: str | None, revision: str | None) -> Download:
    """Finds a checkpoint in a cache, or downloads it with a progress bar.

    Args:
        name: Its name on a hub, for example ``iic/emotion2vec_plus_base``; None means
            emotion2vec_plus_large.
        hub: One of ``HUBS``; None asks all of them, and uses the first that has the checkpoint.
        revision: Commit, tag or branch; None means the pinned one, or else the newest.

    Raises:
        HubUnreachableError: It is not cached, and no hub answers.
        ExportError: No hub has it, the download failed, or a file differs from what the hub says.
    """
    sources = _sources(name, hub, revision)
    cached = {source: folder for source in sources if (folder := source.cached())}
    doubts: list[str] = []
    for source, folder in cached.items():
        known = _known(source)
        if not known:
            continue
        files = published.measure_folder(folder)
        differs = published.differences(files, known)
        if not differs:
            say(f"{source} is in the cache of {source.hub.title}, whole and as published")
            return Download(folder, source.name, source.revision, files)
        for clause in differs:
            say(f"the cached checkpoint is not the published one: {clause}, in {folder}")
            # Only the size of config.yaml is known, and an extra space changes no score.
            if not clause.startswith("config.yaml"):
                doubts.append(f"{clause}, in {folder}")
    try:
        source, declared = _ask(sources, list(cached))
    except HubUnreachableError as error:
        if doubts:
            raise ExportError(
                f"the cached checkpoint is not the published one ({'; '.join(doubts)}), and {error}"
            ) from error
        if not cached:
            raise
        source, folder = next(iter(cached.items()))
        say(f"{error}: using {source} from the cache of {source.hub.title} unchecked")
        return Download(folder, source.name, source.revision, None)
    folder = _download(source, declared)
    files = published.measure_folder(folder)
    for clause in published.differences(files, declared):
        path = (folder / clause.split()[0]).resolve()
        raise ExportError(
            f"{clause}, which is what {source.hub.title} has: delete {path} and run this again"
        )
    return Download(folder, source.name, source.revision, files)


def _sources(name: str | None, hub: str | None, revision: str | None) -> list[_Source]:
    checkpoint = published.LARGE if name is None else published.of_name(name)
    hubs = [HUBS[hub]] if hub else list(HUBS.values())
    names = [checkpoint.names[each.key] if checkpoint else str(name) for each in hubs]
    return [
        _Source(each, called, revision or published.pinned(called, each.key))
        for each, called in zip(hubs, names, strict=True)
    ]


def _known(source: _Source) -> dict[str, FileFacts]:
    """What is known about the files, if this is the pinned revision."""
    checkpoint = published.of_name(source.name)
    if checkpoint is None or source.revision != checkpoint.revisions.get(source.hub.key):
        return {}
    return dict(checkpoint.files)


def _ask(
    sources: Sequence[_Source], cached: Sequence[_Source]
) -> tuple[_Source, dict[str, FileFacts]]:
    """Asks the hubs; first those with files in the cache, to avoid starting over."""
    started = cached or [source for source in sources if source.hub.has_partial(source.name)]
    if 0 < len(started) < len(sources):
        try:
            return _first_answer(started)
        except ExportError as error:
            say(f"{error}")
    return _first_answer(sources)


def _first_answer(sources: Sequence[_Source]) -> tuple[_Source, dict[str, FileFacts]]:
    """Asks all hubs at once; returns the first that has the checkpoint, with its files."""
    titles = " and ".join(source.hub.title for source in sources)
    answers: queue.Queue[tuple[_Source, dict[str, FileFacts] | ExportError]] = queue.Queue()

    def ask(source: _Source) -> None:
        try:
            answers.put((source, source.files()))
        except ExportError as error:
            answers.put((source, error))

    failed: dict[str, ExportError] = {}
    with step(f"asking {titles}"):
        began = time.monotonic()
        for source in sources:
            threading.Thread(target=ask, args=[source], daemon=True).start()
        while len(failed) < len(sources):
            try:
                source, answer = answers.get(timeout=began + ANSWER_SECONDS - time.monotonic())
            except (queue.Empty, ValueError):
                break
            if not isinstance(answer, ExportError):
                why = "".join(f"; {title}: {error}" for title, error in failed.items())
                say(
                    f"{source.hub.title} answered first, after {time.monotonic() - began:.1f} s, "
                    f"and has {source}{why}"
                )
                return source, answer
            failed[source.hub.title] = answer
    silent = [each.hub.title for each in sources if each.hub.title not in failed]
    reasons = [str(error) for error in failed.values()]
    reasons += [f"{title} has not answered within {ANSWER_SECONDS} s" for title in silent]
    details = "; ".join(reasons)
    if all(isinstance(error, HubUnreachableError) for error in failed.values()):
        raise HubUnreachableError(
            f"no hub answers ({details}): check the network and its proxy variables, or give a "
            "local folder to --checkpoint"
        )
    raise ExportError(
        f"the checkpoint cannot be downloaded ({details}): check its name and --revision, try "
        "another hub with --hub, or give a local folder to --checkpoint"
    )


def _download(source: _Source, declared: Mapping[str, FileFacts]) -> Path:
    cache, variable = source.hub.cache()
    needed = sum(facts.size for facts in declared.values())
    full = (
        f"the disk of {cache} is too full for the checkpoint's {needed / 1e6:,.0f} MB: free some "
        f"room, or set {variable} to a folder on another disk"
    )
    # On a terminal the libraries draw progress bars; elsewhere Hugging Face's draws none.
    every = threading.TIMEOUT_MAX if sys.stderr.isatty() else SILENT_SECONDS
    try:
        with step(f"fetching what is missing of {needed / 1e6:,.0f} MB into {cache}", every):
            return source.hub.download(source.name, source.revision)
    except ExportError as error:
        if _is_full(error):
            raise ExportError(full) from error
        raise


def _is_full(error: BaseException) -> bool:
    """Whether a full disk or quota caused an error."""
    return any(
        isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        for cause in causes(error)
    )

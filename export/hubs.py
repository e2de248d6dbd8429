"""Both model hubs behind one interface, each through its own library."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from export.errors import ExportError, HubUnreachableError
from export.published import FILES, FileFacts, pinned

CONNECT_SECONDS = 10.0


class Hub(Protocol):
    """A model hub.

    Attributes:
        key: Its name for ``--hub``.
        title: Its name in messages.
    """

    key: str
    title: str

    def cache(self) -> tuple[Path, str]:
        """The folder of its cache, and the environment variable that moves it."""

    def cached(self, name: str, revision: str | None) -> Path | None:
        """The folder of a checkpoint in its cache, which may lack files; works offline."""

    def has_partial(self, name: str) -> bool:
        """Whether its cache has a partial file of the checkpoint that a download would resume."""

    def files(self, name: str, revision: str | None) -> dict[str, FileFacts]:
        """Asks the hub for the size and digest of a checkpoint's files.

        Raises:
            HubUnreachableError: There is no connection, or something other than the hub answers.
            ExportError: The hub has no such checkpoint, or answers with an error.
        """

    def download(self, name: str, revision: str | None) -> Path:
        """Downloads the missing files of a checkpoint into its cache, and returns the folder.

        Raises:
            ExportError: The download failed, even after the library's own retries.
        """


class HuggingFace:
    """Hugging Face, through huggingface_hub; ``HF_ENDPOINT`` and ``HF_HOME`` are honoured."""

    key, title = "huggingface", "Hugging Face"

    def cache(self) -> tuple[Path, str]:
        """See `Hub.cache`."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE), "HF_HOME"

    def cached(self, name: str, revision: str | None) -> Path | None:
        """See `Hub.cached`."""
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = try_to_load_from_cache(name, FILES[0], revision=revision)
        except HFValidationError:
            return None
        return Path(found).parent if isinstance(found, str) else None

    def has_partial(self, name: str) -> bool:
        """See `Hub.has_partial`."""
        # The library does not resume a download that was killed.
        return False

    def files(self, name: str, revision: str | None) -> dict[str, FileFacts]:
        """See `Hub.files`."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            info = HfApi().model_info(
                name, revision=revision, files_metadata=True, timeout=CONNECT_SECONDS
            )
        except HfHubHTTPError as error:
            raise _status_error(self, name, error.response.status_code) from error
        except HFValidationError as error:
            raise ExportError(f"{name!r} is not a valid name on {self.title}") from error
        except _http_errors() as error:
            raise _unreachable(self, error) from error
        return {
            file.rfilename: FileFacts(file.size, file.lfs.sha256 if file.lfs else None)
            for file in info.siblings or ()
            if file.size is not None
        }

    def download(self, name: str, revision: str | None) -> Path:
        """See `Hub.download`."""
        from huggingface_hub import hf_hub_download

        try:
            # Not as a snapshot, because its request for the list of files has no timeout.
            paths = [hf_hub_download(name, file, revision=revision) for file in FILES]
        except _http_errors() as error:
            raise _download_error(self, name, error) from error
        return Path(paths[0]).parent


class ModelScope:
    """ModelScope, through modelscope_hub; ``MODELSCOPE_ENDPOINT`` and ``_CACHE`` are honoured."""

    key, title = "modelscope", "ModelScope"

    def cache(self) -> tuple[Path, str]:
        """See `Hub.cache`."""
        from modelscope_hub.config import HubConfig

        return HubConfig().cache_dir, "MODELSCOPE_CACHE"

    def cached(self, name: str, revision: str | None) -> Path | None:
        """See `Hub.cached`."""
        from modelscope_hub import HubApi
        from modelscope_hub.errors import HubError

        try:
            folder = HubApi().download_repo(name, "model", revision=revision, local_files_only=True)
        except HubError:
            return None
        # Before 1.38 there was one folder for all revisions. Its files can only be checked if the
        # pinned revision is wanted, because only that one has known digests.
        known = revision in (None, folder.name, pinned(name, self.key))
        return folder if known else None

    def has_partial(self, name: str) -> bool:
        """See `Hub.has_partial`."""
        folder = self.cache()[0] / "models" / name.replace("/", "--")
        return any(folder.rglob("*.incomplete"))

    def files(self, name: str, revision: str | None) -> dict[str, FileFacts]:
        """See `Hub.files`."""
        from modelscope_hub import HubApi
        from modelscope_hub.errors import APIError, HubError

        # It warns before each retry; the outcome is reported here.
        logging.getLogger("modelscope_hub").setLevel(logging.ERROR)
        try:
            entries = HubApi().list_repo_files(name, "model", revision=revision)
        except APIError as error:
            raise _status_error(self, name, error.status_code) from error
        except (HubError, OSError, ValueError) as error:
            raise _unreachable(self, error) from error
        return {
            entry.path: FileFacts(entry.size, entry.sha256)
            for entry in entries
            if entry.type == "blob"
        }

    def download(self, name: str, revision: str | None) -> Path:
        """See `Hub.download`."""
        from modelscope_hub import HubApi
        from modelscope_hub.errors import HubError

        try:
            return HubApi().download_repo(
                name, "model", revision=revision, allow_patterns=list(FILES)
            )
        except (HubError, OSError, ValueError) as error:
            raise _download_error(self, name, error) from error


def _http_errors() -> tuple[type[Exception], ...]:
    """Errors of huggingface_hub, including those of the HTTP library that it uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, ValueError)


def _status_error(hub: Hub, name: str, status: int | None) -> ExportError:
    """Explains an HTTP status to a user who wants a checkpoint."""
    if status in (401, 403):
        why = f"requires an account that may read {name}: log in with its command-line tool"
    elif status == 404:
        why = f"has no {name} at this revision"
    else:
        why = "cannot answer now"
    return ExportError(f"{hub.title} {why} (HTTP {status})")


def _unreachable(hub: Hub, error: Exception) -> HubUnreachableError:
    return HubUnreachableError(f"{hub.title} does not answer ({_reason(error)})")


def _download_error(hub: Hub, name: str, error: Exception) -> ExportError:
    return ExportError(
        f"the download of {name} from {hub.title} broke off ({_reason(error)}): run this again, or "
        "try another hub with --hub"
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and everything that caused it, the innermost last."""
    yield error
    # ModelScope keeps the errors of each file here.
    reasons = [*getattr(error, "failed_files", {}).values(), error.__cause__ or error.__context__]
    for cause in reasons:
        if cause is not None:
            yield from causes(cause)


def _reason(error: BaseException) -> str:
    """One line about the innermost cause of an error: libraries wrap it in others."""
    innermost = list(causes(error))[-1]
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    return f"{type(innermost).__name__}: {lines[0]}" if lines else type(innermost).__name__


HUBS: dict[str, Hub] = {"modelscope": ModelScope(), "huggingface": HuggingFace()}

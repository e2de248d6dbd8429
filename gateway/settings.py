"""The gateway's settings, read from environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from emotion2vec_client import check_url
from emotion2vec_client.analysis import Head, Policy

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
"""As browsers write it in the header Origin."""

GRACE_SECONDS = 5.0
"""Time for the rest of a request: the upload, and saving the result."""


class Settings(BaseSettings):
    """One field per variable: ``E2V_`` and the name in capitals. docs/gateway.md has the table."""

    model_config = SettingsConfigDict(env_prefix="E2V_")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=7860, ge=0, le=65535, description="port to listen on")
    triton_url: str = Field(
        default="localhost:8001",
        description="gRPC or HTTP address of Triton, or of several",
    )
    triton_api_key: SecretStr | None = Field(
        default=None, description="key for a proxy in front of Triton"
    )
    timeout: float = Field(default=30.0, gt=0, description="seconds that a recognition may take")
    max_in_flight: int = Field(default=256, ge=1, description="recognitions at once; more get 429")
    max_wait: float = Field(
        default=30.0, gt=0, description="seconds; a request that would wait longer gets 429"
    )
    max_upload_bytes: int = Field(
        default=10 * 2**20, ge=1, description="largest file; larger get 413"
    )
    max_files: int = Field(default=16, ge=1, description="files in one request; more get 422")
    max_recording_bytes: int = Field(
        default=200 * 2**20, ge=1, description="largest recording of a timeline; larger get 413"
    )
    max_recordings: int = Field(default=4, ge=1, description="timelines at once; more get 429")
    recording_timeout: float = Field(
        default=3600.0, gt=0, description="seconds that a timeline may take"
    )
    max_streams: int = Field(default=512, ge=1, description="streams at once; more get 429")
    stream_idle: float = Field(
        default=60.0, gt=0, description="seconds without a message that end a stream"
    )
    stream_seconds: float = Field(
        default=7200.0, gt=0, description="seconds that a stream may take"
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="log format of the gateway, the server and Triton: text, or json with one "
        "object per line",
    )
    outputs: Path = Field(default=Path("outputs"), description="folder of the results")
    keep_results: int = Field(
        default=1000,
        ge=0,
        description="results kept; the oldest go first; 0 writes none, and removes earlier ones",
    )
    keep_hours: float = Field(default=168.0, gt=0, description="hours that a result is kept")
    keep_audio: bool = Field(default=True, description="whether a result has its audio")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="keys, separated by commas; unset: no key is needed"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="origins whose pages may call, separated by commas, or *"
    )
    policy: Path | None = Field(
        default=None, description="a label policy (JSON), whose answer stands beside the nine"
    )
    heads: Path | None = Field(
        default=None, description="folder of heads (JSON), whose answers stand beside the nine"
    )

    @property
    def grace(self) -> float:
        """Seconds in which a gateway that is told to stop answers what it has accepted."""
        return self.timeout + GRACE_SECONDS

    @cached_property
    def loaded_policy(self) -> Policy | None:
        """The content of the policy's file."""
        return None if self.policy is None else Policy.load(self.policy)

    @cached_property
    def loaded_heads(self) -> dict[str, Head]:
        """The heads of the folder, by the names of their files."""
        files = [] if self.heads is None else sorted(self.heads.glob("*.json"))
        return {file.stem: Head.load(file) for file in files}

    @model_validator(mode="after")
    def _load(self) -> Self:
        # Now, so that the gateway does not start with files that it cannot use.
        with _readable():
            _ = self.loaded_policy
            found = self.loaded_heads
        if self.heads is not None and not found:
            raise ValueError(
                f"{self.heads} has no head in it: 'emotion2vec head fit' writes *.json"
            )
        return self

    @field_validator("triton_url")
    @classmethod
    def _address(cls, value: str) -> str:
        check_url(value)
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        keys = _split(value)
        # Whoever sets the variable wants keys. It is empty by mistake, such as a Secret that was
        # made from shell variables that are not set.
        if isinstance(value, str) and not keys:
            raise ValueError(
                "it is set but has no key in it, and the gateway would be open to everyone: put a "
                "key into it, or unset it for a gateway without keys"
            )
        return keys

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origin_list(cls, value: object) -> object:
        return _split(value)

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not an origin: use scheme://host or scheme://host:port in "
                    "lower case and without a path, or * for all"
                )
        return value


def _split(value: object) -> object:
    """The parts of a variable's value that has commas between them."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


@contextmanager
def _readable() -> Iterator[None]:
    """Turns an error of the disk into one sentence about the setting."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from error

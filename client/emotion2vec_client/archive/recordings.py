"""A recording of an archive: its name, and where its bytes are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from emotion2vec_client.archive.stores import read

CLIP_LIMIT, TIMELINE_LIMIT = 10 * 2**20, 200 * 2**20
"""Largest files in bytes that the server takes, for a clip and for a timeline."""


@dataclass(frozen=True)
class Recording:
    """One input. `Client` takes it as audio, because it has `read`.

    Attributes:
        name: As the rows call it.
        path: Absolute path or URL of its file.
        start: Where it begins in the file: a tar shard holds many.
        size: In bytes; None for a whole file.
        problem: Why it cannot be read, if that is known already.
        data: Its bytes, if they were read already.
        limit: Largest file in bytes that the server takes; no more than this is read.
    """

    name: str
    path: str = ""
    start: int = 0
    size: int | None = None
    problem: str = ""
    data: bytes | None = field(default=None, repr=False)
    limit: int = TIMELINE_LIMIT

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        """The bytes of the audio file.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is known to be unusable, or too large.
            StoreError: Its store does not answer.
        """
        if self.problem:
            raise ValueError(self.problem)
        if self.data is not None:
            return self.data
        # One byte more shows that there are more, however many they are.
        most = self.limit + 1
        data = read(self.path, self.start, most if self.size is None else min(self.size, most))
        if len(data) == most:
            raise ValueError(
                f"the file has more than {self.limit // 2**20} MB, which is the limit: make it "
                "shorter, or compress it"
            )
        if self.size is not None and len(data) != self.size:
            raise ValueError(f"{self.path} ends within {self.name}: the shard is damaged")
        return data

    def loaded(self) -> Recording:
        """The same with its bytes, or with the reason why they cannot be read.

        Raises:
            StoreError: Its store does not answer.
        """
        from emotion2vec_client.cli.common import sentence

        try:
            return replace(self, data=self.read())
        except (OSError, ValueError) as error:
            return replace(self, problem=sentence(error))

"""Decodes in a process that can open nothing, and that the kernel kills at its limits.

Files from strangers reach hundreds of thousands of lines of C in FFmpeg. Some of them take hours
(FFmpeg compares each tag of a FLAC file with all others) or gigabytes (an MP4's table of samples
needs no bytes in the file). FFmpeg does not stop them, but the kernel does. It kills this process
instead of Triton's stub process, whose end would restart all of Triton.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import wave
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from audio.decoding import Decoded, decode, join, stream
from audio.layout import SAMPLE_RATE
from audio.limits import AudioError, Limits

REQUEST = struct.Struct("<q?")
"""The file's size in bytes, and whether to keep its channels apart."""

REPLY = struct.Struct("<?iidq")
"""Whether this is a block or a refusal, the file's sample rate, the number of channels if they are
kept apart, the share of the file read so far, and the number of bytes that follow. A block of
0 bytes ends the file."""

ENVIRONMENT = {
    # Idle threads would only use memory. malloc returns freed memory to the kernel at once.
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**18),
    "MALLOC_TRIM_THRESHOLD_": str(2**18),
    "PYTHONPATH": str(Path(__file__).parents[1]),
}

TIMEOUT_SECONDS = 60
"""Timeout of the socket. CPU time has its own limit, but on a busy machine it takes longer to use
that up."""

FILES_PER_PROCESS = 1_000
"""Restarts the process before small memory leaks make it refuse a good file."""


class WorkerDied(Exception):
    """The process ended or did not answer; the message says how, for the log and the tests."""


class Decoder:
    """Does what `decoding.decode` does, and survives any file."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._start()

    def decode(self, data: bytes) -> Decoded:
        """Decodes one file; two threads must not call this at once.

        Args:
            data: The whole file.

        Returns:
            The clip, as from `decoding.decode`.

        Raises:
            AudioError: The audio cannot be used, or needs more CPU time or memory than allowed.
        """
        return join(self.stream(data))

    def stream(self, data: bytes, separate: bool = False) -> Generator[Decoded, None, None]:
        """Does what `decoding.stream` does, no faster than the caller takes the blocks.

        Closing the generator stops the decoding.
        """
        self._limits.check_bytes(len(data))
        if self._files == FILES_PER_PROCESS or self._process.poll() is not None:
            self._end()
            self._start()
        self._files += 1
        answered = False
        try:
            self._socket.sendall(REQUEST.pack(len(data), separate))
            self._socket.sendall(data)
            del data
            while True:
                head = _receive(self._socket, REPLY.size)
                is_block, rate, channels, position, size = REPLY.unpack(head)
                payload = _receive(self._socket, size)
                answered = not is_block or not size
                if answered:
                    break
                samples = np.frombuffer(payload, np.float32)
                yield Decoded(
                    samples.reshape(channels, -1) if separate else samples, rate, position
                )
        except OSError:
            raise AudioError(
                "damaged",
                f"the file cannot be decoded in {self._limits.max_cpu_seconds:g} s and "
                f"{self._limits.max_memory_bytes / 2**20:.0f} MB, as any intact recording can: "
                "convert it to WAV",
            ) from self._end()
        finally:
            if not answered:
                # Decoding failed, or the caller closed the generator: free the CPU at once.
                self._process.kill()
                self._end()
                self._start()
        if not is_block:
            reason, message = json.loads(payload)
            raise AudioError(reason, message)

    @property
    def process(self) -> Path:
        """The process's folder in /proc."""
        return Path(f"/proc/{self._process.pid}")

    def close(self) -> None:
        """Ends the process, which also ends by itself if its parent does."""
        self._end()

    def _start(self) -> None:
        self._files = 0
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(TIMEOUT_SECONDS)
        with theirs:
            arguments = [str(theirs.fileno()), json.dumps(asdict(self._limits))]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "audio.sandbox", *arguments],
                env=os.environ | ENVIRONMENT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def _end(self) -> WorkerDied:
        self._socket.close()
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return WorkerDied(signal.Signals(-code).name if code < 0 else f"exit code {code}")


def _receive(connection: socket.socket, size: int) -> bytearray:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise ConnectionResetError("the other process has closed the connection")
        view = view[count:]
    return received


def main() -> None:
    """Decodes files from the socket until the other process closes it."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    limits = Limits(**json.loads(sys.argv[2]))
    # Load now what is loaded on first use: afterwards no file can be opened.
    decode(_silence(), limits)
    in_use = _confine()
    while True:
        try:
            size, separate = REQUEST.unpack(_receive(connection, REQUEST.size))
        except ConnectionResetError:
            return
        memory = in_use + size + limits.max_memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY))
        # One call: joining the results of several would need twice the memory.
        data = connection.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            return
        signal.setitimer(signal.ITIMER_PROF, limits.max_cpu_seconds)
        try:
            for block in stream(data, limits, separate):
                if block.samples.size:
                    payload = block.samples.tobytes()
                    channels = len(block.samples) if separate else 1
                    head = REPLY.pack(
                        True, block.source_rate, channels, block.position, len(payload)
                    )
                    connection.sendall(head + payload)
            head, payload = REPLY.pack(True, 0, 0, 1.0, 0), b""
        except AudioError as error:
            payload = json.dumps([error.reason, str(error)]).encode()
            head = REPLY.pack(False, 0, 0, 1.0, len(payload))
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.sendall(head + payload)
        del data, payload


def _silence() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE // 2)
        writer.writeframes(bytes(SAMPLE_RATE))
    return file.getvalue()


def _confine() -> int:
    """Forbids files, sockets and core dumps; returns the number of bytes in use."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    return (int(resident) - int(shared)) * resource.getpagesize()


if __name__ == "__main__":
    main()

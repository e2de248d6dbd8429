"""Faults of a busy service: the supervisor must log each one, and clients must lose nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np

from benchmarks.launch import own_disk, wait_until
from benchmarks.service import Service
from emotion2vec_client import Client, Emotion2VecError, ServerUnavailableError
from tests.scenarios import rest
from tests.scenarios.busy import CLIP, CONCURRENCY, TIMEOUT, Busy, trouble_of
from tests.scenarios.leaks import SHM
from tests.scenarios.traffic import CLIPS, TOLERANCE, arrays_of, differs

PAUSE_SECONDS = 0.1
IN_FLIGHT = 20
SAMPLE_RATE, LONGEST = 16_000, 480_000
LENGTHS = (LONGEST, 20_000, LONGEST, 30_000, LONGEST, 16_000, 300_000, 100_000)
"""Samples of the clips that are sent while /dev/shm is full."""


@dataclass(frozen=True)
class Fault:
    """Something that happens to a part of a service.

    Attributes:
        part: The process: ``tritonserver``, ``gateway``, ``launcher``, or the name of a model.
        number: The signal that it gets.
        told: What the supervisor logs about the fault.
        back: What the service logs once it has recovered.
    """

    part: str
    number: signal.Signals
    told: str
    back: str = "Triton is running again"

    def strike(self, service: Service) -> None:
        """Sends the signal."""
        if self.part == "launcher":
            service.send(self.number)
        else:
            service.part(self.part).send_signal(self.number)


FAULTS = {
    "tritonserver killed": Fault(
        "tritonserver", signal.SIGKILL, "Triton ended unexpectedly (signal SIGKILL)"
    ),
    **{
        f"{model} stub {done}": Fault(model, number, f"the process of the model {model} {told}")
        for done, number, told in (
            ("killed", signal.SIGKILL, "has died"),
            ("stopped", signal.SIGSTOP, "is stopped"),
        )
        for model in ("preprocess", "encoder")
    },
    "gateway killed": Fault(
        "gateway",
        signal.SIGKILL,
        "the gateway ended unexpectedly (signal SIGKILL)",
        # The gateway logs this when it is ready.
        "in a browser",
    ),
    "new model loaded (SIGHUP)": Fault(
        "launcher", signal.SIGHUP, "reloading the model", "ready with the new model"
    ),
}


@dataclass(frozen=True)
class Seen:
    """What a fault did.

    Attributes:
        noticed: Seconds until the service reported it; None if there is nothing to report.
        back: Seconds until the service reported that it has recovered.
        answered: Clips that `predict_many` got answers for meanwhile.
        lost: What went wrong with the others, one sentence each.
        note: A remark for the table.
    """

    noticed: float | None
    back: float | None
    answered: int
    lost: list[str]
    note: str = ""


def ride_over(service: Service, fault: Fault) -> Seen:
    """Causes a fault in a busy service, and waits until the service reports that it recovered.

    Args:
        service: A ready service.
        fault: The fault to cause.
    """
    with Busy(service) as busy:
        began = service.clock()
        fault.strike(service)
        # Leave CPU time to the part that restarts.
        busy.pause = PAUSE_SECONDS
        told = service.wait_for(fault.told)
        back = service.wait_for(fault.back)
        # Cover the clips in flight at the fault and the ones sent after it.
        busy.wait_for_answers(2 * CONCURRENCY)
    return Seen(told.when - began, back.when - began, busy.answered, busy.lost)


def drain(repository: Path, folder: Path) -> Seen:
    """SIGTERM with clips in flight: all are answered without a retry, and later ones are refused.

    A long batching delay keeps all of them in the queue until the signal has been sent.
    """
    copy = copytree(repository, folder / "model_repository")
    config = copy / "encoder" / "config.pbtxt"
    text = config.read_text("utf-8").replace(
        "dynamic_batching {", "dynamic_batching { max_queue_delay_microseconds: 3000000"
    )
    config.write_text(text.replace("max_batch_size: 4", "max_batch_size: 64"), "utf-8")
    lost: list[str] = []
    answered = 0

    def send(client: Client) -> None:
        nonlocal answered
        try:
            found = arrays_of(client.predict(CLIP))
        except Emotion2VecError as error:
            lost.append(str(error))
            return
        if difference := differs(found, expected, tolerance):
            lost.append(difference)
        answered += 1

    with Service(copy) as service:
        service.wait_until_ready()
        with Client(service.grpc_url, retry_seconds=0, timeout=TIMEOUT) as client:
            expected = arrays_of(client.predict(CLIP))
            tolerance = TOLERANCE[client.model_info().precision]
            before = service.counter("nv_inference_request_success", "preprocess")
            senders = [threading.Thread(target=send, args=[client]) for _ in range(IN_FLIGHT)]
            for sender in senders:
                sender.start()
            wait_until(
                lambda: (
                    service.counter("nv_inference_request_success", "preprocess")
                    >= before + IN_FLIGHT
                ),
                "all are on their way",
            )
            began = service.clock()
            service.send(signal.SIGTERM)
            while _is_taken(client):
                pass
            code = service.wait()
            ended = service.clock() - began
            for sender in senders:
                sender.join()
    if code:
        lost.append(f"the exit code is {code}")
    return Seen(None, None, answered, lost, f"ended after {ended:.1f} s")


def _is_taken(client: Client) -> bool:
    """Whether the service accepts a clip and answers it."""
    try:
        client.predict(CLIP)
    except ServerUnavailableError:
        return False
    return True


def corrupt(repository: Path, folder: Path) -> Seen:
    """A start with a graph that cannot be read."""
    copy = copytree(repository, folder / "model_repository")
    (copy / "encoder" / "1" / "model.onnx").write_bytes(b"not a graph")
    with Service(copy) as service:
        code = service.wait()
    lost = [] if code == 1 else [f"the exit code is {code}"]
    lost += [
        f"it does not say {words!r}: {service.said}"
        for words in ("cannot load", "Triton ended while starting")
        if words not in service.said
    ]
    return Seen(None, None, 0, lost, "exit code 1, which says why")


def full_outputs(repository: Path, folder: Path) -> Seen:
    """No room for results: REST reports it, and Triton keeps working."""
    outputs = folder / "outputs"
    outputs.mkdir()
    with Service(repository, outputs=outputs, within=own_disk(outputs, 8)) as service:
        service.wait_until_ready()
        return results_without_room(service)


def results_without_room(service: Service) -> Seen:
    """The same for a ready service that writes its results to a disk of its own."""

    def status() -> int:
        return rest.status(service.rest, rest.upload(CLIPS[CLIP.name]))

    assert service.outputs is not None
    statuses = [status()]
    with Busy(service) as busy:
        service.fill(service.outputs)
        statuses.append(status())
        busy.wait_for_answers(CONCURRENCY)
        service.empty(service.outputs)
        statuses.append(status())
    lost = [] if statuses == [200, 507, 200] else [f"REST answered {statuses}"]
    note = "REST answers 200, 507 while full, then 200; Triton goes on"
    return Seen(None, None, busy.answered, [*busy.lost, *lost], note)


def full_shared_memory(repository: Path, folder: Path) -> Seen:
    """No room in /dev/shm: clips are still answered, in the memory reserved at the start."""
    with Service(repository, within=own_disk(SHM, 256)) as service:
        service.wait_until_ready()
        return answers_without_room(service)


def answers_without_room(service: Service) -> Seen:
    """The same for a ready service, with several clips at once, up to the longest."""
    with Client(service.grpc_url, retry_seconds=0, timeout=TIMEOUT) as client:
        samples = np.resize(client.decode(CLIPS["story.ogg"]).samples, LONGEST)
        clips = [(samples[:length], SAMPLE_RATE) for length in LENGTHS]
        wants: dict[str, Any] = {"granularity": "frame", "embedding": True}
        expected = [arrays_of(client.predict(clip, **wants)) for clip in clips]
        tolerance = TOLERANCE[client.model_info().precision]
        service.fill(SHM)
        outcomes = client.predict_many(clips * 2, concurrency=CONCURRENCY, **wants)
        lost = [
            trouble
            for outcome, wanted in zip(outcomes, expected * 2, strict=True)
            if (trouble := trouble_of(outcome, wanted, tolerance))
        ]
        service.empty(SHM)
    return Seen(None, None, 2 * len(clips) - len(lost), lost, "clips are answered as before")


OTHERS: dict[str, Callable[[Path, Path], Seen]] = {
    "told to end (SIGTERM)": drain,
    "corrupt model at the start": corrupt,
    "outputs/ full": full_outputs,
    "/dev/shm full": full_shared_memory,
}
"""Faults that need a service of their own, because they start or end it."""

"""Waits for a timeline's long call: asks how far it is, and cancels it when it is not wanted."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Callable, Optional

from emotion2vec_client.base import TimelineRequest
from emotion2vec_client.errors import Emotion2VecError, PredictionTimeoutError
from emotion2vec_client.grpc_transport import AsyncGrpcTransport, GrpcTransport
from emotion2vec_client.http_transport import AsyncHttpTransport, HttpTransport
from emotion2vec_client.protocol import Tensors

Progress = Optional[Callable[[float], Any]]

POLL_SECONDS = 0.5


def run(
    transport: GrpcTransport | HttpTransport, request: TimelineRequest, progress: Progress
) -> Tensors:
    """Makes the call in a thread, so that this one can ask for progress and be interrupted.

    Args:
        transport: Where to.
        request: What to ask.
        progress: Called with the share that is answered, which never falls, and with 1 at the end.
    """
    share = 0.0
    with ThreadPoolExecutor(1) as worker:
        answer = worker.submit(transport.infer, request.call)
        try:
            while not wait([answer], POLL_SECONDS).done:
                if progress is None:
                    continue
                # If the server has gone, the call itself says so.
                with suppress(Emotion2VecError):
                    share = max(share, _share(transport.infer(request.question("progress_of"))))
                progress(share)
            tensors = answer.result()
        except BaseException as error:
            # Over HTTP the server does not notice that the client is gone. An early Ctrl-C comes
            # while the recording is still being sent.
            late = isinstance(error, PredictionTimeoutError)
            while late or not answer.done():
                with suppress(Emotion2VecError):
                    transport.infer(request.question("cancel"))
                late = False
                wait([answer], POLL_SECONDS)
            raise
    if progress is not None:
        progress(1.0)
    return tensors


async def run_async(
    transport: AsyncGrpcTransport | AsyncHttpTransport,
    request: TimelineRequest,
    progress: Progress,
) -> Tensors:
    """As `run`, with asyncio."""
    share = 0.0
    answer = asyncio.ensure_future(transport.infer(request.call))
    try:
        while not (await asyncio.wait([answer], timeout=POLL_SECONDS))[0]:
            if progress is None:
                continue
            with suppress(Emotion2VecError):
                question = request.question("progress_of")
                share = max(share, _share(await transport.infer(question)))
            progress(share)
        tensors = answer.result()
    except BaseException as error:
        if isinstance(error, PredictionTimeoutError) or not answer.done():
            answer.cancel()
            with suppress(Emotion2VecError):
                await transport.infer(request.question("cancel"))
        raise
    if progress is not None:
        progress(1.0)
    return tensors


def _share(tensors: Tensors) -> float:
    return float(tensors["progress"][0, 0])

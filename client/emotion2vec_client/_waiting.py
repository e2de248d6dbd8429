"""Waits for a timeline: polls its progress, and cancels it if the caller gives up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Callable, Optional

from emotion2vec_client._grpc import AsyncGrpcTransport, GrpcTransport
from emotion2vec_client._http import AsyncHttpTransport, HttpTransport
from emotion2vec_client._protocol import Call, Tensors
from emotion2vec_client.errors import Emotion2VecError, PredictionTimeoutError

Progress = Optional[Callable[[float], Any]]

POLL_SECONDS = 0.5


def run(transport: GrpcTransport | HttpTransport, call: Call, progress: Progress) -> Tensors:
    """Sends the call from a thread, so that this one can poll progress and be interrupted.

    Args:
        transport: Connection to the server.
        call: The timeline's request, with an id.
        progress: Called with the finished share, which never decreases, and with 1 at the end.
    """
    share = 0.0
    with ThreadPoolExecutor(1) as worker:
        answer = worker.submit(transport.infer, call)
        try:
            while not wait([answer], POLL_SECONDS).done:
                if progress is None:
                    continue
                # If the server is down, the call itself fails too.
                with suppress(Emotion2VecError):
                    share = max(share, _share(transport.infer(call.about("progress_of"))))
                progress(share)
            tensors = answer.result()
        except BaseException as error:
            # Over HTTP the server does not notice that the client has disconnected. Cancel
            # repeatedly, as Ctrl-C may come before the server has received the recording.
            late = isinstance(error, PredictionTimeoutError)
            while late or not answer.done():
                with suppress(Emotion2VecError):
                    transport.infer(call.about("cancel"))
                late = False
                wait([answer], POLL_SECONDS)
            raise
    if progress is not None:
        progress(1.0)
    return tensors


async def run_async(
    transport: AsyncGrpcTransport | AsyncHttpTransport, call: Call, progress: Progress
) -> Tensors:
    """`run` with asyncio."""
    share = 0.0
    answer = asyncio.ensure_future(transport.infer(call))
    try:
        while not (await asyncio.wait([answer], timeout=POLL_SECONDS))[0]:
            if progress is None:
                continue
            with suppress(Emotion2VecError):
                share = max(share, _share(await transport.infer(call.about("progress_of"))))
            progress(share)
        tensors = answer.result()
    except BaseException as error:
        if isinstance(error, PredictionTimeoutError) or not answer.done():
            answer.cancel()
            with suppress(Emotion2VecError):
                await transport.infer(call.about("cancel"))
        raise
    if progress is not None:
        progress(1.0)
    return tensors


def _share(tensors: Tensors) -> float:
    return float(tensors["progress"][0, 0])

"""Keeps Triton and the gateway running: restarts what dies or hangs."""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable

from server.errors import ServerError
from server.health import Health
from server.process import Gateway, ended
from server.restarts import Restarts
from server.settings import Settings
from server.stop import Stop
from server.triton import Triton

log = logging.getLogger(__name__)

READY_SECONDS = 120
TICK_SECONDS = 0.5

MOST_RESTARTS, WITHIN_SECONDS = 5, 300.0
"""If a service fails more often than this, restarting it does not help."""


class Supervisor:
    """Runs the service until it is told to stop.

    Args:
        settings: How Triton is started.
        grace: Seconds that the gateway may take to end; None without a gateway.
        stop: Ends the service.
    """

    def __init__(self, settings: Settings, *, grace: float | None, stop: Stop) -> None:
        self._settings = settings
        self._stop = stop
        self._triton = Triton(settings)
        self._counts = Restarts()
        self._gateway = (
            None if grace is None else Gateway(settings.local_url, self._counts.file, grace)
        )
        self._health: Health | None = None
        self._reload = False
        self._restarts: deque[float] = deque()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serves until it is told to stop; SIGHUP reloads the model.

        Args:
            on_ready: Called once, when every model answers for the first time.

        Raises:
            ServerError: A part could not be started, or failed too often.
            StopRequested: It was told to stop; accepted requests are answered.
        """
        signal.signal(signal.SIGHUP, self._on_hangup)
        try:
            if self._gateway is not None:
                # The gateway and Triton start at the same time.
                self._gateway.start()
            self._start()
            self._stop.check()
            on_ready()
            while True:
                self._stop.check()
                self._tick()
        finally:
            # The gateway first: it still needs Triton to answer accepted requests.
            if self._gateway is not None:
                self._gateway.stop(self._stop)
            self._triton.stop(self._stop)
            self._counts.close()

    def _on_hangup(self, number: int, frame: object) -> None:
        self._reload = True

    def _start(self) -> None:
        if self._health is not None:
            self._health.close()
        self._triton.start()
        beside = {} if self._gateway is None else {"the gateway": self._gateway.process}
        self._triton.wait_until_ready(READY_SECONDS, beside, self._stop)
        self._health = Health(self._triton)

    def _tick(self) -> None:
        """Waits a moment, or until a process ends, and repairs what is wrong."""
        assert self._health is not None
        parts = {"Triton": self._triton.tritonserver}
        if self._gateway is not None:
            parts["the gateway"] = self._gateway.process
        _wait_for_end([*(part.pid for part in parts.values()), *self._health.stubs])
        for name, part in parts.items():
            if part.poll() is not None:
                self._heal(name, ended(name, part, "unexpectedly"))
                return
        if trouble := self._health.trouble():
            self._heal("Triton", ServerError(trouble))
        elif self._reload:
            self._reload = False
            log.info("reloading the model; accepted requests are answered first")
            self._triton.stop(self._stop)
            self._start()
            log.info("ready with the new model")

    def _heal(self, name: str, trouble: ServerError) -> None:
        began = time.monotonic()
        log.error("%s: restarting %s", trouble, name)
        while True:
            self._count_restart(name, trouble)
            try:
                if name == "Triton":
                    # Kill it: a Triton whose stub is gone takes long to end by itself.
                    self._triton.kill()
                    self._triton.stop()
                    self._start()
                elif self._gateway is not None:
                    self._gateway.stop(self._stop)
                    self._gateway.start()
                break
            except ServerError as error:
                trouble = error
                log.error("%s", error)
        if name == "Triton":
            log.info("Triton is running again after %.1f s", time.monotonic() - began)
        else:
            # The gateway reports itself when it is ready.
            log.info("restarted %s", name)

    def _count_restart(self, name: str, trouble: ServerError) -> None:
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > WITHIN_SECONDS:
            self._restarts.popleft()
        if len(self._restarts) == MOST_RESTARTS:
            raise ServerError(
                f"gave up after {len(self._restarts)} restarts within {WITHIN_SECONDS / 60:.0f} "
                f"minutes: {trouble}"
            )
        self._restarts.append(now)
        self._counts.add("triton" if name == "Triton" else "gateway")


def _wait_for_end(pids: list[int]) -> None:
    """Returns when one of the processes ends, or after a moment."""
    handles = []
    try:
        for pid in pids:
            try:
                handles.append(os.pidfd_open(pid))
            except ProcessLookupError:
                return
        select.select(handles, [], [], TICK_SECONDS)
    finally:
        for handle in handles:
            os.close(handle)

"""``python -m benchmarks.run``: measures the service under load, and writes a report.

It starts the service, unless an address is given. The exit code is 0 if the target is met, 1 if it
is missed, and 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import gevent

# Import it first: it patches the blocking calls of the standard library before anyone uses them.
import locust  # noqa: F401

from benchmarks import corpus, loads, machine, plan, plots, report
from benchmarks.launch import ROOT, LaunchError
from benchmarks.locustfile import GRPC_PORT, with_port
from benchmarks.measurement import Load, Request
from benchmarks.service import Service
from benchmarks.summary import latencies, percentile
from benchmarks.target import Target

RESULTS = ROOT / "benchmarks" / "results"


def main(options: argparse.Namespace) -> int:
    """Measures; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Exit in order, so that the service ends too. As an exception, the signal may strike while
        # gRPC holds a lock, and then this program never ends.
        gevent.signal_handler(number, gevent.kill, gevent.getcurrent(), SystemExit)
    now = datetime.now()
    folder = options.results / f"{now:%Y-%m-%d_%H%M%S}"
    folder.mkdir(parents=True)
    profile = (plan.QUICK if options.quick else plan.FULL).stretched(options.stretch)
    print("bench: preparing the clips and starting the service ...", flush=True)
    corpus.clips()
    try:
        with target_of(options, folder) as target:
            described, ready = machine.describe(target), target.memory()
            usage = machine.Usage(target)
            progress = Progress()
            results = plan.measure(
                lambda load: loads.run(load, target.hosts, target.statistics, progress),
                target.hosts,
                profile,
                options.clients,
            )
            context = report.Context(
                command=shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
                began=f"{now:%Y-%m-%d %H:%M}",
                target=options.target_p95,
                machine=described,
                by_others=usage.by_others() if ready else None,
                cold_start=target.cold_start,
                memory=(ready, target.memory()),
            )
    except LaunchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except SystemExit:
        print("\nbench: stopped without a report", file=sys.stderr)
        return 2
    report.write(results, context, plots.PLOTS, folder)
    plots.draw(results, options.target_p95, folder)
    print(f"bench: the report is in {folder / 'report.md'}")
    problems = report.verdict(results, options.target_p95)
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run for about two minutes")
    parser.add_argument(
        "--stretch", type=positive, default=1.0, help="factor for the length of every load"
    )
    parser.add_argument(
        "--clients", type=int, default=4, help="number of clients for the target (%(default)s)"
    )
    parser.add_argument(
        "--target-p95",
        type=positive,
        default=2.0,
        help="target for the p95 of clips up to 10 s, in seconds (%(default)s)",
    )
    parser.add_argument("--url", help="gRPC address of a running service; default: start one")
    parser.add_argument("--rest-url", help="address of its gateway, to measure REST as well")
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the reports")
    options = parser.parse_args()
    if options.clients < 1:
        parser.error(f"--clients is {options.clients}: give a whole number from 1")
    if options.rest_url and not options.url:
        parser.error("--rest-url needs a running service: give its --url as well")
    return options


def positive(text: str) -> float:
    """Parses a number above 0."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"is {text}: give a number above 0")
    return number


def target_of(options: argparse.Namespace, folder: Path) -> Target:
    """The service that the options name."""
    if not options.url:
        own = Service(options.model_repository.resolve(), outputs=folder / "outputs")
        return Target(own.hosts, own)
    hosts = {"gRPC": with_port(options.url, GRPC_PORT).partition("://")[2]}
    if options.rest_url:
        hosts["REST"] = options.rest_url
    return Target(hosts)


class Progress:
    """Shows progress in one line; without a terminal, prints one line per load."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._load: Load | None = None
        self._line = ""
        self._began = time.monotonic()

    def __call__(self, load: Load, requests: Sequence[Request], passed: float) -> None:
        if load is not self._load:
            self._end_line()
            self._load = load
        self._line = self._text(load, requests, passed)
        if self._live:
            print(f"\r\033[K{self._line}", end="", file=sys.stderr, flush=True)

    def _text(self, load: Load, requests: Sequence[Request], passed: float) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        waits = latencies(requests)
        p95 = percentile(waits, 0.95)
        parts = [
            f"{minutes:2d}:{seconds:02d}  {load.name}",
            f"{passed:.0f} s",
            f"{len(waits)} answers",
            f"p95 {p95:.2f} s" if p95 is not None else "",
            f"{len(requests) - len(waits)} errors" if len(requests) > len(waits) else "",
        ]
        return " · ".join(filter(None, parts))

    def _end_line(self) -> None:
        if self._load is not None:
            print("" if self._live else self._line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parsed = parse()
    # Under gevent, gRPC's channels can hang the interpreter's shutdown, even if they are closed.
    # Skip the shutdown, also after an unexpected error.
    atexit.register(os._exit, 2)
    code = main(parsed)
    sys.stdout.flush()
    os._exit(code)

"""Compares all precisions of a target on this machine: speed, errors, changed answers, memory.

``python -m export --ladder`` prints the table and puts it into the model card. The speeds are
measured in turns, each precision in a process of its own: ``python -m export.ladder FOLDER``.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import samples, verify
from export.batch import pack
from export.card import model_card
from export.checkpoint import Checkpoint
from export.contract import EMBEDDING
from export.errors import ExportError
from export.progress import say, step
from export.sides import Answer, Side, serve, timed
from export.targets import TARGETS, computes
from export.write import MODEL, configuration, write
from server.backends.onnxruntime.runtime import open_session

RUNGS = ("fp32", "bf16", "fp16", "int8")
"""From the most exact to the least."""

SECONDS = (3, 10, 30)
SETTLE, ROUNDS = 2, 7
RATE = 16_000
CONFIGURATION = "config.json"


@dataclass(frozen=True)
class Rung:
    """One precision.

    Attributes:
        precision: Its name.
        speed: How many times as fast as fp32, for a clip of 3, 10 and 30 s.
        scores: Largest difference of a score from FunASR's, over the clips of a second or more.
        embedding: Largest relative error (L2) of an embedding, over the same clips.
        flips: Recordings whose strongest emotion is another than FunASR's.
        clear_flips: Those among them in which FunASR's is ahead by more than 0.1.
        clips: Recordings compared.
        peak_megabytes: Most memory of the process that computed a clip of 30 s.
        megabytes: Size of the model's files.
        passes: Whether an export would install it.
    """

    precision: str
    speed: dict[str, float]
    scores: float
    embedding: float
    flips: int
    clear_flips: int
    clips: int
    peak_megabytes: float
    megabytes: float
    passes: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns the rung for the model card."""
        return asdict(self)


def precisions(target: str) -> list[str]:
    """The precisions of a target that this machine computes."""
    offered = TARGETS[target].precisions()
    return [name for name in RUNGS if (computes(name) if target == "cpu" else name in offered)]


def climb(
    checkpoint: Checkpoint,
    target: str,
    reference: verify.Answerer,
    clips: dict[str, np.ndarray],
    calibrate: Path | None,
) -> list[Rung]:
    """Writes, compares and times every precision.

    Args:
        checkpoint: The weights.
        target: One of ``TARGETS``.
        reference: FunASR.
        clips: float32 [n] each, 16 kHz, to compare.
        calibrate: Folder of recordings for int8; None for the project's samples.

    Raises:
        ExportError: A process that measures the speed ended.
    """
    compared: dict[str, list[verify.Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in precisions(target):
            place = Path(folder) / precision
            place.mkdir()
            card = model_card(checkpoint, target, precision)
            try:
                session = write(checkpoint, place, card, calibrate)
            except ExportError as error:
                say(f"{precision} is not on the ladder: {error}")
                continue
            text = json.dumps(configuration(card))
            with step(f"comparing {precision} with FunASR") as at:
                most = TARGETS[target].max_batch_size
                compared[precision] = verify.compare(session.run, reference, clips, most, at)
            # The process below must not share the machine with a second copy of the model.
            del session
            (place / CONFIGURATION).write_text(text, "utf-8")
        measured = _timed(Path(folder), list(compared))
        sizes = {name: _megabytes(Path(folder) / name) for name in compared}
    return [_rung(name, rows, measured, sizes[name]) for name, rows in compared.items()]


def table(rungs: Sequence[Rung]) -> str:
    """The ladder as Markdown."""
    lines = [
        "| precision | x fp32 at 3 / 10 / 30 s | scores off by | embedding | other emotion "
        "| of these clear | memory | files | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rung in rungs:
        speeds = " / ".join(f"{speed:.2f}" for speed in rung.speed.values())
        lines.append(
            f"| {rung.precision} | {speeds} | {rung.scores:.1e} | {rung.embedding:.1e} "
            f"| {rung.flips} of {rung.clips} | {rung.clear_flips} | {rung.peak_megabytes:,.0f} MB "
            f"| {rung.megabytes:,.0f} MB | {'passes' if rung.passes else 'TOO FAR'} |"
        )
    return "\n".join(lines)


def _rung(
    precision: str,
    rows: Sequence[verify.Row],
    measured: Mapping[str, Mapping[int, tuple[float, float]]],
    megabytes: float,
) -> Rung:
    full = [row for row in rows if row.samples >= verify.BRIEF] or rows
    own = [row for row in rows if not row.clip.startswith(samples.RANDOM)]
    flipped = [row for row in own if row.flipped]
    seconds = measured[precision]
    return Rung(
        precision=precision,
        speed={f"{n} s": measured["fp32"][n][0] / seconds[n][0] for n in SECONDS},
        scores=max(max(row.scores) for row in full),
        embedding=max(max(row.embedding) for row in full),
        flips=len(flipped),
        clear_flips=sum(row.margin > verify.CLEAR_MARGIN for row in flipped),
        clips=len(own),
        peak_megabytes=max(peak for _, peak in seconds.values()),
        megabytes=megabytes,
        passes=all(row.within(verify.TOLERANCES[precision]) for row in rows),
    )


def _timed(folder: Path, names: Sequence[str]) -> dict[str, dict[int, tuple[float, float]]]:
    """The median time of each length, and the most memory, by precision."""
    results: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in names}
    with contextlib.ExitStack() as stack, step("timing the precisions in turns") as at:
        sides = {
            name: stack.enter_context(Side("export.ladder", str(folder / name))) for name in names
        }
        for length in SECONDS:
            answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            for number in range(SETTLE + ROUNDS):
                at(f"{length} s, round {number + 1} of {SETTLE + ROUNDS}")
                for name, side in sides.items():
                    answers[name].append(side.ask(clips=[length * RATE]))
            for name, all_of_them in answers.items():
                # New lengths are slow at first.
                seconds = [each["seconds"] for each in all_of_them[SETTLE:]]
                peak = all_of_them[-1]["peak_megabytes"]
                results[name][length] = statistics.median(seconds), peak
    return results


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def _side(folder: Path) -> Answer:
    config = json.loads((folder / CONFIGURATION).read_text("utf-8"))
    plan = folder / TARGETS["tensorrt"].model_file
    if plan.exists():
        # Imported here, because TensorRT may not be installed.
        from export.plan import PlanSession

        run = PlanSession(plan).run
    else:
        run = open_session(folder / MODEL, config).run
    name = EMBEDDING.name
    return timed(lambda clips: run(pack(clips).inputs(), [name])[name])


if __name__ == "__main__":
    serve(lambda: _side(Path(sys.argv[1])))

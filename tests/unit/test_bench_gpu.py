"""What the report of a GPU says; benchmarks/gpu.py itself runs on a machine with one."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.gpu import REPORTS


def kernels(name: str) -> dict[str, Any]:
    work = {"busy": 0.004, "launches": 7, "kernels": [(name, 0.003, 5), ("copy", 0.001, 2)]}
    return {"10 s": work}


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("attention_kernel_batched_impl<float>", "attention is one kernel"),
        ("UnfusedSoftmaxKernel", "attention is NOT one kernel"),
    ],
)
def test_it_says_whether_attention_is_one_kernel(kernel: str, words: str) -> None:
    report = "\n".join(REPORTS["kernels"](kernels(kernel)))
    assert words in report
    assert "busy for 4.00 ms with 7 kernels" in report
    assert "75%" in report


def test_it_shows_an_answer_that_is_not_finite() -> None:
    batches = {
        "1": {"memory": 1779, "distance": 0.0},
        "29": {"memory": 47779, "distance": -1.0},
    }
    report = "\n".join(REPORTS["memory"]({"loaded": 1119, "batches": batches}))
    assert "1,779 MiB" in report
    assert report.count("NOT FINITE") == 1


def test_it_gives_the_speed_in_seconds_of_audio() -> None:
    times = {"8 x 10 s": {"first": 0.3, "median": 0.01, "audio": 80}}
    [line] = [line for line in REPORTS["times"](times)[0].splitlines() if "8 x" in line]
    assert "10.00 ms" in line
    assert "8,000" in line
    assert "300 ms" in line


def test_it_gives_what_triton_answered_under_a_load() -> None:
    load = {"clips": 526.0, "audio": 6222.0, "p50": 0.24, "p95": 0.333, "batch": 10.5, "busy": 1.76}
    report = "\n".join(REPORTS["service"]({"128 clients": load | {"distance": 2.8e-4}}))
    cells = [cell.strip() for cell in report.splitlines()[-1].strip("|").split("|")]
    assert cells == [
        "128 clients", "6,222", "526.0", "240 ms", "333 ms", "10.5", "176%", "2.8e-04"
    ]  # fmt: skip

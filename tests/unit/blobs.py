"""Embeddings with known groups, for the tests of the analyses."""

from __future__ import annotations

import numpy as np

DIM = 24
CARD = {"checkpoint": "iic/large", "sha256": "ab" * 32, "weights": "pretrained"}


def blobs(count: int = 3, each: int = 8, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Well-separated groups, float32 [count * each, DIM], and the group of each row."""
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(count), each)
    centres = 5.0 + 3.0 * random.normal(size=(count, DIM))
    noise = spread * random.normal(size=(len(truth), DIM))
    return (centres[truth] + noise).astype(np.float32), truth

"""What a person must know about weights that are not those of emotion2vec+."""

from __future__ import annotations

CAUTIONS = {
    "random": "RANDOM WEIGHTS: these scores mean nothing",
    "demonstration": "DEMONSTRATION MODEL: small, and only for a first try",
}
"""One clause for each kind of weights that needs one."""

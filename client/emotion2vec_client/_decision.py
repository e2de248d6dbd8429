"""Answers beside the nine scores: what a policy or your own heads make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

UNCERTAIN = "uncertain"
"""The answer of a policy if the strongest score is under its floor."""


@dataclass(frozen=True)
class Decision:
    """What a policy or a head answers.

    Attributes:
        label: The strongest label, or `UNCERTAIN`.
        confidence: Probability of the strongest label.
        scores: Probability of each label by name; read-only.
        names: The label in other languages, by language; from the policy.
    """

    label: str
    confidence: float
    scores: Mapping[str, float]
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, labels: Sequence[str], row: npt.NDArray[np.float64], floor: float = 0.0
    ) -> Decision:
        """Decides for the strongest of the probabilities, float64 [L]."""
        best = int(row.argmax())
        confidence = float(row[best])
        label = labels[best] if confidence >= floor else UNCERTAIN
        return cls(label, confidence, MappingProxyType(dict(zip(labels, row.tolist()))))

    def to_dict(self) -> dict[str, Any]:
        """The decision as plain JSON types."""
        return {
            "label": self.label,
            **({"names": dict(self.names)} if self.names else {}),
            "confidence": self.confidence,
            "scores": dict(self.scores),
        }


@dataclass(frozen=True)
class Decisions:
    """The decisions about one clip, segment or recording.

    Attributes:
        policy: Of the policy, None without one.
        heads: Of your own heads, by name.
    """

    policy: Decision | None = None
    heads: Mapping[str, Decision] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """``policy`` and ``heads`` as plain JSON types, each only if there is one."""
        result: dict[str, Any] = {}
        if self.policy is not None:
            result["policy"] = self.policy.to_dict()
        if self.heads:
            result["heads"] = {name: made.to_dict() for name, made in self.heads.items()}
        return result

    def named(self) -> dict[str, Decision]:
        """All decisions by name; that of the policy is called ``policy``."""
        return {**({} if self.policy is None else {"policy": self.policy}), **self.heads}

    def flat(self) -> dict[str, Any]:
        """The same for a row of a table: ``policy_label``, ``policy_negative`` and so on."""
        row: dict[str, Any] = {}
        for name, decision in self.named().items():
            row[f"{name}_label"] = decision.label
            row.update({f"{name}_{label}": score for label, score in decision.scores.items()})
        return row


UNDECIDED = Decisions()
"""Without a policy and heads."""

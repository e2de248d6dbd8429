"""What judges each answer of a client: a policy, and your own heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from emotion2vec_client._decision import Decision, Decisions
from emotion2vec_client.analysis.errors import AnalysisError

if TYPE_CHECKING:
    from emotion2vec_client._result import FloatArray, ModelInfo
    from emotion2vec_client.analysis.head import Head
    from emotion2vec_client.analysis.policy import Policy


@dataclass(frozen=True)
class Judges:
    """Judges answers.

    Attributes:
        policy: Judges the nine scores.
        heads: Judge the embedding, by name.
    """

    policy: Policy | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "policy" in self.heads:
            raise AnalysisError("a head cannot be called 'policy': give it another name")

    def check(self, info: ModelInfo) -> None:
        """Refuses a model whose embeddings a head cannot use.

        Raises:
            AnalysisError: The message names the head.
        """
        for name, head in self.heads.items():
            try:
                head.check_card(info.card)
            except AnalysisError as error:
                raise AnalysisError(f"head {name}: {error}") from error

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of the policy, by the name ``policy``, and of each head."""
        labels = {} if self.policy is None else {"policy": self.policy.labels}
        return {**labels, **{name: head.labels for name, head in self.heads.items()}}

    def decide(self, scores: Mapping[str, float], embedding: FloatArray | None) -> Decisions:
        """Judges an answer; the embedding, float32 [D], is needed if there are heads."""
        heads = {}
        for name, head in self.heads.items():
            [row] = head.predict(np.array([embedding], dtype=np.float32))
            heads[name] = Decision.of(head.labels, row)
        return Decisions(self._by_policy(scores), heads)

    def sum_up(
        self,
        scores: Mapping[str, float],
        parts: Sequence[Decisions],
        weights: npt.NDArray[np.float64],
    ) -> Decisions:
        """Judges a recording by its segments.

        Args:
            scores: The recording's nine scores, which the policy judges.
            parts: Decisions about the n segments; the heads' scores are averaged.
            weights: Weight of each segment, float64 [n].
        """
        heads = {}
        for name, head in self.heads.items():
            rows = [[part.heads[name].scores[label] for label in head.labels] for part in parts]
            heads[name] = Decision.of(head.labels, np.average(rows, axis=0, weights=weights))
        return Decisions(self._by_policy(scores), heads)

    def _by_policy(self, scores: Mapping[str, float]) -> Decision | None:
        return None if self.policy is None else self.policy.decide(scores)


NOBODY = Judges()


def columns(labels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names of the columns that `Decisions.flat` fills, for `Judges.labels`."""
    return [f"{name}_{label}" for name in labels for label in ("label", *labels[name])]

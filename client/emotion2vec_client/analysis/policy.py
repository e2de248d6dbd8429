"""A label policy: what you make of the nine scores. Needs only NumPy."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion2vec_client._decision import UNCERTAIN, Decision
from emotion2vec_client.analysis.arrays import DoubleArray
from emotion2vec_client.analysis.errors import AnalysisError
from emotion2vec_client.labels import LABELS

FORMAT = "emotion2vec-policy"
VERSION = 1
NINE = tuple(label.name for label in LABELS)
LEAST = 1e-12
"""Scores below count as this, because a score of 0 has no logarithm."""


@dataclass(frozen=True)
class Policy:
    """Calibrates the nine scores, bans and merges labels, and sets a floor, in this order.

    Attributes:
        temperature: Divides the logarithms of the scores: above 1, answers become less sure.
        bias: Added to the logarithm of a label's score, by label; 0 where missing.
        ban: Labels that are never answered; the others' probabilities are scaled to sum to 1.
        merge: Labels that become one, by the new label's name.
        floor: If the strongest score is smaller, the answer is `UNCERTAIN`.
        names: Names of labels in other languages: ``{"zh": {"negative": "负面"}}``.
        validation: Figures of the calibration as plain JSON types; empty without one.

    Raises:
        AnalysisError: A label is unknown or has two fates, or a number is out of range.

    Example:
        >>> policy = Policy(ban=("unknown",), merge={"negative": ("angry", "disgusted")})
        >>> policy.labels
        ('negative', 'fearful', 'happy', 'neutral', 'other', 'sad', 'surprised')
    """

    temperature: float = 1.0
    bias: Mapping[str, float] = field(default_factory=dict)
    ban: tuple[str, ...] = ()
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    floor: float = 0.0
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not (_is_number(self.temperature) and 0 < self.temperature < math.inf):
            raise AnalysisError(
                f"the policy's temperature is {self.temperature!r}: give a number above 0"
            )
        if not (_is_number(self.floor) and 0 <= self.floor < 1):
            raise AnalysisError(
                f"the policy's floor is {self.floor!r}: give a number from 0 to below 1"
            )
        for name, value in self.bias.items():
            if not (_is_number(value) and math.isfinite(value)):
                raise AnalysisError(f"the policy's bias of {name!r} is {value!r}: give a number")
        merged = [name for parts in self.merge.values() for name in parts]
        _check_known("bias", self.bias)
        _check_known("ban", self.ban)
        _check_known("merge", merged)
        twice = {name for name in merged if merged.count(name) > 1 or name in self.ban}
        if twice:
            raise AnalysisError(
                f"the policy bans or merges {', '.join(sorted(twice))} more than once: "
                "decide on one"
            )
        for name, parts in self.merge.items():
            if not parts:
                raise AnalysisError(f"the policy merges nothing into {name!r}: name its labels")
            if name == UNCERTAIN or (name in NINE and name not in parts):
                raise AnalysisError(
                    f"the policy merges {', '.join(parts)} into {name!r}, which has a meaning of "
                    "its own: use another name"
                )
        labels = self.labels
        if len(labels) < 2:
            raise AnalysisError(
                f"the policy leaves the labels {', '.join(labels) or 'none'}: it needs two or more"
            )
        for language, names in self.names.items():
            wrong = [name for name, new in names.items() if not isinstance(new, str)]
            if wrong:
                raise AnalysisError(
                    f"the policy's name of {wrong[0]!r} in {language!r} is {names[wrong[0]]!r}: "
                    "give a text"
                )
            unknown = [name for name in names if name not in (*labels, UNCERTAIN)]
            if unknown:
                raise AnalysisError(
                    f"the policy names {unknown[0]!r} in {language!r}, which is none of its "
                    f"labels: use {', '.join(labels)} or {UNCERTAIN}"
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it can answer, in the order of the nine; merged ones where they begin."""
        labels = (self.of(name) for name in NINE if name not in self.ban)
        return tuple(dict.fromkeys(labels))

    def of(self, label: str) -> str:
        """What becomes of a label: the one it is merged into, or itself."""
        for new, parts in self.merge.items():
            if label in parts:
                return new
        return label

    def predict(self, scores: npt.ArrayLike) -> DoubleArray:
        """Probabilities of the policy's labels.

        Args:
            scores: The nine, [n, 9], in the order of ``LABELS``; each row sums to 1.

        Returns:
            float64 [n, L]; each row sums to 1.

        Raises:
            AnalysisError: The scores have another shape.
        """
        matrix = np.asarray(scores, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != len(NINE):
            raise AnalysisError(
                f"the scores have shape {list(matrix.shape)}: give nine per row, [n, 9]"
            )
        bias = np.array([self.bias.get(name, 0.0) for name in NINE])
        logits = np.log(np.maximum(matrix, LEAST)) / self.temperature + bias
        logits[:, [NINE.index(name) for name in self.ban]] = -np.inf
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        labels = self.labels
        into = np.zeros((len(NINE), len(labels)))
        for row, name in enumerate(NINE):
            if name not in self.ban:
                into[row, labels.index(self.of(name))] = 1
        return np.asarray(powers @ into, dtype=np.float64)

    def decide(self, scores: Mapping[str, float]) -> Decision:
        """The policy's answer, for nine scores by name."""
        [row] = self.predict([[scores[name] for name in NINE]])
        made = Decision.of(self.labels, row, self.floor)
        names = {
            language: names[made.label]
            for language, names in self.names.items()
            if made.label in names
        }
        return replace(made, names=names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the policy as JSON, which can be read and edited.

        Raises:
            OSError: The file cannot be written.
        """
        text = json.dumps(self.content(), ensure_ascii=False, indent=2)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """The policy as plain JSON types."""
        return {
            "temperature": self.temperature,
            "bias": dict(self.bias),
            "ban": list(self.ban),
            "merge": {name: list(parts) for name, parts in self.merge.items()},
            "floor": self.floor,
            "names": {language: dict(names) for language, names in self.names.items()},
            "validation": dict(self.validation),
        }

    def content(self) -> dict[str, Any]:
        """The JSON of a policy's file, which ``read`` reads."""
        return {"format": FORMAT, "version": VERSION, **self.to_dict()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Reads a policy that ``save`` or a person wrote; what is missing has no effect.

        Raises:
            AnalysisError: The file is not a policy; the message says what is wrong in it.
            OSError: The file cannot be read.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise AnalysisError(f"{path} is not JSON: {error}") from error
        return cls.read(content, str(path))

    @classmethod
    def read(cls, content: object, source: str) -> Policy:
        """Reads the JSON of a policy; what is missing has no effect.

        Args:
            content: What JSON decodes to.
            source: Where it comes from, for errors.

        Raises:
            AnalysisError: It is not a policy; the message says what is wrong in it.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise AnalysisError(
                f"{source} is not a policy: begin it with "
                f'{{"format": "{FORMAT}", "version": {VERSION}'
            )
        if content.get("version") != VERSION:
            raise AnalysisError(
                f"{source} has version {content.get('version')!r} of the format, but this program "
                f"reads {VERSION}"
            )
        known = cls().to_dict()
        given = {key: content[key] for key in content if key not in ("format", "version")}
        for key, value in given.items():
            if key not in known:
                raise AnalysisError(f"{source} has {key!r}: a policy knows {', '.join(known)}")
            # A number may be written without a decimal point.
            kinds = (int, float) if isinstance(known[key], float) else type(known[key])
            if not isinstance(value, kinds):
                raise AnalysisError(
                    f"{source}: {key} is {value!r}, but has the form {known[key]!r} by default"
                )
        try:
            given["ban"] = tuple(given.get("ban", ()))
            given["merge"] = {name: tuple(parts) for name, parts in given.get("merge", {}).items()}
            return cls(**given)
        except (AnalysisError, TypeError, AttributeError) as error:
            raise AnalysisError(f"{source}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_known(where: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in NINE:
            raise AnalysisError(
                f"the policy's {where} has {name!r}: the nine labels are {', '.join(NINE)}"
            )

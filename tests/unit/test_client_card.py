"""The model card that clients cache: a server may load another model while they run."""

from __future__ import annotations

import itertools
import json

import pytest

from emotion2vec_client import Client, _base


def test_another_model_is_seen_though_no_request_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("checkpoint", "revision", "weights", "precision", "target", "labels")
    cards = (json.dumps(dict.fromkeys(names, f"model {n}")) for n in itertools.count(1))
    with Client("localhost:1") as client:
        monkeypatch.setattr(client._transport, "card", lambda timeout: next(cards))
        assert client.model_info().checkpoint == "model 1"
        assert client.model_info().checkpoint == "model 1"
        monkeypatch.setattr(_base, "CARD_SECONDS", 0.0)
        assert client.model_info().checkpoint == "model 2"

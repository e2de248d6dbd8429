"""The command ``emotion2vec info``."""

import json
from typing import Any

from emotion2vec_client._protocol import MODELS
from emotion2vec_client.cli.common import JsonOption
from emotion2vec_client.cli.connection import Connection, connects, warn_of_weights
from emotion2vec_client.labels import LABELS


@connects
def info(json_: JsonOption = False, *, connection: Connection) -> None:
    """Show which model a server runs.

    Example: emotion2vec info --url server:8001
    """
    with connection.open() as client:
        model = client.model_info()
        server = client.url
        warn_of_weights(client)
    facts: dict[str, Any] = {
        "server": server,
        "model": MODELS["utterance"],
        "weights": model.weights,
        "published": model.published,
        "license": None if model.license is None else " ".join(model.license),
        "checkpoint": model.checkpoint,
        "revision": model.revision,
        "precision": model.precision,
        "target": model.target,
        "labels": list(model.labels),
    }
    if json_:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    if not model.published:
        differs = "; ".join(model.card.get("differs", []))
        facts["published"] = f"no: {differs}" if differs else "not known"
    else:
        facts["published"] = "yes, with the known size and SHA-256"
    faces = {label.name: label.emoji for label in LABELS}
    facts["labels"] = "  ".join(f"{faces.get(name, '')} {name}".strip() for name in model.labels)
    for name, value in facts.items():
        print(f"{name:<11} {'–' if value is None else value}")

"""A model store: a copy of the exported model repository that states its own SHA-256 sums.

``make REPOSITORY STORE`` writes the store and prints its digest, which stands for all of it.
``check STORE DIGEST`` refuses a store of another digest, and any file that is not as it was made.
Both need nothing but Python (3.9 or newer), because the check runs in the service's container.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

SUMS = "SHA256SUMS"
"""The list, in the format of sha256sum: `sha256sum -c SHA256SUMS` reads it as well."""

NOT_SERVED = ("__pycache__", SUMS)

CARD = re.compile(r'key: "model_card".*?string_value: ("(?:[^"\\]|\\.)*")')
"""The model card in the encoder's configuration: JSON, quoted by protobuf's text format."""

NOT_FOR_USE = {
    "random": "random weights, whose scores mean nothing",
    "demonstration": "the demonstration model, which is often wrong",
}

BLOCK = 2**20
"""Bytes that are read at a time."""


class StoreError(Exception):
    """A store cannot be made, or is not what was made; the message is one sentence."""


def make(repository: Path, store: Path, any_weights: bool = False) -> str:
    """Copies a model repository into a new folder, with the sums of its files.

    Args:
        repository: The folder of models, exported.
        store: The folder to write; it must not exist, or be empty.
        any_weights: Whether the weights may be random, or those of the demonstration model.

    Returns:
        The digest of the store: 64 hexadecimal digits.

    Raises:
        StoreError: There is no exported model, its weights are not for use, or the store has files
            already.
    """
    weights = model_card(repository)["weights"]
    if weights in NOT_FOR_USE and not any_weights:
        raise StoreError(
            f"{repository} has {NOT_FOR_USE[weights]}: export a checkpoint with `make export`, or "
            "allow it with --any-weights"
        )
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise StoreError(f"{store} exists already: remove it, or name another folder")
    # Not the bytecode: the service would run it in the place of the source that was checked.
    shutil.copytree(
        repository, store, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_SERVED)
    )
    lines = (f"{_sum(store / name)}  {name}\n" for name in _names(store))
    (store / SUMS).write_text("".join(lines), encoding="utf-8")
    return _sum(store / SUMS)


def model_card(repository: Path) -> dict[str, Any]:
    """The model card of an exported model.

    Raises:
        StoreError: There is no exported model.
    """
    config = repository / "encoder" / "config.pbtxt"
    if not config.is_file():
        raise StoreError(f"{repository} holds no exported model: run `make export`")
    card = CARD.search(config.read_text(encoding="utf-8"))
    if card is None:
        raise StoreError(f"{config} has no model card: export the model again with `make export`")
    return dict(json.loads(json.loads(card[1])))


def check(store: Path, digest: str) -> int:
    """Compares a store with its sums, and the sums with its digest.

    Args:
        store: The folder of the store.
        digest: What `make` returned.

    Returns:
        The number of files.

    Raises:
        StoreError: Something is missing, was changed or was added.
    """
    if not (store / SUMS).is_file():
        raise StoreError(
            f"{store} has no {SUMS}: make the store with deploy/model_store.py, and see that it "
            "was uploaded to this place"
        )
    if (found := _sum(store / SUMS)) != digest:
        raise StoreError(
            f"{store} has the digest {found}, and {digest} is expected: it is another store, or "
            "was changed"
        )
    lines = (store / SUMS).read_text(encoding="utf-8").splitlines()
    expected = {name: sum_ for sum_, name in (line.split("  ", 1) for line in lines)}
    found_names = set(_names(store))
    if missing := sorted(expected.keys() - found_names):
        raise StoreError(f"{store} lacks {missing[0]}: upload the store again")
    if added := sorted(found_names - expected.keys()):
        raise StoreError(f"{store} has {added[0]}, which is not in {SUMS}: remove it")
    for name, sum_ in expected.items():
        if _sum(store / name) != sum_:
            raise StoreError(f"{store / name} was changed: upload the store again")
    return len(expected)


def _names(folder: Path) -> list[str]:
    """The files of a folder, except for the sums, as relative paths.

    Raises:
        StoreError: There is a link, which could lead to a file that nobody checked.
    """
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_symlink():
            raise StoreError(f"{path} is a link: replace it with the file")
    return [
        name
        for path in paths
        if not path.is_dir() and (name := path.relative_to(folder).as_posix()) != SUMS
    ]


def _sum(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="model_store.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write a store, and print its digest")
    making.add_argument("repository", type=Path)
    making.add_argument("store", type=Path)
    making.add_argument(
        "--any-weights", action="store_true", help="also random ones and the demonstration model"
    )
    checking = commands.add_parser("check", help="compare a store with its digest")
    checking.add_argument("store", type=Path)
    checking.add_argument("digest")
    options = parser.parse_args()
    try:
        if options.command == "make":
            digest = make(options.repository, options.store, options.any_weights)
            card = model_card(options.store)
            print(
                f"model store: {card['weights']} weights of {card['checkpoint']}, for "
                f"{card['target']} in {card['precision']}",
                file=sys.stderr,
            )
            print(digest)
        else:
            count = check(options.store, options.digest)
            print(f"model store: {count} files are as they were made", file=sys.stderr)
    except (StoreError, OSError) as error:
        print(f"model store: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

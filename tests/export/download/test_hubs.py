"""Which hub a checkpoint comes from, and the errors of hubs that do not have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.published import LARGE
from tests.conftest import free_ports
from tests.export.download.checkpoint import BASE, HUBS, SEED, TITLES, same
from tests.export.download.fetching import Home
from tests.hubs import Fault, LoopbackHub


@pytest.mark.parametrize("key", HUBS)
def test_the_published_checkpoint_is_downloaded_once(
    key: str, hub: LoopbackHub, home: Home, folder: Path
) -> None:
    first = home.fetch(hub=key, published=folder)
    assert same(first.folder, folder)
    assert "fetching what is missing of 13 MB into" in first.printed
    assert not (first.folder / "README.md").exists()
    assert first.answer["name"] == LARGE.names[key]
    assert f"{TITLES[key]} answered first" in first.printed
    assert LARGE.revisions[key] in first.printed
    hub.requests.clear()
    # It also works without --hub, and without any hub.
    again = home.fetch(published=folder)
    assert again.folder == first.folder
    assert "whole and as published" in again.printed
    assert not hub.requests


def test_the_first_hub_that_answers_is_taken_and_the_line_says_why(
    hub: LoopbackHub, home: Home
) -> None:
    hub.faults = [
        Fault("/api/v1/models/iic/emotion2vec_plus_large", silent=True),
        Fault("/api/models/emotion2vec/emotion2vec_plus_base", status=503),
        Fault("/api/models/emotion2vec/emotion2vec_plus_seed", status=403),
    ]
    silent, broken, refused = home.fetch_each(
        {}, {"name": BASE["huggingface"]}, {"name": SEED["huggingface"]}
    )
    assert silent.answer["name"] == LARGE.names["huggingface"]
    assert "asking ModelScope and Hugging Face" in silent.printed
    assert "Hugging Face answered first, after " in silent.printed
    assert broken.answer["name"] == BASE["modelscope"]
    assert refused.answer["name"] == SEED["modelscope"]
    assert "ModelScope answered first" in refused.printed


def test_a_hub_that_refuses_is_an_error_and_not_unreachable(hub: LoopbackHub, home: Home) -> None:
    sentences = {401: "log in", 403: "log in", 404: "has no", 503: "cannot answer now"}
    hub.faults = [Fault(f"someone/gives-{status}", status=status) for status in sentences]
    calls = [(key, status) for key in HUBS for status in sentences]
    answers = home.fetch_each(
        *({"hub": key, "name": f"someone/gives-{status}"} for key, status in calls)
    )
    for (key, status), answer in zip(calls, answers, strict=True):
        assert answer.answer["kind"] == "ExportError"
        assert TITLES[key] in answer.error
        assert sentences[status] in answer.error
        assert f"HTTP {status}" in answer.error
        assert "--checkpoint" in answer.error


def test_an_unknown_revision_is_reported(home: Home) -> None:
    answers = home.fetch_each(*({"hub": key, "revision": "cd" * 20} for key in HUBS))
    for key, answer in zip(HUBS, answers, strict=True):
        assert answer.answer["kind"] == "ExportError"
        assert f"{TITLES[key]} has no " in answer.error
        assert "--revision" in answer.error


def test_without_any_hub_it_is_unreachable(home: Home) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    home.environment |= {"HF_ENDPOINT": nowhere, "MODELSCOPE_ENDPOINT": nowhere}
    answer = home.fetch()
    assert answer.answer["kind"] == "HubUnreachableError"
    for title in TITLES.values():
        assert f"{title} does not answer (Connection refused)" in answer.error


def test_a_hub_that_never_answers_has_a_time_limit(hub: LoopbackHub, home: Home) -> None:
    hub.faults = [Fault(silent=True)]
    answer = home.fetch(answer_seconds=1)
    assert answer.answer["kind"] == "HubUnreachableError"
    assert "ModelScope has not answered within 1 s" in answer.error


def test_a_server_that_is_not_a_hub_does_not_count_as_one(tmp_path: Path) -> None:
    """A hotel's login page, for example, answers 200 to everything."""
    with LoopbackHub({}) as portal:
        portal.answer = lambda address: (200, b"<html>Please log in</html>", {})  # type: ignore[method-assign]
        answer = Home(tmp_path, dict(portal.environment)).fetch()
    assert answer.answer["kind"] == "HubUnreachableError"


def test_a_proxys_refusal_is_no_answer_of_a_hub(home: Home) -> None:
    home.environment |= {
        "HTTP_PROXY": f"http://127.0.0.1:{free_ports(1)[0]}",
        "NO_PROXY": "",
        "no_proxy": "",
    }
    assert home.fetch().answer["kind"] == "HubUnreachableError"

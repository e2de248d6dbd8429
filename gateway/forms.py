"""The forms of the REST endpoint, and the errors for bad ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_origin

from fastapi import Form, Request
from fastapi.exceptions import RequestValidationError

from emotion2vec_client import check_timeline_options
from gateway.outputs import Store
from gateway.problems import Problem, nothing_kept

Embedding = Literal["none", "file", "inline"]
ExtractEmbedding = Annotated[bool | None, Form(description="true: the same as embedding=file")]

FORM = "multipart/form-data"

EXPECTED = {
    "granularity": "use 'utterance' or 'frame'",
    "embedding": "use 'none', 'file' or 'inline'",
    "extract_embedding": "use 'true' or 'false'",
    "segmentation": "use 'vad' or 'fixed'",
    "channels": "use 'mixed' or 'separate'",
    "speakers": "use 'auto' or a number",
    "names": "send each name as a field of its own",
    "wait": "use 0 to 60 seconds",
    **dict.fromkeys(("min_segment", "max_segment", "window", "hop"), "use a number of seconds"),
}
"""What to use instead, for each option."""


async def only_known_fields(request: Request) -> None:
    """Refuses a form with an unknown or a repeated field.

    Otherwise a misspelt option would be ignored.
    """
    known = {
        field.alias: get_origin(field.field_info.annotation) is list
        for field in request.scope["route"].dependant.body_params
    }
    form = await request.form()
    if "audio" not in form:
        return  # FastAPI reports the missing file.
    for name in form:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
            raise Problem(422, "bad_option", f"{name!r} is not a field of this form: {hint}")
        times = len(form.getlist(name))
        if times > 1 and not known[name]:
            raise Problem(422, "bad_option", f"{name!r} is given {times} times: send it once")


def choose_embedding(
    embedding: Embedding | None, extract_embedding: bool | None, store: Store
) -> Embedding:
    """Where to put the embedding, according to the two fields for it.

    Args:
        embedding: The field of that name; None if it is not given.
        extract_embedding: The older field; true means ``file``.
        store: Says whether files are kept.

    Raises:
        Problem: The two contradict each other, or no files are kept.
    """
    chosen = embedding or ("file" if extract_embedding else "none")
    if extract_embedding is not None and extract_embedding != (chosen == "file"):
        raise Problem(
            422,
            "bad_option",
            f"extract_embedding={str(extract_embedding).lower()} and embedding={chosen} contradict "
            "each other: leave one of the two out",
        )
    if chosen == "file" and not store.keeps:
        raise nothing_kept()
    return chosen


def is_form(request: Request) -> bool:
    """Whether a request is a form with files, according to its headers."""
    return request.headers.get("content-type", "").lower().startswith(FORM)


def missing_file() -> Problem:
    """For a request that is not a form with a file."""
    return Problem(
        400,
        "missing_file",
        f"the request has no file: send {FORM} with the recording in the field 'audio', as "
        "'curl -F audio=@happy.wav' does",
    )


def check_options(options: Mapping[str, Any]) -> None:
    """Raises Problem for options of a timeline that do not fit together.

    Args:
        options: Arguments of `check_timeline_options`.
    """
    try:
        check_timeline_options(**options)
    except ValueError as error:
        raise Problem(422, "bad_option", str(error)) from error


def problem_of_validation(error: RequestValidationError) -> Problem:
    """The problem for an error that FastAPI finds in a form."""
    first = error.errors()[0]
    # ("body", "wait"), and then the type that was tried, or the place in a list.
    field = str([*first["loc"], ""][1])
    if field not in EXPECTED:
        return missing_file()
    return Problem(422, "bad_option", f"{field} is {first['input']!r}: {EXPECTED[field]}")

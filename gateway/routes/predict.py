"""The endpoint for clips."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile

from emotion2vec_client import MODELS, Granularity
from gateway.answers import response_with, unless_gone
from gateway.forms import Embedding, ExtractEmbedding, choose_embedding, only_known_fields
from gateway.handlers import documented
from gateway.problems import Problem
from gateway.recognition import Recogniser
from gateway.schema import Result, Results
from gateway.settings import Settings
from gateway.several import recognise_each

router = APIRouter(tags=["recognition"])


@router.post("/api/predict", include_in_schema=False, dependencies=[Depends(only_known_fields)])
@router.post(
    "/api/predict/",
    dependencies=[Depends(only_known_fields)],
    response_model=Result | Results,
    responses=documented(400, 401, 413, 415, 422, 429, 502, 503, 504, 507),
    summary="Recognise the emotion of one recording, or of several",
)
async def predict(
    request: Request,
    audio: Annotated[
        list[UploadFile],
        File(
            description="WAV, MP3, M4A, FLAC or OGG; up to 30 s and 10 MB; if you send "
            "several, each gets its own answer in `results`"
        ),
    ],
    granularity: Annotated[
        Granularity, Form(description="one result for the whole clip, or also one for each 20 ms")
    ] = "utterance",
    embedding: Annotated[
        Embedding | None,
        Form(
            description="none (the default); file: save embedding.npy, [1024] or [T, 1024]; "
            "inline: the same numbers in the answer"
        ),
    ] = None,
    extract_embedding: ExtractEmbedding = None,
) -> Response:
    """Returns nine scores, and saves the result with the audio that the model heard.

    Only the file is required. Its format is detected from its content, not from its name.
    """
    recogniser: Recogniser = request.app.state.recogniser
    settings: Settings = request.app.state.settings
    observed = request.state.observed
    observed.model = MODELS[granularity]
    wanted = choose_embedding(embedding, extract_embedding, recogniser.store)
    if len(audio) > settings.max_files:
        raise Problem(
            422,
            "too_many_files",
            f"the request has {len(audio)} files, and one request may have {settings.max_files} "
            "(E2V_MAX_FILES): send them in several requests",
        )

    async def recognise(file: UploadFile) -> Result:
        # One byte over the limit is enough to refuse the file.
        data = await file.read(settings.max_upload_bytes + 1)
        result = await recogniser.recognise(
            data,
            file.filename or "audio",
            granularity,
            wanted == "file",
            inline=wanted == "inline",
        )
        observed.seconds += result["duration"]
        return result

    work = recognise(audio[0]) if len(audio) == 1 else recognise_each(audio, recognise, observed)
    return response_with(await unless_gone(request, work))

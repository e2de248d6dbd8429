"""The Gradio page in one language, and its event handlers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from emotion2vec_client import MODELS, Emotion2VecError, Granularity
from gateway.metrics import Metrics
from gateway.page import render
from gateway.page.text import Text
from gateway.problems import Problem
from gateway.recognition import Recogniser
from gateway.schema import Result
from gateway.settings import Settings

HISTORY = 10
TICK_SECONDS = 0.25

UPLOADS_KEPT = (600, 3600)
"""How often the page's uploads are checked, and how old they may get; in seconds."""

UPLOADS_NOT_KEPT = (60, 300)
"""The same if audio is not kept: long enough to play it, and to try the other granularity."""

log = logging.getLogger(__name__)

Update = Any

SKIPPED = (gr.skip(),) * 4
"""Leaves four outputs unchanged: history, its list, banner and foot."""


_ENABLED_WITH_A_CLIP = "(clip) => ({__type__: 'update', interactive: clip !== null})"
_DISABLED = "() => ({__type__: 'update', interactive: false})"


def build(
    text: Text,
    recogniser: Recogniser,
    metrics: Metrics,
    settings: Settings,
    examples: Sequence[Path],
) -> gr.Blocks:
    """Builds the page.

    Args:
        text: Its language.
        recogniser: Shared with the REST endpoint.
        metrics: Shared as well.
        settings: Has the limits that the page shows.
        examples: Recordings to try.
    """
    handlers = _Handlers(text, recogniser, metrics, settings)
    kept = settings.keep_results > 0
    with gr.Blocks(
        title=text.title,
        analytics_enabled=False,
        delete_cache=UPLOADS_KEPT if kept and settings.keep_audio else UPLOADS_NOT_KEPT,
    ) as blocks:
        # Folders of results, newest first; both languages of the page share it.
        history = gr.BrowserState([], storage_key="e2v-history", secret="e2v-history")
        gr.HTML(render.header(text))
        banner = gr.HTML()
        with gr.Tabs():
            with gr.Tab(text.clip_tab), gr.Row():
                with gr.Column(min_width=320):
                    audio = gr.Audio(
                        sources=["upload", "microphone"],
                        type="filepath",
                        label=text.audio,
                        buttons=[],
                        elem_id="e2v-audio",
                    )
                    gr.HTML(f'<p class="e2v-limits">{_limits(text, settings)}</p>')
                    granularity = gr.Radio(
                        [(text.utterance, "utterance"), (text.frame, "frame")],
                        value="utterance",
                        label=text.granularity,
                    )
                    # The page offers the embedding only as a file.
                    embedding = gr.Checkbox(label=text.embedding, visible=kept)
                    # Gradio uploads a recording after it has stopped: until then there is no clip.
                    button = gr.Button(
                        text.recognise,
                        variant="primary",
                        elem_id="e2v-recognise",
                        interactive=False,
                    )
                    # clip.js clicks it for a file that Gradio does not accept.
                    refused = gr.Button(visible="hidden", elem_id="e2v-refused")
                    if examples:
                        gr.Examples(
                            [[str(path)] for path in examples],
                            inputs=[audio],
                            example_labels=[path.name for path in examples],
                            label=text.examples,
                        )
                with gr.Column(min_width=320):
                    panel = gr.HTML(render.empty(text), elem_id="e2v-panel")
                    with gr.Accordion(text.json, open=False):
                        answer = gr.Code(language="json", show_label=False, interactive=False)
                    chosen = gr.Radio([], label=text.history, info=text.history_empty, visible=kept)
            with gr.Tab(text.timeline_tab, elem_id="e2v-timeline"):
                gr.HTML(render.timeline(text, settings))
            with gr.Tab(text.live_tab):
                gr.HTML(render.live(text, settings))
            with gr.Tab(text.batch_tab):
                gr.HTML(render.batch(text, settings))
        foot = gr.HTML()
        shown = [panel, answer, history, chosen]
        button.click(
            handlers.recognise,
            [audio, granularity, embedding, history],
            [*shown, banner, foot],
            concurrency_limit=None,
            show_progress="hidden",
            trigger_mode="once",
            api_visibility="private",
        )
        audio.change(None, [audio], [button], js=_ENABLED_WITH_A_CLIP, api_visibility="private")
        audio.start_recording(None, None, [button], js=_DISABLED, api_visibility="private")
        refused.click(handlers.refuse, None, [panel, answer], api_visibility="private", queue=False)
        chosen.input(
            handlers.show, [chosen], [panel, answer], api_visibility="private", queue=False
        )
        blocks.load(
            handlers.load,
            [history],
            [banner, foot, *shown],
            api_visibility="private",
            show_progress="hidden",
        )
    return blocks


def _limits(text: Text, settings: Settings) -> str:
    return text.limits.format(megabytes=render.megabytes(settings))


class _Handlers:
    def __init__(
        self, text: Text, recogniser: Recogniser, metrics: Metrics, settings: Settings
    ) -> None:
        self._text = text
        self._recogniser = recogniser
        self._metrics = metrics
        self._settings = settings

    async def recognise(
        self,
        path: str | None,
        granularity: Granularity,
        embedding: bool,
        history: list[str],
    ) -> AsyncIterator[tuple[Update, ...]]:
        """Shows the stages as they begin, then the result or the problem."""
        if path is None:
            # This is not counted, because nothing was sent to the model.
            yield self._failed(Problem(400, "no_file", "no file was chosen"))
            return
        try:
            data = await asyncio.to_thread(Path(path).read_bytes)
        except FileNotFoundError:
            yield self._failed(Problem(404, "expired", "the upload has been deleted"))
            return
        stage, began = "decode", time.monotonic()

        def on_stage(name: str) -> None:
            nonlocal stage
            stage = name

        with self._metrics.request("page") as observed:
            observed.model = MODELS[granularity]
            work = asyncio.create_task(
                self._recogniser.recognise(data, Path(path).name, granularity, embedding, on_stage)
            )
            try:
                while not work.done():
                    busy = render.busy(self._text, stage, time.monotonic() - began)
                    yield busy, "", *SKIPPED
                    await asyncio.wait([work], timeout=TICK_SECONDS)
                result = await work
                observed.seconds = result["duration"]
            except Problem as problem:
                observed.outcome = problem.code
                yield self._failed(problem)
                return
            finally:
                work.cancel()
        folder = render.folder_of(result)
        folders = [folder, *history] if folder else history
        history, choices = await asyncio.to_thread(self._listed, folders, folder)
        sound = f"/{self._text.language}/gradio_api/file={quote(path)}"
        yield *self._rendered(result, sound), history, choices, *await self._about()

    def _failed(self, problem: Problem) -> tuple[Update, ...]:
        """Tells the visitor what to do, and logs the server's error for operators."""
        if problem.status_code >= 500:
            log.warning("the page could not answer: %s: %s", problem.code, problem.detail)
        return render.problem(self._text, problem, self._settings), "", *SKIPPED

    def refuse(self) -> tuple[Update, Update]:
        """Says which files are accepted; the browser has seen that this one is not."""
        problem = Problem(415, "not_audio", "the file is of another kind")
        return render.problem(self._text, problem, self._settings), ""

    async def show(self, folder: str) -> tuple[Update, Update]:
        """Shows an earlier result again."""
        try:
            result = await asyncio.to_thread(self._clip, folder)
        except FileNotFoundError as error:
            problem = Problem(404, "not_found", str(error))
            return render.problem(self._text, problem, self._settings), ""
        return self._rendered(result)

    async def load(self, history: list[str], request: gr.Request) -> tuple[Update, ...]:
        """Shows the state of the server, and the result that the address names."""
        banner, foot = await self._about()
        folder = request.query_params.get("show")
        panel, answer = await self.show(folder) if folder else (gr.skip(), gr.skip())
        history, choices = await asyncio.to_thread(self._listed, history, folder)
        return banner, foot, panel, answer, history, choices

    def _clip(self, folder: str) -> Result:
        """A clip's result; those of long recordings have a tab of their own."""
        result = self._recogniser.store.read(folder)
        if "segments" in result:
            raise FileNotFoundError(f"{folder} is the result of a long recording and not of a clip")
        return result

    def _listed(self, folders: list[str], chosen: str | None = None) -> tuple[list[str], Update]:
        """The history without removed results, and the list that shows it."""
        lines = []
        for folder in folders[:HISTORY]:
            with suppress(FileNotFoundError):
                answer = self._clip(folder)
                lines.append((render.summary(self._text, answer), folder))
        known = [folder for _, folder in lines]
        chosen = chosen if chosen in known else None
        info = "" if lines else self._text.history_empty
        return known, gr.update(choices=lines, value=chosen, info=info)

    async def _about(self) -> tuple[str, str]:
        """The warning above the page, if any, and the line below it."""
        try:
            info = await self._recogniser.client.model_info()
        except Emotion2VecError:
            return render.banner(self._text.not_ready_banner), ""
        return render.caution(self._text, info), render.foot(self._text, info)

    def _rendered(self, result: Result, sound: str | None = None) -> tuple[str, str]:
        # Thousands of numbers are not for reading; result.json has them, if it is kept.
        rest = "… result.json" if "files" in result else "…"
        short = {name: value if name != "frame_scores" else rest for name, value in result.items()}
        return render.result(self._text, result, sound), json.dumps(
            short, ensure_ascii=False, indent=2
        )

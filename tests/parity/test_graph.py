"""The packed graph against FunASR, in PyTorch, so that tests can break each part on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from audio import layout
from audio.layout import SLOT, lay_out
from export import contract, frontend, graph, verify
from export.batch import join, pack
from export.checkpoint import Checkpoint, load_folder
from export.fused import FusedEncoder
from export.graph import PackedEncoder
from export.published import TOKENS
from export.reference import Reference
from export.replica import Size
from tests.conftest import WriteCheckpoint, speech_like

LENGTHS = (400, 719, 720, 1039, 1040, 5_000, 16_000, 52_345)
FP32 = verify.TOLERANCES["fp32"]
KINDS = pytest.mark.parametrize("kind", [PackedEncoder, FusedEncoder])


def torch_runner(checkpoint: Checkpoint, kind: type[PackedEncoder] = PackedEncoder) -> verify.Run:
    """The graph as a PyTorch module, with the interface of a session."""
    encoder = kind(checkpoint.build(), checkpoint.label_order()).eval()
    names = [tensor.name for tensor in contract.ENCODER_OUTPUTS]

    def run(inputs: dict[str, np.ndarray], _: object) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = encoder(*(torch.from_numpy(array) for array in inputs.values()))
        return dict(zip(names, (output.numpy() for output in outputs), strict=True))

    return run


def compare(checkpoint: Checkpoint, kind: type[PackedEncoder] = PackedEncoder) -> list[verify.Row]:
    """Compares FunASR with the graph on clips of many lengths."""
    clips = {str(n): speech_like(n, seed=n) for n in LENGTHS}
    model = checkpoint.build()
    return verify.compare(torch_runner(checkpoint, kind), Reference(checkpoint, model).run, clips)


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return load_folder(tiny_checkpoint)


@KINDS
def test_equals_funasr_alone_and_batched(checkpoint: Checkpoint, kind: type[PackedEncoder]) -> None:
    rows = compare(checkpoint, kind)
    assert all(row.within(FP32) for row in rows), verify.table(rows, FP32)


@KINDS
def test_equals_funasr_with_a_scale_per_layer_and_heads_that_are_no_power_of_two(
    write_checkpoint: WriteCheckpoint, kind: type[PackedEncoder]
) -> None:
    def per_layer(config: dict) -> None:
        config["model_conf"]["modalities"]["audio"]["learned_alibi_scale_per_layer"] = True

    def scales(state: dict) -> None:
        name = "d2v_model.modality_encoders.AUDIO.alibi_scale"
        state[name] = torch.linspace(-0.5, 2, 3 * 6).reshape(3, 1, 6, 1, 1)

    size = Size(96, 6, 1, 2, mlp_ratio=2.0, frontend_channels=16, decoder_dim=32)
    folder = write_checkpoint(size, change_config=per_layer, change_state=scales)
    rows = compare(load_folder(folder), kind)
    assert all(row.within(FP32) for row in rows), verify.table(rows, FP32)


def test_labels_follow_the_order_of_tokens_txt(write_checkpoint: WriteCheckpoint) -> None:
    shuffled = [TOKENS[i] for i in (4, 8, 0, 2, 7, 1, 3, 6, 5)]
    plain = load_folder(write_checkpoint())
    other = load_folder(write_checkpoint(tokens="\n".join(shuffled)))
    clip = speech_like(8_000)
    batch = pack([clip]).inputs()
    scores = [torch_runner(each)(batch, ())["scores"][0] for each in (plain, other)]
    english = [token.split("/")[-1].replace("<unk>", "unknown") for token in shuffled]
    for row, name in enumerate(english):
        assert scores[1][contract.LABELS.index(name)] == pytest.approx(scores[0][row], abs=1e-6)
    rows = compare(other)
    assert all(row.within(FP32) for row in rows), verify.table(rows, FP32)


def test_utterance_logits_are_the_mean_of_the_frames(checkpoint: Checkpoint) -> None:
    clip = speech_like(20_000)
    run = torch_runner(checkpoint)(pack([clip]).inputs(), ())
    logits = np.log(run["frame_scores"])
    # Softmax removes a constant from each frame, so compare differences between labels.
    mean = (logits - logits[:, :1]).mean(axis=0)
    frames = checkpoint.build().proj(torch.from_numpy(run["frame_embedding"]))
    exact = (frames - frames[:, :1]).mean(dim=0).detach().numpy()
    expected = np.log(run["scores"][0]) - np.log(run["scores"][0, 0])
    np.testing.assert_allclose(exact, expected, atol=1e-4)
    np.testing.assert_allclose(mean, expected, atol=1e-3)


def slots(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, SLOT)).astype(np.float32)


def frames(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int32)


LIES = {
    "more frames than slots": (slots(20), frames(500)),
    "no frame": (slots(20), frames(0)),
    "no room for a frame": (slots(10), frames(1)),
    "fewer slots than extra tokens": (slots(3), frames(1)),
    "no slot": (slots(0), frames(1)),
    "frames of the next clip": (slots(20), frames(9, first=25)),
    "frames far behind the batch": (slots(20), frames(9, first=10**6)),
    "frames before the clip": (slots(20), frames(9, first=-20)),
    "frames far before the batch": (slots(20), frames(9, first=-(10**6))),
}


@KINDS
@pytest.mark.parametrize("lie", LIES)
def test_tensors_that_do_not_fit_together_change_no_other_answer(
    checkpoint: Checkpoint, kind: type[PackedEncoder], lie: str
) -> None:
    run = torch_runner(checkpoint, kind)
    first, last = (lay_out(speech_like(n, seed=n)) for n in (5_000, 9_000))
    healthy = run(join([first, last]).inputs(), ())
    answers = run(join([first, LIES[lie], last]).inputs(), ())
    for name in ("scores", "embedding"):
        np.testing.assert_allclose(answers[name][[0, 2]], healthy[name], atol=1e-5)
    for name in ("frame_scores", "frame_embedding"):
        rows = answers[name]
        assert len(rows) == len(healthy[name]) + len(LIES[lie][1])
        liar = rows[len(first[1]) : len(rows) - len(last[1])]
        rows = np.concatenate([rows[: len(first[1])], rows[-len(last[1]) :]])
        np.testing.assert_allclose(rows, healthy[name], atol=1e-4)
        # What it gets is its own, or nothing: other neighbours change no bit of it.
        others = run(join([last, LIES[lie], first]).inputs(), ())[name]
        other = others[len(last[1]) : len(others) - len(first[1])]
        np.testing.assert_allclose(liar, other, atol=1e-5)


@contextmanager
def attribute(owner: object, name: str, value: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, value)
        yield


def no_mask_after_positional_convolutions() -> AbstractContextManager[None]:
    def forward(
        self: frontend.PositionalConvolutions, x: torch.Tensor, is_frame: torch.Tensor
    ) -> torch.Tensor:
        x = torch.where(is_frame, x, 0.0)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x.t().unsqueeze(0)).squeeze(0).t()))
        return x

    return attribute(frontend.PositionalConvolutions, "forward", forward)


def alibi_reaches_the_extra_tokens() -> AbstractContextManager[None]:
    def everywhere(column: torch.Tensor) -> torch.Tensor:
        return (column.unsqueeze(1) - column).abs().float()[None, None]

    return attribute(graph.PackedEncoder, "distance", staticmethod(everywhere))


def keys_are_not_masked() -> AbstractContextManager[None]:
    return attribute(graph, "MASKED", 0.0)


def one_slot_too_few() -> AbstractContextManager[None]:
    return attribute(graph, "EXTRA_SLOTS", layout.EXTRA_SLOTS - 1)


def labels_rotated() -> AbstractContextManager[None]:
    return attribute(Checkpoint, "label_order", lambda self: [1, 2, 3, 4, 5, 6, 7, 8, 0])


@pytest.mark.parametrize(
    "broken",
    [
        no_mask_after_positional_convolutions,
        alibi_reaches_the_extra_tokens,
        keys_are_not_masked,
        one_slot_too_few,
    ],
)
def test_the_comparison_sees_each_thing_that_can_break(
    checkpoint: Checkpoint, broken: Callable[[], AbstractContextManager[None]]
) -> None:
    with broken():
        rows = compare(checkpoint)
    assert not all(row.within(FP32) for row in rows)


def test_the_comparison_sees_a_wrong_label_order(checkpoint: Checkpoint) -> None:
    reference = Reference(checkpoint, checkpoint.build())
    with labels_rotated():
        run = torch_runner(checkpoint)
    rows = verify.compare(run, reference.run, {"clip": speech_like(16_000)})
    assert not all(row.within(FP32) for row in rows)
    first, second = sorted(reference.run(speech_like(16_000)).scores, reverse=True)[:2]
    told = f"in 1 of 1 clips, where FunASR's own is ahead by {first - second:.1e} at most"
    assert verify.flips([row.margin for row in rows if row.flipped], len(rows)).endswith(told)


@KINDS
def test_a_clip_that_is_not_finite_leaves_its_neighbours_alone(
    checkpoint: Checkpoint, kind: type[PackedEncoder]
) -> None:
    run = torch_runner(checkpoint, kind)
    # The last frame of the first clip and the first frame of the last are next to the broken clip.
    clips = [speech_like(n, seed=n) for n in (5_000, 720, 400, 3_000)]
    healthy = run(pack(clips).inputs(), ())
    for value in (np.nan, np.inf):
        clips[1] = np.full(len(clips[1]), value, np.float32)
        answers = run(pack(clips).inputs(), ())
        assert np.isnan(answers["scores"][1]).all()
        assert np.isnan(answers["embedding"][1]).all()
        for name in ("scores", "embedding"):
            kept = [0, 2, 3]
            np.testing.assert_allclose(answers[name][kept], healthy[name][kept], atol=1e-5)
        frames = np.isnan(answers["frame_scores"]).any(axis=1)
        assert frames.nonzero()[0].tolist() == [15, 16]


@KINDS
@pytest.mark.parametrize("before", [400, 720, 1040])
def test_nan_in_the_last_slot_leaves_the_next_clip_alone(
    checkpoint: Checkpoint, kind: type[PackedEncoder], before: int
) -> None:
    """The positional convolutions read rows of slots, which each length shifts by one slot."""
    first, last = (lay_out(speech_like(n, seed=n)) for n in (before, 3_000))
    broken = (np.full((12, SLOT), np.nan, np.float32), frames(2))
    run = torch_runner(checkpoint, kind)
    healthy = run(join([first, last]).inputs(), ())
    answers = run(join([first, broken, last]).inputs(), ())
    np.testing.assert_allclose(answers["scores"][[0, 2]], healthy["scores"], atol=1e-5)

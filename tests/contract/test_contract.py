"""Compares every config.pbtxt, and every constant that appears twice, with its definition."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import BatchInput, DataType, ModelConfig, ModelQueuePolicy

import emotion2vec_client._speakers
import emotion2vec_client.labels
from audio import layout, options, speech
from emotion2vec_client.archive.recordings import CLIP_LIMIT, TIMELINE_LIMIT
from export import contract
from export.config import encoder_config
from export.published import TOKENS
from gateway.settings import Settings
from server.triton import POOL_BYTES
from tests.conftest import ROOT

REPOSITORY = ROOT / "model_repository"
EMBED_DIM = 1024
CARD = {
    "target": "cpu",
    "precision": "fp32",
    "embed_dim": EMBED_DIM,
    "checkpoint": 'a "quoted" näme',
    "weights": "random",
}

MODELS = {
    "preprocess": (
        (contract.AUDIO,),
        (
            contract.WAVEFORM,
            contract.NUM_SAMPLES,
            contract.FRAMES,
            contract.SAMPLES,
            contract.SOURCE_RATE,
        ),
    ),
    "encoder": (contract.ENCODER_INPUTS, contract.ENCODER_OUTPUTS),
    "emotion2vec": (
        (contract.AUDIO,),
        (contract.NUM_SAMPLES, contract.SCORES, contract.EMBEDDING),
    ),
    "emotion2vec_frame": (
        (contract.AUDIO,),
        (contract.NUM_SAMPLES, *contract.ENCODER_OUTPUTS),
    ),
    "emotion2vec_timeline": ((contract.AUDIO,), contract.TIMELINE_OUTPUTS),
}


def read_config(name: str) -> ModelConfig:
    """The configuration as Triton parses it; for the encoder, the one that an export writes."""
    if name == "encoder":
        text = encoder_config(CARD)
    else:
        text = (REPOSITORY / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, ModelConfig())


def test_every_model_of_the_repository_is_in_the_contract() -> None:
    folders = {path.parent.name for path in REPOSITORY.glob("*/config.pbtxt")}
    assert folders | {"encoder"} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_names_types_and_shapes(name: str) -> None:
    config = read_config(name)
    assert config.name == name
    for declared, expected in zip((config.input, config.output), MODELS[name], strict=True):
        assert [item.name for item in declared] == [tensor.name for tensor in expected]
        for item, tensor in zip(declared, expected, strict=True):
            assert DataType.Name(item.data_type) == tensor.data_type, tensor.name
            dims = list(tensor.dims)
            if name == "encoder" and tensor in (contract.EMBEDDING, contract.FRAME_EMBEDDING):
                dims[-1] = EMBED_DIM
            assert list(item.dims) == dims, tensor.name


def test_the_encoder_batches_clips_of_different_length() -> None:
    config = read_config("encoder")
    ragged = {item.name for item in config.input if item.allow_ragged_batch}
    assert ragged == {tensor.name for tensor in contract.ENCODER_INPUTS if tensor.ragged}
    scattered = {item.target_name[0]: item.source_input[0] for item in config.batch_output}
    assert scattered == {
        tensor.name: tensor.scattered_by
        for tensor in contract.ENCODER_OUTPUTS
        if tensor.scattered_by
    }
    kinds = BatchInput.Kind
    made = {
        item.target_name[0]: (kinds.Name(item.kind), item.source_input[0])
        for item in config.batch_input
    }
    assert made == {
        contract.LONGEST: ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", contract.WAVEFORM.name),
        **{name: ("BATCH_ITEM_SHAPE", tensor.name) for name, tensor in contract.SHAPES.items()},
    }
    assert config.HasField("dynamic_batching")
    assert config.model_warmup


@pytest.mark.parametrize("name", ["preprocess", "encoder"])
def test_every_queue_is_bounded_in_size_and_in_time(name: str) -> None:
    policy = read_config(name).dynamic_batching.default_queue_policy
    assert policy.max_queue_size == contract.QUEUE_SIZE == Settings().max_in_flight
    assert policy.default_timeout_microseconds == contract.QUEUE_SECONDS * 1_000_000
    assert not policy.allow_timeout_override
    assert ModelQueuePolicy.TimeoutAction.Name(policy.timeout_action) == "REJECT"


@pytest.mark.parametrize("name", ["emotion2vec", "emotion2vec_frame"])
def test_ensembles_are_wired_by_the_contract(name: str) -> None:
    config = read_config(name)
    first, second = config.ensemble_scheduling.step
    assert (first.model_name, second.model_name) == ("preprocess", "encoder")
    passed = {tensor.name: tensor.name for tensor in contract.ENCODER_INPUTS}
    assert dict(first.input_map) == {"audio": "audio"}
    samples = contract.NUM_SAMPLES.name
    assert dict(first.output_map) == passed | {samples: samples}
    assert dict(second.input_map) == passed
    computed = {item.name for item in config.output} - {contract.NUM_SAMPLES.name}
    assert set(second.output_map) == computed
    # Triton refuses an ensemble whose batches are larger than those of one of its steps.
    assert config.max_batch_size <= min(
        read_config(model).max_batch_size for model in ("preprocess", "encoder")
    )


@pytest.mark.parametrize("name", ["emotion2vec", "emotion2vec_frame", "emotion2vec_timeline"])
def test_scores_carry_the_labels_in_order(name: str) -> None:
    scores = next(item for item in read_config(name).output if item.name == "scores")
    lines = (REPOSITORY / name / scores.label_filename).read_text(encoding="utf-8").split()
    assert tuple(lines) == contract.LABELS


def test_the_client_has_the_labels_in_the_same_order_and_in_chinese() -> None:
    table = emotion2vec_client.labels.LABELS
    assert tuple(label.name for label in table) == contract.LABELS
    chinese = [token.split("/")[0] for token in TOKENS[:-1]]
    assert [label.chinese for label in table[:-1]] == chinese


def test_the_card_survives_the_configuration() -> None:
    import json

    text = read_config("encoder").parameters["model_card"].string_value
    assert json.loads(text) == CARD


def test_preprocess_lays_out_audio_as_the_contract_says() -> None:
    parameters = read_config("preprocess").parameters
    assert float(parameters["max_seconds"].string_value) == contract.MAX_SECONDS
    shortest = float(parameters["min_seconds"].string_value) * layout.SAMPLE_RATE
    assert shortest == layout.WINDOW


def test_shared_memory_is_taken_at_the_start_for_any_batch() -> None:
    encoder = read_config("encoder")
    samples = contract.MAX_SECONDS * layout.SAMPLE_RATE
    frames = samples // layout.SLOT
    waveform = 4 * (samples + (layout.EXTRA_SLOTS + 1) * layout.SLOT + frames)
    # Answers leave one by one, except those of the last part, which is no longer than a clip.
    assert int(encoder.parameters["max_part_elements"].string_value) <= samples
    answer = 4 * (frames + 1) * (EMBED_DIM + len(contract.LABELS))
    assert 1.5 * (encoder.max_batch_size * waveform + answer) < POOL_BYTES

    file = int(read_config("preprocess").parameters["max_bytes"].string_value)
    assert 1.5 * (file + waveform + 4 * samples) < POOL_BYTES


def test_an_archive_sends_what_the_models_take() -> None:
    for model, limit in (("preprocess", CLIP_LIMIT), ("emotion2vec_timeline", TIMELINE_LIMIT)):
        assert int(read_config(model).parameters["max_bytes"].string_value) == limit


def test_no_segment_of_the_timeline_is_longer_than_a_clip() -> None:
    assert options.LONGEST == contract.MAX_SECONDS
    assert options.MOST_SPEAKERS == emotion2vec_client._speakers.MOST_SPEAKERS
    # It holds a piece, and the next one until its end is found, as they may join.
    assert speech.HELD_SECONDS >= 2.5 * options.LONGEST + 2


def test_the_timeline_takes_the_formats_that_predictions_take() -> None:
    timeline, preprocess = (
        read_config(name).parameters for name in ("emotion2vec_timeline", "preprocess")
    )
    for name in ("min_seconds", "min_rate", "max_rate", "max_channels"):
        assert timeline[name] == preprocess[name], name


ROW = re.compile(r"^\| `(\w+)/` \|.*\| ([^|]+) \|$", re.MULTILINE)
HOUSE = {
    folder: folder if rule == "all" else re.findall(r"`([\w.]+)`", rule)
    for folder, rule in ROW.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
}
"""The folders or modules that each folder may import; CONTRIBUTING.md has the table."""

PACKAGES = {"emotion2vec_client": "client"}
"""The folder of a package with another name."""

EXPENSIVE = {"torch", "funasr"}
"""Only the export, the benchmark that compares it with FunASR, and the training need these."""


def test_the_table_of_the_house_has_every_folder_with_code() -> None:
    assert set(HOUSE) == {path.parts[0] for path in sources()}


@pytest.mark.parametrize("folder", [name for name, rule in HOUSE.items() if name != rule])
def test_a_folder_imports_only_what_the_table_allows(folder: str) -> None:
    allowed = tuple(f"{name}." for name in (folder, *HOUSE[folder]))
    found = set()
    for path in sources():
        for name in imported(ROOT / path) if path.parts[0] == folder else ():
            top = name.split(".")[0]
            if (
                (top in HOUSE and not f"{name}.".startswith(allowed))
                or (top in EXPENSIVE and folder not in ("export", "benchmarks", "demo"))
                or (top == "tritonclient" and folder == "gateway")
            ):
                found.add((path, name))
    assert not found


def sources() -> set[Path]:
    """Every Python file that git does not ignore, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {Path(name) for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, including those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {re.sub(r"^\w+", lambda top: PACKAGES.get(top[0], top[0]), name) for name in names}

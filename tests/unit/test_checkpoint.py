"""Checkpoint folders, good and bad, through the code that loads the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.__main__ import main
from export.checkpoint import check_architecture, load_folder
from export.errors import ExportError
from export.random_checkpoint import SIZES, make_model_conf, random_checkpoint
from tests.conftest import WriteCheckpoint

OLD_TOKENS = [
    "生气/angry",
    "unuse_0",
    "unuse_1",
    "开心/happy",
    "中立/neutral",
    "unuse_2",
    "难过/sad",
    "unuse_3",
    "<unk>",
]


def test_loads_the_model_and_reports_what_it_left(tiny_checkpoint: Path) -> None:
    checkpoint = load_folder(tiny_checkpoint)
    model = checkpoint.build()
    assert not model.training
    stored = torch.load(tiny_checkpoint / "model.pt", weights_only=True)["model"]
    key = "modality_encoders.AUDIO.extra_tokens"
    torch.testing.assert_close(model.state_dict()[key], stored[f"d2v_model.{key}"])
    used = len(model.state_dict())
    assert checkpoint.report[0].startswith(f"weights used: {used} tensors")
    assert checkpoint.report[1] == f"weights ignored: {used} tensors (_ema)"
    assert checkpoint.label_order() == list(range(9))


def test_old_labels_are_refused_with_the_revision_to_take(
    write_checkpoint: WriteCheckpoint,
) -> None:
    with pytest.raises(ExportError, match=r"unuse_0.*--revision 767b2e00.*--hub modelscope"):
        load_folder(write_checkpoint(tokens=OLD_TOKENS))


def test_other_labels_are_refused(write_checkpoint: WriteCheckpoint) -> None:
    with pytest.raises(ExportError, match="bored"):
        load_folder(write_checkpoint(tokens=["无聊/bored", *OLD_TOKENS[:1], "<unk>"]))


def test_a_missing_weight_is_fatal(write_checkpoint: WriteCheckpoint) -> None:
    def remove(state: dict) -> None:
        del state["d2v_model.blocks.1.mlp.fc2.bias"]

    with pytest.raises(ExportError, match=r"blocks\.1\.mlp\.fc2\.bias is missing"):
        load_folder(write_checkpoint(change_state=remove))


def test_a_weight_of_another_shape_is_fatal(write_checkpoint: WriteCheckpoint) -> None:
    def shorten(state: dict) -> None:
        state["proj.weight"] = state["proj.weight"][:5]

    with pytest.raises(ExportError, match=r"proj\.weight has shape \(5, 64\) instead of \(9, 64\)"):
        load_folder(write_checkpoint(change_state=shorten))


@pytest.mark.parametrize("name", ["config.yaml", "tokens.txt", "model.pt"])
def test_a_missing_file_is_named(write_checkpoint: WriteCheckpoint, name: str) -> None:
    folder = write_checkpoint()
    (folder / name).unlink()
    with pytest.raises(ExportError, match=f"has no {name}"):
        load_folder(folder)


def test_pickled_code_is_not_run(write_checkpoint: WriteCheckpoint, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    folder = write_checkpoint()
    torch.save({"model": Evil()}, folder / "model.pt")
    with pytest.raises(ExportError, match="cannot read"):
        load_folder(folder)
    assert not (tmp_path / "owned").exists()


def test_code_in_the_frontend_spec_is_not_run(
    write_checkpoint: WriteCheckpoint, tmp_path: Path
) -> None:
    """FunASR evaluates this text."""

    def inject(config: dict) -> None:
        audio = config["model_conf"]["modalities"]["audio"]
        audio["feature_encoder_spec"] = f"open({str(tmp_path / 'owned')!r}, 'w') or [(1, 1, 1)]"

    with pytest.raises(ExportError, match="not a list of number triples"):
        load_folder(write_checkpoint(change_config=inject))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_extra_tokens", 8),
        ("extractor_mode", "default"),
        ("learned_alibi", True),
        ("conv_pos_width", 200),
        ("feature_encoder_spec", "[(16, 10, 5)] + [(16, 3, 2)] * 4"),
    ],
)
def test_an_architecture_that_would_give_other_numbers_is_refused(
    write_checkpoint: WriteCheckpoint, name: str, value: object
) -> None:
    def change(config: dict) -> None:
        config["model_conf"]["modalities"]["audio"][name] = value

    with pytest.raises(ExportError, match=name):
        load_folder(write_checkpoint(change_config=change))


def test_a_config_of_another_model_is_refused() -> None:
    with pytest.raises(ExportError, match="modalities"):
        check_architecture({"encoder": "sanm"})


def test_random_large_has_the_size_of_the_real_model() -> None:
    """162,140,185 parameters, as the published checkpoint has."""
    assert SIZES["large"].embed_dim == 1024
    model = random_checkpoint("large").build()
    assert sum(parameter.numel() for parameter in model.parameters()) == 162_140_185
    check_architecture(make_model_conf(SIZES["base"]))


def test_errors_reach_the_command_line_as_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "model_repository").mkdir()
    arguments = ["--model-repository", str(tmp_path / "model_repository")]
    assert main(["--checkpoint", str(tmp_path), *arguments]) == 1
    assert "has no config.yaml" in capsys.readouterr().err
    assert main(["--checkpoint", "random:huge", *arguments]) == 1
    assert "large, base, seed" in capsys.readouterr().err

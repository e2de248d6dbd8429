"""Reads and checks a FunASR emotion2vec checkpoint, and builds FunASR's own model from it."""

from __future__ import annotations

import copy
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from audio import layout
from export import contract, published
from export.emotion2vec import Emotion2vec
from export.errors import ExportError
from export.progress import step
from export.published import FileFacts

ENGLISH_OF = {"<unk>": "unknown"}


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint that an export starts from.

    Attributes:
        source: What the user asked for: a name on a hub, a folder, or ``random:large``.
        revision: The hub's revision; None for folders and random weights.
        weights: ``pretrained``, ``demonstration``, or ``random`` for weights that mean nothing.
        files: Size and digest of each file; empty for random weights.
        model_conf: The section ``model_conf`` of config.yaml.
        tokens: The lines of tokens.txt.
        state: The model's tensors under the names that FunASR's model uses.
        report: Lines about the weights for the user.
    """

    source: str
    revision: str | None
    weights: str
    files: Mapping[str, FileFacts]
    model_conf: dict[str, Any]
    tokens: list[str]
    state: dict[str, torch.Tensor]
    report: list[str]

    def label_order(self) -> list[int]:
        """The row of the classification head for each of ``contract.LABELS``."""
        english = [_english(token) for token in self.tokens]
        return [english.index(label) for label in contract.LABELS]

    def build(self) -> Emotion2vec:
        """FunASR's own model with these weights, in eval mode."""
        model = build_model(self.model_conf, len(self.tokens))
        model.load_state_dict(self.state, strict=True)
        return model.eval()


def load_folder(
    folder: Path,
    source: str | None = None,
    revision: str | None = None,
    files: Mapping[str, FileFacts] | None = None,
    weights: str = "pretrained",
) -> Checkpoint:
    """Reads config.yaml, tokens.txt and model.pt.

    Args:
        folder: The checkpoint folder.
        source: Name of the checkpoint; by default the folder.
        revision: The hub's revision, if it came from a hub.
        files: Sizes and digests, if they have been measured already.
        weights: The kind of the weights, as in `Checkpoint`.

    Raises:
        ExportError: A file is missing or unreadable, the architecture or the labels are not those
            of emotion2vec+, or weights are missing.
    """
    for name in published.FILES:
        if not (folder / name).is_file():
            raise ExportError(
                f"{folder} has no {name}: a checkpoint folder needs config.yaml, tokens.txt and "
                "model.pt"
            )
    config = read_config(_read_text(folder / "config.yaml"))
    model_conf = config["model_conf"]
    check_architecture(model_conf)
    tokens = _read_text(folder / "tokens.txt").split()
    check_tokens(tokens)
    model = folder / "model.pt"
    with step(f"reading {model.name} ({model.stat().st_size / 1e6:,.0f} MB)"):
        stored = _read_weights(model)
        state, report = _select(stored, build_model(model_conf, len(tokens)), config)
    return Checkpoint(
        source=source or str(folder),
        revision=revision,
        weights=weights,
        files=files or published.measure_folder(folder),
        model_conf=model_conf,
        tokens=tokens,
        state=state,
        report=report,
    )


def read_config(text: str) -> dict[str, Any]:
    """Returns the sections of a config.yaml.

    Raises:
        ExportError: The text is not YAML, or has no section ``model_conf``.
    """
    try:
        config: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ExportError(f"cannot read config.yaml: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_conf"), dict):
        raise ExportError("config.yaml has no section model_conf")
    return config


def _read_text(path: Path) -> str:
    try:
        # An editor may have put a byte order mark in front.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read {path}: {error}") from error


def check_architecture(model_conf: dict[str, Any]) -> None:
    """Refuses an architecture that the packed graph or the audio layout cannot express.

    Raises:
        ExportError: Names the setting, its value and the required value.
    """
    try:
        audio = model_conf["modalities"]["audio"]
        spec = audio["feature_encoder_spec"]
        settings = {
            "model_conf.normalize": (model_conf["normalize"], True),
            "model_conf.layer_norm_first": (model_conf["layer_norm_first"], False),
            "audio.num_extra_tokens": (audio["num_extra_tokens"], layout.EXTRA_SLOTS),
            "audio.extractor_mode": (audio["extractor_mode"], "layer_norm"),
            "audio.use_alibi_encoder": (audio["use_alibi_encoder"], True),
            "audio.learned_alibi": (audio["learned_alibi"], False),
            "audio.conv_pos_pre_ln": (audio["conv_pos_pre_ln"], False),
        }
        reach = max(3, audio["conv_pos_width"] // audio["conv_pos_depth"]) // 2
    except (KeyError, TypeError) as error:
        raise ExportError(
            f"config.yaml does not describe an emotion2vec model: model_conf has no {error}"
        ) from error
    # FunASR passes this text to eval(), so it may only be a list expression of numbers.
    if not re.fullmatch(r"([\d\s()\[\],+]|(?<!\*)\*(?!\*))+", str(spec)):
        raise ExportError(f"audio.feature_encoder_spec {spec!r} is not a list of number triples")
    for name, (value, needed) in settings.items():
        if value != needed:
            raise ExportError(f"{name} is {value!r}, but only {needed!r} can be exported")
    if reach > layout.EXTRA_SLOTS:
        raise ExportError(
            f"the positional convolutions reach {reach} frames, but clips in a batch are "
            f"only {layout.EXTRA_SLOTS} slots apart: check audio.conv_pos_width"
        )


def check_tokens(tokens: list[str]) -> None:
    """Refuses label sets other than the nine of emotion2vec+.

    Raises:
        ExportError: Says which revision to use instead.
    """
    if any(token.startswith("unuse") for token in tokens):
        revisions = " or ".join(
            f"{name} at --revision {published.LARGE.revisions[hub]} (--hub {hub})"
            for hub, name in published.LARGE.names.items()
        )
        raise ExportError(
            f"tokens.txt is from an old revision, with placeholders instead of labels ({tokens}): "
            f"use {revisions}"
        )
    english = sorted(_english(token) for token in tokens)
    if english != sorted(contract.LABELS):
        raise ExportError(
            f"tokens.txt has the labels {english}, but these nine are needed: "
            f"{sorted(contract.LABELS)}"
        )


def _english(token: str) -> str:
    """Returns the English label of a token such as ``生气/angry``, or of ``<unk>``."""
    last = token.split("/")[-1].strip().lower()
    return ENGLISH_OF.get(last, last)


def build_model(model_conf: dict[str, Any], labels: int) -> Emotion2vec:
    """Builds FunASR's model for inference, with initial weights.

    The published config.yaml describes a decoder that has no weights in model.pt. FunASR builds
    it, warns that its keys are missing, and never calls it (ddlBoJack/emotion2vec#36, #84).

    Args:
        model_conf: The section ``model_conf`` of config.yaml.
        labels: Rows of the classification head.

    Raises:
        ExportError: Its frontend does not fit the audio layout.
    """
    needed = copy.deepcopy(model_conf)
    needed["modalities"]["audio"]["decoder"] = None
    model = Emotion2vec(model_conf=needed, vocab_size=labels)
    hop, window = 1, 1
    for layer in model.modality_encoders["AUDIO"].local_encoder.conv_layers:
        window += (layer[0].kernel_size[0] - 1) * hop
        hop *= layer[0].stride[0]
    if (hop, window) != (layout.SLOT, layout.WINDOW):
        raise ExportError(
            f"audio.feature_encoder_spec has a hop of {hop} and a window of {window} samples, but "
            f"only {layout.SLOT} and {layout.WINDOW} can be exported"
        )
    return model


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        stored = torch.load(
            path,
            map_location="cpu",
            weights_only=True,
            # model.pt contains several copies of the model: read only the one in use.
            mmap=zipfile.is_zipfile(path) or None,
        )
    except Exception as error:  # torch raises a dozen types for unreadable or unsafe files
        raise ExportError(
            f"cannot read {path} as plain weights ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}): download it again"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(stored, dict) and key in stored:
            stored = stored[key]
    if not isinstance(stored, dict):
        raise ExportError(f"{path} contains a {type(stored).__name__} instead of named tensors")
    return stored


def _select(
    stored: dict[str, torch.Tensor], model: Emotion2vec, config: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Picks the model's tensors from the file, by the names that FunASR's loader uses."""
    scope = _scope(config)
    state: dict[str, torch.Tensor] = {}
    used: set[str] = set()
    problems: list[str] = []
    for name, wanted in model.state_dict().items():
        keys = [source + name[len(own) :] for source, own in scope if name.startswith(own)]
        key = next((key for key in reversed(keys) if key in stored), None)
        if key is None:
            problems.append(f"{name} is missing")
        elif stored[key].shape != wanted.shape:
            problems.append(
                f"{name} has shape {tuple(stored[key].shape)} instead of {tuple(wanted.shape)}"
            )
        else:
            state[name] = stored[key]
            used.add(key)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ExportError("model.pt does not fit config.yaml: " + "; ".join(problems[:5]) + more)
    ignored = sorted(set(stored) - used)
    groups = sorted({key.split(".")[0] for key in ignored})
    parameters = sum(tensor.numel() for tensor in state.values())
    report = [
        f"weights used: {len(used)} tensors, {parameters:,} parameters",
        f"weights ignored: {len(ignored)} tensors" + (f" ({', '.join(groups)})" if groups else ""),
        "weights missing: 0",
    ]
    return state, report


def _scope(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs (prefix in the file, prefix in the model) from ``scope_map``; the last match wins.

    Like FunASR's ``load_pretrained_model``, it adds the pair ``module.`` and ``none``. ``none``,
    in upper or lower case, is the empty prefix.
    """
    given = config.get("scope_map") or []
    listed = given.split(",") if isinstance(given, str) else [str(item) for item in given]
    if len(listed) % 2:
        raise ExportError(f"scope_map of config.yaml must list pairs of prefixes: {listed}")
    listed += ["module.", "none"]
    names = ["" if item.lower() == "none" else item for item in listed]
    return [("", ""), *zip(names[::2], names[1::2], strict=True)]

"""The shipped limits, parsed as Triton parses them."""

from __future__ import annotations

import json

from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from audio.limits import Limits
from tests.conftest import ROOT

_CONFIG = (ROOT / "model_repository/preprocess/config.pbtxt").read_text(encoding="utf-8")
_JSON = json_format.MessageToJson(
    text_format.Parse(_CONFIG, ModelConfig()), preserving_proto_field_name=True
)
LIMITS = Limits.read(json.loads(_JSON)["parameters"])

"""The convolutions before the transformer blocks, over a packed batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.emotion2vec import Emotion2vec
from export.indices import within


class Norm(nn.Module):
    """A LayerNorm that computes in fp32, whatever the precision around it."""

    def __init__(self, norm: nn.LayerNorm):
        super().__init__()
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        return F.layer_norm(x.float(), self.shape, weight, bias, self.eps).to(x.dtype)


class StridedProjection(nn.Module):
    """A stride-s convolution over time as one matrix product, channels last.

    A convolution of width k <= 2s reads, for each output, one row of s frames and the first
    k - s frames of the next row: a reshape and a shifted copy replace the im2col.
    """

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        self.stride, self.width = conv.stride[0], conv.kernel_size[0]
        if not self.stride <= self.width <= 2 * self.stride:
            raise ValueError(
                f"cannot express a convolution of width {self.width} and stride {self.stride} "
                "as a reshape: the width must be between the stride and twice the stride"
            )
        # [out, in, k] -> [k * in, out], in the order in which frames lie in memory.
        self.weight = nn.Parameter(conv.weight.permute(2, 1, 0).flatten(0, 1).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Maps [time, in] to [time / stride, out]; time is a multiple of the stride."""
        channels = x.shape[1]
        rows = x.reshape(-1, self.stride * channels)
        overlap = (self.width - self.stride) * channels
        if overlap:
            following = F.pad(rows[1:, :overlap], (0, 0, 0, 1))
            rows = torch.cat([rows, following], dim=1)
        return rows @ self.weight


class Frontend(nn.Module):
    """Maps a waveform to one feature vector per slot: FunASR's local encoder and projection."""

    def __init__(self, reference: Emotion2vec):
        super().__init__()
        audio = reference.modality_encoders["AUDIO"]
        layers = list(audio.local_encoder.conv_layers)
        # Each layer is Sequential(conv, dropout, Sequential(transpose, norm, transpose), gelu).
        self.convolutions = nn.ModuleList(StridedProjection(layer[0]) for layer in layers)
        self.norms = nn.ModuleList(Norm(layer[2][1]) for layer in layers)
        _, norm, self.projection = audio.project_features
        self.norm = Norm(norm)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps samples [slots * 320] to features [slots, embed_dim]."""
        x = waveform.reshape(-1, 1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        return self.projection(self.norm(x))


class PositionalConvolutions(nn.Module):
    """The five grouped convolutions that give each frame its relative position.

    They run in windows of one size, because a packed batch may have any length and oneDNN's fp32
    kernel is four times slower at some lengths (508, 520) than at their neighbours.
    """

    SLOTS_PER_WINDOW = 64

    def __init__(self, reference: Emotion2vec):
        super().__init__()
        _, *layers, _ = reference.modality_encoders["AUDIO"].relative_positional_encoder
        # Each layer is Sequential(conv, same_pad, transpose, norm, transpose, gelu).
        self.convolutions = nn.ModuleList(layer[0] for layer in layers)
        self.norms = nn.ModuleList(Norm(layer[3]) for layer in layers)
        self.reach, self.groups = layers[0][0].kernel_size[0] // 2, layers[0][0].groups

    def forward(self, x: Tensor, is_frame: Tensor) -> Tensor:
        """Maps [slots, embed_dim] to the same shape; ``is_frame`` is bool [slots, 1].

        Sets slots without a frame to zero before each convolution, like the zero padding at both
        ends of a clip that is computed alone.
        """
        slots, width = x.shape
        windows = (slots + self.SLOTS_PER_WINDOW - 1) // self.SLOTS_PER_WINDOW
        start = torch.arange(windows, device=x.device).unsqueeze(1) * self.SLOTS_PER_WINDOW
        read = torch.arange(-self.reach, self.SLOTS_PER_WINDOW + self.reach, device=x.device)
        # Clamped to the first and the last slot: no clip has a frame there, so they are zero.
        read = within((start + read).flatten(), slots)
        written = torch.arange(windows * self.SLOTS_PER_WINDOW, device=x.device)
        written = within(written, slots)
        x, is_frame = torch.where(is_frame, x, 0.0), is_frame.index_select(0, written)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x.index_select(0, read).reshape(windows, -1, width).transpose(1, 2)
            weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
            x = F.conv1d(x, weight, bias, groups=self.groups)
            x = x.transpose(1, 2).reshape(windows * self.SLOTS_PER_WINDOW, width)
            x = torch.where(is_frame, F.gelu(norm(x)), 0.0)
        return x[:slots]

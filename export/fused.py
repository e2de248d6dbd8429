"""The packed encoder for ONNX Runtime's CUDA provider: the same function in other operators.

What differs, and why (docs/gpu.md has the measurements):

- Attention is ``PackedMultiHeadAttention``: one kernel that reads the clips end to end, without a
  grid. Written out, softmax and the additions of bias and mask took 40 % of the time, and the grid
  of a mixed batch is half empty.
- Sums that are normalised, and biases before GELU, are one kernel each.
- The frontend runs over pieces of the batch. All at once it took 48 GB for 28 clips of 30 s, and 29
  need a tensor of 2^31 elements, which CUDA's kernels index wrongly.
- The positional convolutions are matrix products. cuDNN chooses an algorithm anew for each length,
  and starts three kernels for each of 80 groups.
- Norms take fp16: their kernel computes in fp32 inside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# PyTorch calls it a prototype; its exporter writes it as ONNX's Scan.
from torch._higher_order_ops.scan import scan

from audio.layout import SLOT
from export.emotion2vec import AltBlock, Emotion2vec
from export.graph import Layout, PackedEncoder
from export.indices import sums_before
from export.operators import Gelu, Norm, attention


class Convolution(nn.Module):
    """A strided convolution over time, channels last, with its norm and GELU.

    It is one product of each row of ``stride`` frames, plus one of the frames that follow the row:
    the norm adds them. Gathering only those is cheaper than gathering what each output reads.
    """

    ALIGNMENT = 8
    """Tensor cores want rows whose length is a multiple of this."""

    def __init__(self, conv: nn.Conv1d, norm: nn.LayerNorm):
        super().__init__()
        self.stride, self.width = conv.stride[0], conv.kernel_size[0]
        channels = conv.in_channels
        # [out, in, k] -> [k * in, out], in the order in which frames lie in memory.
        weight = conv.weight.detach().permute(2, 1, 0).flatten(0, 1)
        if channels == 1:
            # The first layer: all that an output reads in one row, and zeros up to the alignment.
            self.weight = nn.Parameter(F.pad(weight, (0, 0, 0, -self.width % self.ALIGNMENT)))
        else:
            own = self.stride * channels
            self.weight = nn.Parameter(weight[:own].clone())
            if self.width > self.stride:
                self.following = nn.Parameter(weight[own:].clone())
        self.norm, self.gelu = Norm(norm), Gelu(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [time, in] to [time / stride, out]; time is a multiple of the stride.

        Where an output reads past the end, the last frame is read instead.
        """
        channels = x.shape[1]
        if channels == 1:
            rows = self._read(x, 0, self.weight.shape[0])
            return self.gelu(self.norm(rows @ self.weight))
        own = x.reshape(-1, self.stride * channels) @ self.weight
        if self.width == self.stride:
            return self.gelu(self.norm(own))
        rows = self._read(x, self.stride, self.width - self.stride)
        return self.gelu(self.norm(own, rows @ self.following))

    def _read(self, x: Tensor, start: int, count: int) -> Tensor:
        """Returns ``count`` frames from ``start`` frames after the start of each output."""
        time, channels = x.shape
        first = torch.arange(time // self.stride, device=x.device).unsqueeze(1) * self.stride
        read = (first + torch.arange(start, start + count, device=x.device)).flatten()
        return x.index_select(0, read.clamp(max=time - 1)).reshape(-1, count * channels)


class PiecewiseFrontend(nn.Module):
    """The frontend in pieces of equal size, one after the other."""

    MOST_SLOTS = 3000
    """Largest piece. A slot takes 64 KB in the first layer in fp16."""

    def __init__(self, reference: Emotion2vec):
        super().__init__()
        audio = reference.modality_encoders["AUDIO"]
        # Each layer is Sequential(conv, dropout, Sequential(transpose, norm, transpose), gelu).
        self.layers = nn.Sequential(
            *(Convolution(layer[0], layer[2][1]) for layer in audio.local_encoder.conv_layers)
        )
        _, norm, self.projection = audio.project_features
        self.norm = Norm(norm)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps samples [slots * 320] to features [slots, embed_dim]."""
        rows = waveform.reshape(-1, SLOT)
        slots = rows.shape[0]
        pieces = (slots + self.MOST_SLOTS - 1) // self.MOST_SLOTS
        size = (slots + pieces - 1) // pieces
        start = torch.arange(pieces, device=rows.device).unsqueeze(1) * size
        # A slot's features depend on its own samples and on 80 of the next slot's.
        read = (start + torch.arange(size + 1, device=rows.device)).flatten().clamp(0, slots - 1)
        samples = rows.index_select(0, read).reshape(pieces, size + 1, SLOT)

        def one(nothing: Tensor, piece: Tensor) -> tuple[Tensor, Tensor]:
            features = self.layers(piece.reshape(-1, 1))
            return nothing.clone(), self.projection(self.norm(features))[:-1]

        _, features = scan(one, torch.zeros(1, device=rows.device), samples)
        return features.flatten(0, 1)[:slots]


class PositionalProducts(nn.Module):
    """The five grouped positional convolutions as matrix products, three slots to a row.

    A row holds the 21 slots that the outputs of three neighbours read, for a width of 19: that is
    11 % more work than one slot to a row, and little more than a third of the memory. With four, a
    row could hold the last frame of one clip and the first of the next, which are 12 slots apart.
    Then a NaN would pass from one to the other, although its weight is zero.
    """

    SLOTS_PER_ROW = 3

    def __init__(self, reference: Emotion2vec):
        super().__init__()
        _, *layers, _ = reference.modality_encoders["AUDIO"].relative_positional_encoder
        # Each layer is Sequential(conv, same_pad, transpose, norm, transpose, gelu).
        first = layers[0][0]
        self.reach, self.groups = first.kernel_size[0] // 2, first.groups
        self.weights = nn.ParameterList(self._banded(layer[0].weight.detach()) for layer in layers)
        self.biases = nn.ParameterList(layer[0].bias.detach() for layer in layers)
        self.norms = nn.ModuleList(Norm(layer[3]) for layer in layers)
        self.gelu = Gelu(first.out_channels)

    def _banded(self, weight: Tensor) -> nn.Parameter:
        """Maps [out, in, width] to [groups, slots read * in, slots per row * out / groups]."""
        outputs, inputs, width = weight.shape
        weight = weight.reshape(self.groups, outputs // self.groups, inputs, width)
        rows, per_group = self.SLOTS_PER_ROW, outputs // self.groups
        banded = weight.new_zeros(self.groups, width + rows - 1, inputs, rows, per_group)
        for row in range(rows):
            banded[:, row : row + width, :, row] = weight.permute(0, 3, 2, 1)
        return nn.Parameter(banded.flatten(3, 4).flatten(1, 2))

    def forward(self, x: Tensor, is_frame: Tensor) -> Tensor:
        """Maps [slots, embed_dim] to the same shape; ``is_frame`` is bool [slots, 1]."""
        slots, width = x.shape
        rows = (slots + self.SLOTS_PER_ROW - 1) // self.SLOTS_PER_ROW
        start = torch.arange(rows, device=x.device).unsqueeze(1) * self.SLOTS_PER_ROW
        read = torch.arange(-self.reach, self.SLOTS_PER_ROW + self.reach, device=x.device)
        # Clamped to the first and the last slot: no clip has a frame there, so they are zero.
        read = (start + read).flatten().clamp(0, slots - 1)
        x = torch.where(is_frame, x, 0.0)
        for weight, bias, norm in zip(self.weights, self.biases, self.norms, strict=True):
            groups = x.reshape(slots, self.groups, -1).transpose(0, 1)
            windows = groups.index_select(1, read).reshape(self.groups, rows, -1)
            x = (windows @ weight).reshape(self.groups, rows * self.SLOTS_PER_ROW, -1)
            x = x.transpose(0, 1).reshape(-1, width)[:slots]
            x = torch.where(is_frame, self.gelu(norm(x, bias=bias)), 0.0)
        return x


class FusedBlock(nn.Module):
    """One post-norm transformer block over tokens end to end, without empty slots."""

    def __init__(self, block: AltBlock):
        super().__init__()
        self.heads = block.attn.num_heads
        with torch.no_grad():
            width = block.attn.qkv.in_features
            scale = torch.ones(3, 1)
            # By a power of two, so exactly, in all published sizes.
            scale[0] = block.attn.scale
            weight = (
                block.attn.qkv.weight.reshape(3, self.heads, -1, width) * scale[..., None, None]
            )
            bias = block.attn.qkv.bias
            bias = torch.zeros(3 * width) if bias is None else bias
            # The operator wants each head's query, key and value together, but not their biases.
            self.qkv = nn.Parameter(
                weight.transpose(0, 1).reshape(3 * width, width).t().contiguous()
            )
            self.qkv_bias = nn.Parameter((bias.reshape(3, width) * scale).flatten())
        self.attended, self.attended_bias = _transposed(block.attn.proj)
        self.fc1, bias = _transposed(block.mlp.fc1)
        self.fc2, self.fc2_bias = _transposed(block.mlp.fc2)
        self.norm1, self.norm2 = Norm(block.norm1), Norm(block.norm2)
        self.gelu = Gelu(bias.shape[0], bias)

    def forward(self, x: Tensor, bias: Tensor, cells: Tensor, starts: Tensor) -> Tensor:
        """Maps [tokens, embed_dim] to the same shape; see ``operators.attention``."""
        tokens, width = x.shape
        qkv = (x @ self.qkv).reshape(tokens, self.heads, 3, width // self.heads)
        attended = attention(qkv, self.qkv_bias, cells, starts, bias.to(x.dtype))
        x = self.norm1(attended @ self.attended, x, self.attended_bias)
        return self.norm2(self.gelu(x @ self.fc1) @ self.fc2, x, self.fc2_bias)


def _transposed(linear: nn.Linear) -> tuple[nn.Parameter, nn.Parameter]:
    """The weight [in, out] and the bias [out] of a linear layer."""
    return nn.Parameter(linear.weight.t().contiguous()), nn.Parameter(linear.bias)


class FusedEncoder(PackedEncoder):
    """The packed encoder for CUDA."""

    frontend_type, positional_type = PiecewiseFrontend, PositionalProducts
    block_type, norm_type = FusedBlock, Norm
    opset = 20
    ALIGNMENT = 16
    """The fused kernel needs rows of the bias whose length is a multiple of this."""

    def transform(self, x: Tensor, layout: Layout) -> Tensor:
        """Applies the transformer blocks: maps [slots, embed_dim] to the same shape."""
        clips = layout.lengths.shape[0]
        longest = (layout.longest + self.ALIGNMENT - 1) // self.ALIGNMENT * self.ALIGNMENT
        # Clamped, so that no index leaves a tensor, whatever a client sends.
        lengths = layout.lengths.clamp(0, layout.longest)
        first_token = sums_before(lengths).clamp(max=layout.tokens)
        token = torch.arange(layout.tokens, device=x.device)
        clip = (token.unsqueeze(1) >= first_token).sum(1) - 1
        position = token - first_token.index_select(0, clip)
        slot = layout.slot(clip, position)

        # Behind the cells of the tokens come the empty ones: as many as there could be, then cut.
        first_gap = sums_before(longest - lengths)
        gap = torch.arange(clips * longest, device=x.device)
        gap_clip = (gap.unsqueeze(1) >= first_gap).sum(1) - 1
        gap = gap - (first_gap - lengths).index_select(0, gap_clip)
        cells = torch.cat([clip * longest + position, gap_clip * longest + gap])
        cells = cells[: clips * longest].clamp(0, clips * longest - 1).reshape(clips, longest)
        last = (first_token[-1:] + lengths[-1:]).clamp(max=layout.tokens)
        starts = torch.cat([first_token, last])

        x = x.index_select(0, slot)
        column = torch.arange(longest, device=x.device)
        for block, bias in zip(self.blocks, self.biases(column), strict=True):
            x = block(x, bias, cells.int(), starts.int())
        position = torch.minimum(layout.position, (lengths - 1).index_select(0, layout.slot_clip))
        back = first_token.index_select(0, layout.slot_clip) + position
        return x.index_select(0, back.clamp(0, layout.tokens - 1))

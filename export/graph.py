"""The exact-packing encoder: emotion2vec over many clips laid end to end, without padding.

FunASR runs emotion2vec one clip at a time, because padding changes its answers: the positional
convolutions read it (ddlBoJack/emotion2vec#37). Here a batch is one long waveform in which each
clip owns whole 320-sample slots and starts with ten empty ones::

    clip 0                                clip 1
    |10 empty slots|frames 0..T0-1|1-2|   |10 empty slots|frames 0..T1-1|1-2|  ...

Everything but attention works on that packed sequence. Later, the empty slots hold a clip's ten
extra tokens. Until then, they keep clips further apart than the positional convolutions reach.
No shape depends on tensor values: the batch size, the packed length, the total number of frames
and the longest clip are all shapes of inputs. Where a clip lies follows from the shapes of the
requests' tensors, so no request can reach into its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audio.layout import EXTRA_SLOTS, SLOT
from export.emotion2vec import AltBlock, Emotion2vec, get_alibi
from export.frontend import Frontend, Norm, PositionalConvolutions
from export.indices import at_least, at_most, sums_before, within

LARGEST = torch.finfo(torch.float32).max
MASKED = -1e4
"""Attention logit of an empty slot: exp() of it is 0 in fp32 and in fp16."""


class Block(nn.Module):
    """One post-norm transformer block over packed slots."""

    def __init__(self, block: AltBlock):
        super().__init__()
        self.heads = block.attn.num_heads
        self.qkv, self.attended = block.attn.qkv, block.attn.proj
        with torch.no_grad():
            # Scales the queries here: by a power of two, so exactly, in all published sizes.
            queries = self.qkv.in_features
            self.qkv.weight[:queries] *= block.attn.scale
            if self.qkv.bias is not None:
                self.qkv.bias[:queries] *= block.attn.scale
        self.norm1, self.norm2 = Norm(block.norm1), Norm(block.norm2)
        self.fc1, self.fc2 = block.mlp.fc1, block.mlp.fc2

    def forward(
        self, x: Tensor, bias: Tensor, mask: Tensor, to_grid: Tensor, to_packed: Tensor
    ) -> Tensor:
        """Maps [slots, embed_dim] to the same shape.

        Args:
            x: Packed slots.
            bias: [1, heads, longest, longest], added to the attention logits of every clip.
            mask: [clips, 1, 1, longest], added to those of every head and query. Separate
                from the bias, because their sum would be ``clips`` times as large as it.
            to_grid: [clips * longest], the packed slot of each cell of the attention grid.
            to_packed: [slots], the cell of each packed slot.
        """
        clips, longest = mask.shape[0], mask.shape[3]
        width = x.shape[1]
        qkv = self.qkv(x).index_select(0, to_grid)
        qkv = qkv.reshape(clips, longest, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        logits = (q @ k.transpose(-2, -1)).float() + bias + mask
        weights = torch.softmax(logits, dim=-1).to(x.dtype)
        attended = (weights @ v).transpose(1, 2).reshape(clips * longest, width)
        x = self.norm1(x + self.attended(attended.index_select(0, to_packed)))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


class Layout(NamedTuple):
    """Where each clip lies in a packed batch.

    Attributes:
        slots: Number of slots in the batch.
        tokens: Number of extra tokens and frames in the batch.
        longest: Slots of the longest clip.
        first_slot: int64 [clips], the slot where each clip starts.
        slot_count: int64 [clips], slots of each clip.
        lengths: int64 [clips], extra tokens and frames of each clip.
        slot_clip: int64 [slots], the clip that owns each slot.
        position: int64 [slots], each slot's position in its clip.
    """

    slots: int
    tokens: int
    longest: int
    first_slot: Tensor
    slot_count: Tensor
    lengths: Tensor
    slot_clip: Tensor
    position: Tensor

    def slot(self, clip: Tensor, position: Tensor) -> Tensor:
        """The slot at a position in a clip; a position behind the clip is its last slot."""
        position = torch.minimum(position, self.slot_count.index_select(0, clip) - 1)
        return within(self.first_slot.index_select(0, clip) + position, self.slots)


class PackedEncoder(nn.Module):
    """FunASR's ``Emotion2vec`` over packed clips, with pooling, head and softmax in the graph.

    Args:
        reference: The FunASR model that provides the weights, in eval mode.
        order: Row of the checkpoint's classification head for each of ``contract.LABELS``.
    """

    frontend_type: type[nn.Module] = Frontend
    positional_type: type[nn.Module] = PositionalConvolutions
    block_type: type[nn.Module] = Block
    norm_type: type[nn.Module] = Norm
    opset = 18

    def __init__(self, reference: Emotion2vec, order: list[int]):
        super().__init__()
        audio = reference.modality_encoders["AUDIO"]
        self.frontend = self.frontend_type(reference)
        self.positional = self.positional_type(reference)
        self.norm = self.norm_type(audio.context_encoder.norm)
        blocks = [*audio.context_encoder.blocks, *reference.blocks]
        self.blocks = nn.ModuleList(self.block_type(block) for block in blocks)

        # One row per extra token, and a zero row for all other slots.
        self.tokens = nn.Parameter(F.pad(audio.extra_tokens[0], (0, 0, 0, 1)))
        heads = audio.modality_cfg.num_alibi_heads
        slopes = -get_alibi(2, heads)[:, 0, 1]
        # [layers or 1, 1, heads or 1, 1, 1] -> [layers or 1, heads]
        scales = audio.alibi_scale.clamp_min(0).flatten(1)
        self.slopes = nn.Parameter(scales * slopes)

        self.head = nn.Linear(reference.proj.in_features, len(order))
        self.head.weight = nn.Parameter(reference.proj.weight[order])
        self.head.bias = nn.Parameter(reference.proj.bias[order])
        self.requires_grad_(False)

    def forward(
        self,
        waveform: Tensor,
        frames: Tensor,
        longest: Tensor,
        waveform_shape: Tensor,
        frames_shape: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encodes a batch of clips laid end to end.

        Args:
            waveform: FP32 [sum of the clips' slots * 320], normalised samples in the layout above.
            frames: INT32 [sum of the clips' frames], 0..T-1 for each clip in turn.
            longest: FP32, read only for its shape: [slots of the longest clip * 320].
            waveform_shape: INT32 [clips, 2], the slots of each clip, and 320.
            frames_shape: INT32 [clips, 1], the frames of each clip.

        Returns:
            scores FP32 [clips, 9]; embedding FP32 [clips, embed_dim]; frame_scores
            FP32 [all frames, 9]; frame_embedding FP32 [all frames, embed_dim].
        """
        slots = waveform.shape[0] // SLOT
        slot_count, row_count = waveform_shape[:, 0].long(), frames_shape[:, 0].long()
        clips = slot_count.shape[0]
        # As many frames as the clip says, but no more than fit into its slots: the last one ends in
        # the slot behind it.
        frame_count = at_least(torch.minimum(row_count, slot_count - EXTRA_SLOTS - 1), 0)
        clip = torch.arange(clips, device=waveform.device)
        first_slot, first_row = sums_before(slot_count), sums_before(row_count)

        slot = torch.arange(slots, device=waveform.device)
        slot_clip = (slot.unsqueeze(1) >= first_slot).sum(1) - 1
        position = slot - first_slot.index_select(0, slot_clip)
        is_frame = (position >= EXTRA_SLOTS) & (
            position < EXTRA_SLOTS + frame_count.index_select(0, slot_clip)
        )
        dtype = self.tokens.dtype
        # Chosen and not multiplied, because 0 * NaN is NaN.
        framed = is_frame.unsqueeze(1)

        x = self.frontend(waveform.to(dtype))
        x = torch.where(framed, x + self.positional(x, framed), 0.0)
        x = x + self.tokens.index_select(0, at_most(position, EXTRA_SLOTS))
        x = self.norm(x)

        layout = Layout(
            slots,
            frames.shape[0] + clips * EXTRA_SLOTS,
            longest.shape[0] // SLOT,
            first_slot,
            slot_count,
            frame_count + EXTRA_SLOTS,
            slot_clip,
            position,
        )
        x = self.transform(x, layout)

        # Pooling, head and softmax are cheap, so they always use fp32. A runtime that computes
        # matrix products in bf16 would round 1 / frames, so the sum is divided, not the weights.
        x = x.float()
        owner = (slot_clip == clip.unsqueeze(1)) & is_frame
        # A clip that is not finite gets NaN, and must not give it to its neighbours.
        finite = x.abs() <= LARGEST
        sums = owner.float() @ torch.where(finite, x, 0.0)
        broken = (owner & ((~finite).sum(1) > 0)).sum(1, keepdim=True)
        mean = sums / at_least(frame_count, 1).unsqueeze(1)
        embedding = torch.where(broken > 0, torch.nan, mean)

        row = torch.arange(frames.shape[0], device=waveform.device)
        row_clip = (row.unsqueeze(1) >= first_row).sum(1) - 1
        frame = at_least(frames.long(), 0) + EXTRA_SLOTS
        # A request that asks for frames that its clip does not have must not get its neighbours'.
        own = frame < layout.lengths.index_select(0, row_clip)
        frame_embedding = x.index_select(0, layout.slot(row_clip, frame))
        frame_embedding = torch.where(own.unsqueeze(1), frame_embedding, torch.nan)

        head, bias = self.head.weight.float(), self.head.bias.float()
        # Not a matrix product, for the same reason. The bias is one more column, because after a
        # sum, OpenVINO 2026.4 adds the first clip's biases along the clips.
        padded = F.pad(embedding, (0, 1), value=1.0).unsqueeze(1)
        logits = (padded * torch.cat([head, bias.unsqueeze(1)], dim=1)).sum(-1)
        scores = torch.softmax(logits, dim=-1)
        frame_scores = torch.softmax(F.linear(frame_embedding, head, bias), dim=-1)
        return scores, embedding, frame_scores, frame_embedding

    def transform(self, x: Tensor, layout: Layout) -> Tensor:
        """Applies the transformer blocks: maps [slots, embed_dim] to the same shape."""
        clips = layout.lengths.shape[0]
        column = torch.arange(layout.longest, device=x.device)
        # An empty cell reads the clip's own last slot: a mask does not stop a neighbour's NaN.
        used = column < layout.lengths.unsqueeze(1)
        clip = torch.arange(clips, device=x.device).unsqueeze(1).expand(-1, layout.longest)
        to_grid = layout.slot(clip.flatten(), column.expand(clips, -1).flatten())
        to_packed = layout.slot_clip * layout.longest + layout.position
        to_packed = within(to_packed, clips * layout.longest)
        mask = ((1 - used.float()) * MASKED)[:, None, None]
        for block, bias in zip(self.blocks, self.biases(column), strict=True):
            x = block(x, bias, mask, to_grid, to_packed)
        return x

    def biases(self, column: Tensor) -> Iterator[Tensor]:
        """Yields ALiBi's bias for each block, [1, heads, longest, longest] in fp32.

        Args:
            column: int64 [longest], 0, 1, and so on.
        """
        distance = self.distance(column)
        bias = None
        for layer in range(len(self.blocks)):
            if bias is None or self.slopes.shape[0] > 1:
                slopes = self.slopes[min(layer, self.slopes.shape[0] - 1)].float()
                bias = -slopes.reshape(1, -1, 1, 1) * distance
            yield bias

    @staticmethod
    def distance(column: Tensor) -> Tensor:
        """Returns ALiBi's distance in frames [1, 1, longest, longest].

        It is zero to and from extra tokens.
        """
        framed = column >= EXTRA_SLOTS
        distance = (column.unsqueeze(1) - column).abs() * (framed.unsqueeze(1) & framed)
        return distance.float()[None, None]

"""Clips put together to batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import get_worker_info


@dataclass
class ClipBatch:
    """A batch of clips.

    `ids` name them; `indices` [batch] say where in the data set, `places` [batch] where in the
    global batch they stand; `waveforms` [batch, samples] are zero-padded behind `num_samples`
    [batch]; `targets` [batch, …] exist where labels are read. Where transcripts are, they are
    `texts`, and their tokens `targets` [batch, tokens], zero-padded behind `num_targets` [batch].
    `rejected` names clips that others stand in for, and why.
    """

    ids: list[str]
    indices: Tensor
    places: Tensor
    waveforms: Tensor
    num_samples: Tensor
    targets: Tensor | None = None
    rejected: Sequence[tuple[str, str]] = ()
    num_targets: Tensor | None = None
    texts: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "ClipBatch":
        """Copies the tensors to a device, without waiting where the memory is pinned.

        Samples of 16 bits, which are half as much to copy, become numbers from -1 to 1 there.
        """
        batch = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        return replace(batch, waveforms=as_float(batch.waveforms))

    def pin_memory(self) -> "ClipBatch":
        """Pins the tensors' memory, for copies that do not wait; called by the DataLoader."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "ClipBatch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **{name: function(tensor) for name, tensor in tensors.items()})


def as_float(waveforms: Tensor) -> Tensor:
    """Makes numbers from -1 to 1 of samples of 16 bits; others stay as they are.

    Example
    -------
    >>> as_float(torch.tensor([-32768, 16384], dtype=torch.int16))
    tensor([-1.0000,  0.5000])
    """
    return waveforms.float() / 2**15 if waveforms.dtype == torch.int16 else waveforms


def collate(clips: Sequence[dict[str, Any]], least_samples: int = 0) -> ClipBatch:
    """Makes a batch of what a data set yields.

    Arguments
    ---------
    clips : sequence of dict
        `id`, `index`, `place`, `waveform` [samples] and, if there are labels, `target`; if there
        are transcripts, `text`, and `target` is its tokens; where it stands in for others,
        `rejected`.
    least_samples : int
        To how many samples short batches are padded. So that what is compiled sees one shape.

    Returns
    -------
    ClipBatch
        The batch.

    Example
    -------
    >>> clip = {"id": "a", "index": 3, "place": 0, "waveform": torch.ones(2)}
    >>> collate([clip, {**clip, "id": "b", "waveform": torch.ones(1)}]).waveforms.tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    """
    waveforms = [clip["waveform"] for clip in clips]
    if len({waveform.dtype for waveform in waveforms}) > 1:
        waveforms = [as_float(waveform) for waveform in waveforms]
    num_samples = [len(waveform) for waveform in waveforms]
    has_targets, has_texts = "target" in clips[0], "text" in clips[0]
    targets = [clip["target"] for clip in clips] if has_targets else []
    return ClipBatch(
        ids=[clip["id"] for clip in clips],
        indices=torch.tensor([clip["index"] for clip in clips]),
        places=torch.tensor([clip["place"] for clip in clips]),
        waveforms=_stack(waveforms, max(least_samples, *num_samples)),
        num_samples=torch.tensor(num_samples),
        targets=(pad_sequence(targets, True) if has_texts else torch.stack(targets))
        if has_targets
        else None,
        rejected=[pair for clip in clips for pair in clip.get("rejected", ())],
        num_targets=torch.tensor([*map(len, targets)]) if has_texts and has_targets else None,
        texts=[clip["text"] for clip in clips] if has_texts else (),
    )


def _stack(waveforms: Sequence[Tensor], length: int) -> Tensor:
    """Zero-pads waveforms to [batch, length].

    A loader's worker puts them where the training process will read them, as torch's own
    `default_collate` does: that spares a copy of each batch.
    """
    stacked = waveforms[0].new_empty(0)
    shape = (len(waveforms), length)
    if get_worker_info() is None:
        stacked.resize_(shape)
    else:
        num_bytes = len(waveforms) * length * stacked.element_size()
        stacked.set_(torch.UntypedStorage._new_shared(num_bytes), 0, shape)
    for row, waveform in zip(stacked, waveforms, strict=True):
        row[: len(waveform)] = waveform
        row[len(waveform) :] = 0
    return stacked

"""Recognising speech: an encoder and a head that say something of every moment of a recording."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ssast_recipes.model.classifiers import keep_from_training
from ssast_recipes.model.encoder import AudioSpectrogramTransformer


class WindowLayout(NamedTuple):
    """How a recording is cut for an encoder that is too short for it, counted in columns."""

    length: int  # columns of a window, the encoder's own
    hop: int  # columns from one window to the next: half of it

    def count(self, num_columns: Tensor) -> Tensor:
        """How many windows clips of so many columns take, one at least.

        Example
        -------
        >>> WindowLayout(8, 4).count(torch.tensor([1, 8, 9, 12, 13]))
        tensor([1, 1, 2, 2, 3])
        """
        return 1 + ((num_columns - self.length).clamp(min=0) + self.hop - 1) // self.hop

    def window_of(self, columns: Tensor, num_columns: Tensor) -> Tensor:
        """Which window tells of a column: of those that hold it, the one whose middle is nearest.

        Arguments
        ---------
        columns : Tensor
            [columns] int64.
        num_columns : Tensor
            The clips' own numbers of columns, [batch] int64.

        Returns
        -------
        Tensor
            [batch, columns] int64. It depends on the clip alone, not on those beside it.

        Example
        -------
        >>> layout = WindowLayout(8, 4)
        >>> layout.window_of(torch.arange(13), torch.tensor([13]))
        tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]])
        """
        nearest = (columns - (self.length - self.hop) // 2).clamp(min=0) // self.hop
        return nearest.unsqueeze(0).minimum(self.count(num_columns).unsqueeze(1) - 1)


class RecognitionModel(nn.Module):
    """Encoder and linear head: logits of tokens, for CTC, at every patch column.

    It takes recordings of any length, and padding changes nothing: the attention does not see it,
    and a clip's logits depend neither on it nor on the clips beside it. Up to the encoder's
    `target_length`, the first positions are used; make that longer, and pretrained positions are
    interpolated when they are loaded. A longer recording is cut into windows of that length that
    overlap by half, and each column is told of by the window in whose middle it is.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        The encoder, frame-based: its patches are as high as the spectrogram.
    head : nn.Module
        Tokens [batch, columns, width] to logits [batch, columns, num_tokens], as a `TokenHead`.
    freeze_encoder : bool
        Train the head alone.
    pool_rows : bool
        Take a patch-based encoder, too, and average the patches of a column.

    Raises
    ------
    ValueError
        If the encoder is patch-based, unless its columns are pooled.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.model.heads import TokenHead
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128, patch_size=(128, 2))
    >>> model = RecognitionModel(encoder, TokenHead(192, num_tokens=29))
    >>> model(torch.zeros(2, 300, 128), num_frames=torch.tensor([300, 50])).shape
    torch.Size([2, 150, 29])
    """

    def __init__(
        self,
        encoder: AudioSpectrogramTransformer,
        head: nn.Module,
        freeze_encoder: bool = False,
        pool_rows: bool = False,
    ):
        super().__init__()
        if encoder.grid_size[0] != 1 and not pool_rows:
            height, length = encoder.patch_size
            raise ValueError(
                f"recognition takes a frame-based encoder, with a token a moment; this one's "
                f"patches of {height} x {length} make {encoder.grid_size[0]} (patch_size: "
                f"[{encoder.num_mel_bins}, 2], or pool_rows: True to average them)"
            )
        self.encoder, self.head = encoder, head
        self.freeze_encoder, self.pool_rows = freeze_encoder, pool_rows
        columns = encoder.grid_size[1]
        self.layout = WindowLayout(columns, max(1, columns // 2))
        keep_from_training(encoder, freeze_encoder)

    def num_columns(self, num_frames: Tensor) -> Tensor:
        """Counts the columns of clips of so many frames, [batch]: whole patches, one at least.

        Example
        -------
        >>> from ssast_recipes.model.builders import ast_encoder
        >>> encoder = ast_encoder("tiny", depth=1, target_length=128, patch_size=(128, 2))
        >>> RecognitionModel(encoder, nn.Identity()).num_columns(torch.tensor([0, 2, 99]))
        tensor([ 1,  1, 49])
        """
        length, stride = self.encoder.patch_size[1], self.encoder.patch_stride[1]
        return (1 + (num_frames - length).div(stride, rounding_mode="floor")).clamp(min=1)

    def forward(self, spectrograms: Tensor, num_frames: Tensor) -> Tensor:
        """Maps spectrograms to logits.

        Arguments
        ---------
        spectrograms : Tensor
            Standardised spectrograms, [batch, frames, mel bins], of any length.
        num_frames : Tensor
            The clips' lengths in frames, [batch] int64.

        Returns
        -------
        Tensor
            Logits [batch, columns, tokens], of use up to `num_columns(num_frames)`.
        """
        length = self.encoder.patch_size[1]
        spectrograms = pad(spectrograms, (0, 0, 0, max(0, length - spectrograms.shape[1])))
        own = self.num_columns(num_frames)  # [batch]
        # Of a clip shorter than a patch, padding is part of its one column.
        past_end = torch.arange(spectrograms.shape[1], device=own.device) >= num_frames.unsqueeze(1)
        spectrograms = spectrograms.masked_fill(past_end.unsqueeze(2), 0.0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            if spectrograms.shape[1] <= self.encoder.target_length:
                tokens = self._encode(spectrograms, own)
            else:
                tokens = self._encode_windows(spectrograms, own)
        return self.head(tokens)

    def _encode(self, spectrograms: Tensor, own: Tensor) -> Tensor:
        """Tokens [batch, columns, width] of spectrograms that the encoder is long enough for."""
        length, stride = self.encoder.patch_size[1], self.encoder.patch_stride[1]
        columns = 1 + (spectrograms.shape[1] - length) // stride
        rows = self.encoder.grid_size[0]
        visible = torch.arange(columns, device=own.device) < own.unsqueeze(1)
        tokens = self.encoder(spectrograms, visible_patches=visible.repeat(1, rows)).patch_tokens
        return tokens if rows == 1 else tokens.unflatten(1, (rows, columns)).mean(dim=1)

    def _encode_windows(self, spectrograms: Tensor, own: Tensor) -> Tensor:
        """The same of longer ones, [batch, columns, width], put together of windows."""
        size, stride = self.encoder.target_length, self.encoder.patch_stride[1]
        frames = spectrograms.shape[1]
        total = self.num_columns(torch.tensor(frames))  # of the longest
        number = int(self.layout.count(total))
        needed = size + (number - 1) * self.layout.hop * stride
        spectrograms = pad(spectrograms, (0, 0, 0, max(0, needed - frames)))
        windows = spectrograms.unfold(1, size, self.layout.hop * stride)[:, :number]
        starts = self.layout.hop * torch.arange(number, device=own.device)  # in columns
        within = (own.unsqueeze(1) - starts).clamp(0, self.layout.length)  # [batch, windows]
        tokens = self._encode(windows.transpose(2, 3).flatten(0, 1), within.flatten())
        places = torch.arange(int(total), device=own.device)
        window = self.layout.window_of(places, own)  # [batch, columns]
        # Beyond a clip's end a place may lie in none of its windows: any column will do.
        inside = (places - starts[window]).clamp(max=self.layout.length - 1)
        place = window * self.layout.length + inside
        tokens = tokens.unflatten(0, (-1, number)).flatten(
            1, 2
        )  # [batch, windows * columns, width]
        return tokens.gather(1, place.unsqueeze(2).expand(-1, -1, tokens.shape[2]))

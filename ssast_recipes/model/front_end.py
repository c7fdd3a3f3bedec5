"""The encoder's input: log-mel spectrograms, standardised and of a fixed length."""

from torch import Tensor, nn
from torch.nn.functional import pad

from ssast_recipes.model.filterbank import LogMelFilterbank


class SpectrogramFrontEnd(nn.Module):
    """Turns waveforms into the encoder's input: standardised spectrograms of a fixed length.

    The log-mel spectrogram is cut at the end or padded to `target_length` frames, and standardised:
    `(x - mean) / (2 std)`. What works on the raw spectrogram, such as SpecAugment, goes between
    `forward(…, standardised=False)` and `standardise`.

    Arguments
    ---------
    filterbank : LogMelFilterbank
        Computes the log-mel spectrograms.
    target_length : int
        Length of the spectrograms in frames.
    mean : float
        Mean of the data set's log-mel values.
    std : float
        Standard deviation of the data set's log-mel values.
    pad_before_standardising : bool
        Where the zeros of the padding go. True, as in the released AST and SSAST: into the log-mel
        spectrogram, which makes them `-mean / (2 std)` in the end (0.467 for AudioSet). False, as
        in the SUPERB front end: into the standardised spectrogram.

    Raises
    ------
    ValueError
        If `target_length` is below 1 or `std` is not positive.

    Example
    -------
    >>> import torch
    >>> front_end = SpectrogramFrontEnd(
    ...     LogMelFilterbank(), target_length=1024, mean=-4.2677393, std=4.5689974
    ... )
    >>> spectrograms = front_end(torch.randn(2, 16000))
    >>> spectrograms.shape, round(spectrograms[0, -1, -1].item(), 4)
    (torch.Size([2, 1024, 128]), 0.467)
    """

    def __init__(
        self,
        filterbank: LogMelFilterbank,
        target_length: int,
        mean: float,
        std: float,
        pad_before_standardising: bool = True,
    ) -> None:
        super().__init__()
        if target_length < 1:
            raise ValueError(f"target_length must be at least 1 frame, not {target_length}")
        if not std > 0:
            raise ValueError(f"std must be positive, not {std}")
        self.filterbank = filterbank
        self.target_length = target_length
        self.mean = mean
        self.std = std
        # Standardised, the mean becomes 0.
        self.padding_value = 0.0 if pad_before_standardising else mean

    def forward(
        self, waveforms: Tensor, num_samples: Tensor | None = None, standardised: bool = True
    ) -> Tensor:
        """Returns the spectrograms, [batch, target_length, mel bins] float32.

        Arguments
        ---------
        waveforms : Tensor
            [batch, samples], as for `LogMelFilterbank.forward`.
        num_samples : Tensor, optional
            [batch] integers: the clips' lengths, if not all `samples`.
        standardised : bool
            False: `standardise` is still to come. Padding holds what that turns into the value
            that it is to have. (An argument, not a method: what is compiled is called.)
        """
        log_mel = self.filterbank(waveforms, num_samples, self.padding_value)
        missing = self.target_length - log_mel.shape[1]  # negative: cut
        spectrograms = pad(log_mel, (0, 0, 0, missing), value=self.padding_value)
        return self.standardise(spectrograms) if standardised else spectrograms

    def whole(self, waveforms: Tensor, num_samples: Tensor | None = None) -> Tensor:
        """Returns the log-mel spectrograms as long as the longest clip, not standardised.

        Neither cut nor padded to `target_length`: for a `RecognitionModel`, which takes any length.
        A batch of clips below a frame has one frame of padding.

        Example
        -------
        >>> import torch
        >>> front_end = SpectrogramFrontEnd(LogMelFilterbank(), target_length=128, mean=-5, std=2)
        >>> front_end.whole(torch.zeros(1, 32000)).shape
        torch.Size([1, 198, 128])
        """
        log_mel = self.filterbank(waveforms, num_samples, self.padding_value)
        return log_mel if log_mel.shape[1] else pad(log_mel, (0, 0, 0, 1), value=self.padding_value)

    def standardise(self, spectrograms: Tensor) -> Tensor:
        """Returns `(spectrograms - mean) / (2 std)`.

        Example
        -------
        >>> import torch
        >>> front_end = SpectrogramFrontEnd(LogMelFilterbank(), target_length=128, mean=-5, std=2)
        >>> front_end.standardise(torch.tensor([-5.0, -1.0]))
        tensor([0., 1.])
        """
        return (spectrograms - self.mean) / (2 * self.std)

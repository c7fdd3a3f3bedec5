"""Audio that libsndfile does not open, through PyAV, if `ssast-recipes[codecs]` is installed."""

import importlib.util
from collections.abc import Iterator
from typing import BinaryIO, Self

import numpy as np

UNKNOWN_LENGTH = 2**63 - 1  # as libsndfile has it


def has_codecs() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class CodecFile:
    """What a `soundfile.SoundFile` is to those who read, for other formats.

    It is read from its start on, and its length is known when all of it was.

    Arguments
    ---------
    file : str or binary file
        In any format that FFmpeg decodes; of several audio streams, the first is read.

    Raises
    ------
    OSError
        If it is damaged, or holds no audio; when samples are read, too.
    """

    frames = UNKNOWN_LENGTH
    subtype = format = "CODEC"
    extra_info = ""

    def __init__(self, file: str | BinaryIO):
        import av

        self._errors = (av.FFmpegError, EOFError)
        try:
            self._container = av.open(file)
            streams = self._container.streams.audio
            if not streams:
                self._container.close()
                raise OSError("there is no audio in it")
            self._stream = streams[0]
        except self._errors as error:
            raise OSError(str(error)) from error
        self.samplerate = self._stream.codec_context.sample_rate
        self.channels = self._stream.codec_context.layout.nb_channels
        self._blocks = self._decode()
        self._rest = np.zeros((0, self.channels), np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def seekable(self) -> bool:
        """Whether `seek` could be used."""
        return False

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Reads on from where the last call ended: float32 [samples, channels]."""
        parts, missing = [self._rest[:frames]], frames - len(self._rest)
        self._rest = self._rest[frames:]
        while missing > 0 and (block := next(self._blocks, None)) is not None:
            parts.append(block[:missing])
            self._rest = block[missing:]
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def _decode(self) -> Iterator[np.ndarray]:
        import av

        layout = self._stream.codec_context.layout
        convert = av.AudioResampler("flt", layout, self.samplerate)
        try:
            for frame in self._container.decode(self._stream):
                for part in convert.resample(frame):
                    yield part.to_ndarray().reshape(-1, self.channels)
            for part in convert.resample(None):
                yield part.to_ndarray().reshape(-1, self.channels)
        except self._errors as error:
            raise OSError(str(error)) from error

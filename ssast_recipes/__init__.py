"""Self-supervised audio spectrogram transformers (SSAST) on SpeechBrain."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Only when asked for, so that the command line need not wait for torch.
    if name in ("AudioClassifier", "AudioEncoder"):
        from ssast_recipes import inference

        return getattr(inference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Self-supervised audio spectrogram transformers (SSAST) on SpeechBrain."""

__version__ = "0.1.0"

"""Self-supervised audio spectrogram transformers (SSAST) on SpeechBrain."""

import lazy_loader

__version__ = "0.2.0"

# The names, in __init__.pyi, are imported when they are first asked for: `ssast` need not wait for
# torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

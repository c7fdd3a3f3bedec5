"""Parts: tensors in, tensors out; torch only."""

import lazy_loader

# The names, in __init__.pyi, are imported when they are first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

from .inference.classifying import AudioClassifier as AudioClassifier
from .inference.encoding import AudioEncoder as AudioEncoder

__version__: str

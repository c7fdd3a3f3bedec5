from .inference.models import AudioClassifier as AudioClassifier
from .inference.models import AudioEncoder as AudioEncoder

__version__: str

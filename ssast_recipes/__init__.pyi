from .inference.classifying import AudioClassifier as AudioClassifier
from .inference.encoding import AudioEncoder as AudioEncoder
from .inference.transcribing import AudioTranscriber as AudioTranscriber

__version__: str

"""SpeechBrain `Brain` classes: the training loops."""

from ssast_recipes.brains.classification import ClassificationBrain
from ssast_recipes.brains.pretraining import PretrainingBrain

__all__ = ["ClassificationBrain", "PretrainingBrain"]

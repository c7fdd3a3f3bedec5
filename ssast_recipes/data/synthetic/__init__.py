"""Small fabricated corpora in the exact layout of public ones, to run recipes without them."""

from ssast_recipes.data.synthetic.audioset import make_audioset
from ssast_recipes.data.synthetic.esc50 import make_esc50
from ssast_recipes.data.synthetic.iemocap import make_iemocap
from ssast_recipes.data.synthetic.librispeech import make_librispeech
from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound
from ssast_recipes.data.synthetic.speechcommands import make_speechcommands
from ssast_recipes.data.synthetic.voxceleb import make_voxceleb

__all__ = [
    "FAMILIES",
    "make_audioset",
    "make_esc50",
    "make_iemocap",
    "make_librispeech",
    "make_sound",
    "make_speechcommands",
    "make_voxceleb",
]

"""Small fabricated corpora in the exact layout of public ones, to run recipes without them."""

from ssast_recipes.data.synthetic.esc50 import make_esc50
from ssast_recipes.data.synthetic.sounds import FAMILIES, make_sound

__all__ = ["FAMILIES", "make_esc50", "make_sound"]

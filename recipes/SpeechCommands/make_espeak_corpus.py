"""Makes a corpus of spoken words in Speech Commands V2's layout, with espeak-ng.

python make_espeak_corpus.py /data/espeak
python train.py hparams/finetune_v2_patch.yaml --data_folder /data/espeak --num_classes 12
"""

import argparse

from ssast_recipes.data.synthetic.espeak import WORDS, make_espeak_corpus


def main() -> None:
    """Reads the command line; an error is one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="where speech_commands_v0.02 is made")
    parser.add_argument("--words", nargs="+", default=WORDS, metavar="WORD", help="what is said")
    parser.add_argument("--clips_per_word", type=int, default=400, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    arguments = parser.parse_args()
    try:
        make_espeak_corpus(**vars(arguments))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

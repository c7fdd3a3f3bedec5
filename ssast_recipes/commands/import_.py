"""`ssast import`: a model folder of ours out of a model of other makers."""

import argparse
from pathlib import Path

_MODELS = """known are, by the names of their weights:
  SSAST as released, for pretraining (heads included) or fine-tuned; AST as released
  distilled DeiT of its authors, of timm 1.x or of Hugging Face: an encoder to begin with
  ASTModel and ASTForAudioClassification of Hugging Face: the folder, its Trainer's, or the name
  on the Hub (owner/name, owner/name@revision)

nothing in SOURCE is executed. what a file does not tell is to be given: --pooling, --labels, …
names that are downloaded:
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `ssast import` to a parser."""
    from ssast_recipes.weights.downloads import cache_folder, released_weights

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MODELS + "\n".join(f"  {name}" for name in released_weights())
    parser.add_argument(
        "source", metavar="SOURCE", help="a weights file, a folder, or a name, of the Hub, too"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the model folder to be made")
    parser.add_argument("--target_length", type=int, metavar="FRAMES", help="length of the input")
    parser.add_argument(
        "--patch_stride",
        type=int,
        nargs=2,
        metavar=("MELS", "FRAMES"),
        help="from one patch to the next",
    )
    parser.add_argument("--pooling", choices=("mean", "prefix"), help="what is classified")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names, one a line")
    parser.add_argument("--label_kind", choices=("single", "multi"), help="labels of a clip")
    parser.add_argument("--mean", type=float, help="of the log-mel values, instead of the source's")
    parser.add_argument("--std", type=float, help="their deviation")
    parser.add_argument(
        "--cache",
        type=Path,
        default=cache_folder(),
        metavar="FOLDER",
        help="where downloads are kept (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Imports a model and tells what it is."""
    from ssast_recipes.weights.formats.conversion import Settings
    from ssast_recipes.weights.importing import describe_import, import_model

    labels = None if arguments.labels is None else _read_labels(arguments.labels)
    settings = Settings(
        target_length=arguments.target_length,
        patch_stride=None if arguments.patch_stride is None else tuple(arguments.patch_stride),
        pooling=arguments.pooling,
        labels=labels,
        label_kind=arguments.label_kind,
        mean=arguments.mean,
        std=arguments.std,
    )
    imported, config = import_model(arguments.source, arguments.out, settings, arguments.cache)
    print(describe_import(imported, config))
    print(f"Written to {arguments.out}")


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file of class names, one a line") from None
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise ValueError(f"{path}: holds no class names, one a line")
    return labels

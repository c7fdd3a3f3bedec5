"""From what a user calls a model to its files: a path, or a name that is downloaded."""

import re
from pathlib import Path

from ssast_recipes.data.tokenizer import TOKENIZER_FILE
from ssast_recipes.weights import downloads
from ssast_recipes.weights.formats.folder import CONFIG_FILE, WEIGHTS_FILE, find_model_folder

_HUB = "hf:"
_HUB_NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*?)(?:@([\w.-][\w./-]*))?")
# So end names of files, and hardly of models.
_FILES = (".bin", ".ckpt", ".csv", ".json", ".pt", ".pth", ".safetensors", ".yaml")
# Of other makers' models; what pickle has written is fetched if nothing else is there.
_TOLD = (CONFIG_FILE, "preprocessor_config.json")
_SAFE = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")


def hub_name(source: str | Path) -> tuple[str, str | None] | None:
    """Tells a name of a model on the Hugging Face Hub from a path.

    Arguments
    ---------
    source : str or Path
        `owner/name`, if it cannot be a path: neither is it one, nor is `owner` a folder here, nor
        does it end as files do. With `hf:` before it, it is a name in any case. Either may end in
        `@revision`: a branch, a tag or a commit.

    Returns
    -------
    tuple[str, str | None] or None
        Name and revision; None of what is none.

    Example
    -------
    >>> hub_name("hf:me/model@v1"), hub_name("me/model"), hub_name("runs/no/model")
    (('me/model', 'v1'), ('me/model', None), None)
    >>> hub_name("me/model.pth"), hub_name("/me/model")
    (None, None)
    """
    text = str(source)
    match = _HUB_NAME.fullmatch(text.removeprefix(_HUB))
    if match is None:
        return None
    name, revision = match.groups()
    may_be_path = Path(text).exists() or Path(text).parent.exists() or name.endswith(_FILES)
    return None if may_be_path and not text.startswith(_HUB) else (name, revision)


def fetch_model(source: str | Path) -> Path:
    """Finds a model folder here, or fetches it from the Hugging Face Hub.

    Arguments
    ---------
    source : str or Path
        A model folder, a training run's folder, or a name of `hub_name`: of that, only the
        configuration, the weights and, if there is one, the tokenizer are fetched.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name.

    Example
    -------
    >>> fetch_model("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder does not exist; give a model folder, or a run's folder
    """
    name = None if Path(source).exists() else hub_name(source)
    if name is None:
        return find_model_folder(source)
    files = [CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE]
    return find_model_folder(_fetch_from_hub(*name, files))


def fetch_weights(source: str | Path, cache: str | Path | None = None) -> Path:
    """Finds weights of any kind here, or downloads them.

    Arguments
    ---------
    source : str or Path
        A path, which is returned; a name of `released_weights`; or one of `hub_name`, of a model of
        ours or of Hugging Face's.
    cache : str or Path, optional
        Where released weights are kept, by default `cache_folder()`.

    Returns
    -------
    Path
        A file, or a folder, as of `find_weights`.

    Raises
    ------
    OSError
        If there is nothing of that name, or it cannot be had.

    Example
    -------
    >>> fetch_weights("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder does not exist; give a run's folder, a model folder, ...
    """
    if Path(source).exists():
        return Path(source)
    published = downloads.released_weights().get(str(source).lower())
    if published is not None:
        return downloads.fetch_released(published, Path(cache or downloads.cache_folder()))
    name = hub_name(source)
    if name is None:
        raise FileNotFoundError(
            f"{source} does not exist; give a run's folder, a model folder, a file, a name on the "
            "Hugging Face Hub (owner/name, hf:owner/name@revision), or one of the names that "
            "ssast import --help lists"
        )
    folder = _fetch_from_hub(*name, [*_TOLD, *_SAFE])
    if not any(path for pattern in _SAFE for path in folder.glob(pattern)):
        folder = _fetch_from_hub(*name, [*_TOLD, *_PICKLED])
    return folder


def _fetch_from_hub(name: str, revision: str | None, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    pinned = {} if revision is None else {"revision": revision}
    try:
        return Path(snapshot_download(name, allow_patterns=files, **pinned))
    except Exception as error:  # of the network, or of the Hub's answer
        reason = str(error).strip().partition("\n")[0]
        at = f" at {revision}" if revision else ""
        raise FileNotFoundError(
            f"{name}{at} is no folder here, and the Hugging Face Hub does not give it: {reason}"
        ) from None

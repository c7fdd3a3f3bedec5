"""From what a user calls a model to its folder: a path, or a name on the Hugging Face Hub."""

import re
from pathlib import Path

from ssast_recipes.weights.formats.folder import CONFIG_FILE, WEIGHTS_FILE, find_model_folder


def fetch_model(source: str | Path) -> Path:
    """Finds a model folder here, or fetches it from the Hugging Face Hub.

    Arguments
    ---------
    source : str or Path
        A model folder, a training run's folder, or `owner/name` on the Hub: of that, only the
        configuration and the weights are fetched.

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
    if Path(source).exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(source)):
        return find_model_folder(source)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(str(source), allow_patterns=[CONFIG_FILE, WEIGHTS_FILE])
    except Exception as error:  # of the network, or of the Hub's answer
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"{source} is no folder here, and the Hugging Face Hub does not give it: {reason}"
        ) from None
    return find_model_folder(folder)

"""A model folder to the Hugging Face Hub."""

import json
from pathlib import Path

from ssast_recipes.data.tokenizer import TOKENIZER_FILE
from ssast_recipes.system.errors import RunError
from ssast_recipes.weights.card import model_card
from ssast_recipes.weights.exporting import read_results
from ssast_recipes.weights.formats.folder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    find_model_folder,
    read_model_weights,
)
from ssast_recipes.weights.formats.huggingface_settings import MODEL_TYPE

_CARD = "README.md"
# Nothing else leaves the computer, whatever else lies in the folder.
_FILES = (WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE, "preprocessor_config.json", _CARD)


def push_model(
    source: str | Path, repository: str, private: bool = False, endpoint: str | None = None
) -> str:
    """Uploads a model folder in one commit, with a model card if it has none.

    Our own folders are checked first, whole.

    Arguments
    ---------
    source : str or Path
        A model folder, an evaluated run's folder, or what `ssast export --to huggingface` wrote.
    repository : str
        Its name on the Hub, `user/name`; made if it does not exist.
    private : bool
        Make it a private one, if it does not exist.
    endpoint : str, optional
        Address of the Hub, if another than Hugging Face's.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    FileNotFoundError
        If there is no model.
    ValueError
        If the model folder is damaged, or the name is not one.
    RunError
        If the Hub cannot be reached, or refuses.
    """
    # Imported here because only this needs it.
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    folder = find_model_folder(source)
    files: dict[str, Path | bytes] = {
        name: folder / name for name in _FILES if (folder / name).is_file()
    }
    if not _is_exported(folder, files):
        _, config = read_model_weights(folder)
        if _CARD not in files:
            card = model_card(config, read_results(folder), address=repository)
            files[_CARD] = card.encode("utf-8")
    api = HfApi(endpoint=endpoint, library_name="ssast-recipes")
    try:
        repository = api.create_repo(repository, private=private, exist_ok=True).repo_id
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Upload a model of ssast-recipes",
        )
    except HfHubHTTPError as error:
        raise RunError(f"{repository}: {error}; to log in: hf auth login") from None
    except HTTPError as error:
        raise RunError(f"{repository}: the Hub cannot be reached ({error})") from None
    return commit.commit_url


def _is_exported(folder: Path, files: dict[str, Path | bytes]) -> bool:
    """Whether it is a whole folder of Hugging Face's, not one of ours."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
        return config["model_type"] == MODEL_TYPE and WEIGHTS_FILE in files
    except (ValueError, TypeError, KeyError):
        return False

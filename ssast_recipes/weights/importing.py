"""A model folder of ours out of a model of other makers."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `ssast import --help` does not wait for torch
    from ssast_recipes.weights.formats.config import ModelConfig
    from ssast_recipes.weights.formats.conversion import Settings
    from ssast_recipes.weights.formats.foreign import ImportedModel


def import_model(
    source: str | Path,
    out: str | Path,
    settings: "Settings | None" = None,
    cache: str | Path | None = None,
) -> tuple["ImportedModel", "ModelConfig"]:
    """Makes a model folder of ours out of a model of other makers.

    Arguments
    ---------
    source : str or Path
        A weights file, a folder of Hugging Face's, a name of `released_weights`, or one on the
        Hugging Face Hub.
    out : str or Path
        The model folder to be made.
    settings : Settings, optional
        What the source does not tell.
    cache : str or Path, optional
        Where downloads are kept, by default `cache_folder()`.

    Returns
    -------
    imported : ImportedModel
        What the source was recognised as.
    config : ModelConfig
        What was made of it.

    Raises
    ------
    OSError
        If there is no such source, or `out` cannot be written.
    ValueError
        If the source is not readable, not known, holds values that are no numbers, or nothing tells
        one of its settings.

    Example
    -------
    >>> import torch
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> from ssast_recipes.weights.formats.conversion import Settings
    >>> from ssast_recipes.weights.formats.ssast import ours_to_released
    >>> folder = getfixture("tmp_path")
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> weights = ours_to_released(encoder.state_dict(prefix="encoder."))
    >>> torch.save(weights, folder / "SSAST.pth")
    >>> _, config = import_model(
    ...     folder / "SSAST.pth",
    ...     folder / "model",
    ...     Settings(target_length=128, patch_stride=(16, 16)),
    ... )
    >>> config.kind, config.architecture.embed_dim
    ('encoder', 192)
    """
    from ssast_recipes.system.files import file_digest
    from ssast_recipes.weights.finding import source_name
    from ssast_recipes.weights.formats.conversion import convert
    from ssast_recipes.weights.formats.folder import save_model
    from ssast_recipes.weights.formats.recognition import recognise
    from ssast_recipes.weights.formats.shards import digest_of_shards, is_index
    from ssast_recipes.weights.formats.tensors import check_finite, read_tensors

    path, provenance = _find_source(source, cache)
    if path.parent.resolve() == Path(out).resolve():
        raise ValueError(f"{out} is the source itself; choose another folder to be made")
    try:
        weights = read_tensors(path)
    except ValueError as error:
        if "url" not in provenance:
            raise
        path.unlink()  # a page that says why there is no file, perhaps
        raise ValueError(
            f"{error}; it was downloaded from {provenance['url']}, and is deleted"
        ) from None
    try:
        imported = recognise(weights, path.parent)
        check_finite(imported.weights)
        model, config = convert(imported, settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    provenance |= {
        "source": source_name(path),
        "source_sha256": digest_of_shards(path) if is_index(path) else file_digest(path),
        "imported_from": imported.description,
    }
    config = save_model(
        *(out, model, config.front_end, config.labels, config.label_kind or "single", provenance)
    )
    return imported, config


def _find_source(source: str | Path, cache: str | Path | None) -> tuple[Path, dict[str, str]]:
    """The weights file, and where it is from if it was downloaded."""
    from ssast_recipes.weights.downloads import released_weights
    from ssast_recipes.weights.finding import find_weights
    from ssast_recipes.weights.source import fetch_weights, hub_name

    found = fetch_weights(source, cache)
    path = find_weights(found)
    if Path(source).exists():
        return path, {}
    if found.is_file():
        row = released_weights()[str(source).lower()]
        return path, {"name": row.name, "url": row.url, "publisher": row.publisher}
    # A snapshot is kept in a folder that its commit names.
    return path, {"hub": hub_name(source)[0], "revision": found.name}


def describe_import(imported: "ImportedModel", config: "ModelConfig") -> str:
    """Tells what was recognised, what was made of it and what was left over, in a few lines.

    Arguments
    ---------
    imported : ImportedModel
        What the source was recognised as.
    config : ModelConfig
        What was made of it.

    Returns
    -------
    str
        The lines.
    """
    from ssast_recipes.model.builders import size_name
    from ssast_recipes.model.patches import compute_grid_size

    sizes = config.architecture
    numbers = {key: getattr(sizes, key) for key in ("embed_dim", "depth", "num_heads")}
    grid = compute_grid_size(
        sizes.num_mel_bins, sizes.target_length, sizes.patch_size, sizes.patch_stride
    )
    before = tuple(imported.geometry.get("grid_size", grid))
    fitted = "" if before == grid else f"; positions fitted to it from {before[0]} x {before[1]}"
    heads = ", ".join(sorted(imported.heads)).replace("_head", " head") or "none"
    lines = [
        f"Recognised: {imported.description}",
        f"Encoder: {size_name(numbers) or 'of no published size'}, {sizes.embed_dim} wide, "
        f"{sizes.depth} blocks, {sizes.num_heads} attention heads",
        f"Patches: {_pair(sizes.patch_size)} every {_pair(sizes.patch_stride)} (mel bins x frames)",
        f"Input: {sizes.num_mel_bins} mel bins, {sizes.target_length} frames: a grid of "
        f"{_pair(grid)} patches{fitted}",
        f"Front end: {config.front_end.sample_rate} Hz, mean {config.front_end.mean:g}, deviation "
        f"{config.front_end.std:g}",
        f"On the encoder: {heads}",
    ]
    if config.classifier is not None:
        labels = ", ".join(config.labels[:3]) + (", …" if len(config.labels) > 3 else "")
        several = "several labels" if config.label_kind == "multi" else "one label"
        lines.append(
            f"Classes: {len(config.labels)} ({labels}), {several} a clip, of the "
            f"{'mean of the patches' if config.classifier.pooling == 'mean' else 'prefix tokens'}"
        )
    if "encoder.mask_token" not in imported.weights:
        lines.append("Not in it: a mask token, which becomes zeros")
    lines.append(f"Left over: {', '.join(imported.left_over) or 'nothing'}")
    return "\n".join(lines)


def _pair(sizes: tuple[int, int]) -> str:
    return f"{sizes[0]} x {sizes[1]}"

"""Models of other makers into models of ours: settled settings, adapted positions, same weights."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssast_recipes.model.encoder import NUM_PREFIX_TOKENS
from ssast_recipes.model.grid import adapt_positions
from ssast_recipes.model.patches import compute_grid_size
from ssast_recipes.weights.formats.config import (
    Architecture,
    ClassifierConfig,
    FrontEndConfig,
    HeadsConfig,
    ModelConfig,
    check_config,
)
from ssast_recipes.weights.formats.description import build_model
from ssast_recipes.weights.formats.foreign import ImportedModel

_AUDIOSET_CLASSES = 527  # a clip has several of these
_PRETRAINING_HEADS = {"contrastive_head", "reconstruction_head"}


@dataclass(frozen=True)
class Settings:
    """What the user tells of a model, instead of what its files tell or do not tell.

    Arguments
    ---------
    target_length : int, optional
        Length of the spectrograms in frames.
    patch_stride : tuple[int, int], optional
        Mel bins and frames from one patch to the next.
    pooling : str, optional
        A classifier's: "mean" or "prefix".
    labels : tuple of str, optional
        A classifier's classes.
    label_kind : str, optional
        "single" or "multi".
    mean, std : float, optional
        Statistics of the front end.
    """

    target_length: int | None = None
    patch_stride: tuple[int, int] | None = None
    pooling: str | None = None
    labels: tuple[str, ...] | None = None
    label_kind: str | None = None
    mean: float | None = None
    std: float | None = None


def convert(
    imported: ImportedModel, settings: Settings | None = None
) -> tuple[nn.Module, ModelConfig]:
    """Makes a model of ours, with position embeddings cut or stretched to its grid.

    Arguments
    ---------
    imported : ImportedModel
        What was recognised.
    settings : Settings, optional
        What the user tells.

    Returns
    -------
    model : nn.Module
        An encoder, a `ClassificationModel` or a `MaskedPatchModel`. A mask token that there is not
        becomes zeros.
    config : ModelConfig
        Its configuration.

    Raises
    ------
    ValueError
        If something is told by neither, or the weights are not those of such a model.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=1, target_length=128)
    >>> weights = encoder.state_dict(prefix="encoder.")
    >>> geometry = weights.pop("encoder._extra_state")
    >>> deit = ImportedModel("an encoder of 8 x 8 patches", weights, geometry, [])
    >>> longer, config = convert(deit, Settings(target_length=256))
    >>> longer.grid_size, config.kind
    ((8, 16), 'encoder')
    """
    settings = settings or Settings()
    config = configure(imported, settings)
    check_config(config)
    weights = _fit(imported, config)
    with torch.device("meta"):  # so that a file that claims to be huge is refused before it is
        _check_shapes(weights, _weights_of(build_model(config)))
    model = build_model(config)
    if config.kind == "encoder":
        weights = {name.removeprefix("encoder."): value for name, value in weights.items()}
    model.load_state_dict(weights, strict=False)  # all but the geometry, as was checked
    return model.eval(), config


def configure(imported: ImportedModel, settings: Settings) -> ModelConfig:
    """Settles what a model of ours would be, before one is made: see `convert`.

    Arguments
    ---------
    imported : ImportedModel
        What was recognised.
    settings : Settings
        What the user tells.

    Returns
    -------
    ModelConfig
        Its configuration, of which nothing is checked yet.

    Raises
    ------
    ValueError
        If something is told by neither.
    """
    architecture = _architecture(imported, settings)
    statistics = {"mean": settings.mean, "std": settings.std}
    statistics = {key: value for key, value in statistics.items() if value is not None}
    values = {"sample_rate": 16000, **imported.front_end, **statistics}
    front_end = FrontEndConfig(
        sample_rate=values["sample_rate"],
        num_mel_bins=architecture.num_mel_bins,
        frame_length=25.0,
        frame_shift=10.0,
        low_frequency=20.0,
        high_frequency=0.0,
        target_length=architecture.target_length,
        mean=values["mean"],
        std=values["std"],
        pad_before_standardising=True,
    )
    of_classifier = ("pooling", "labels", "label_kind")
    told = [f"--{key}" for key in of_classifier if getattr(settings, key) is not None]
    if told and not imported.num_classes:
        raise ValueError(f"it has no classifier, which {', '.join(told)} would be of; leave it out")
    if imported.heads & _PRETRAINING_HEADS:
        heads = HeadsConfig(
            contrastive="contrastive_head" in imported.heads,
            reconstruction="reconstruction_head" in imported.heads,
        )
        return ModelConfig("pretraining", architecture, front_end, heads=heads)
    if not imported.num_classes:
        return ModelConfig("encoder", architecture, front_end)
    pooling = settings.pooling or imported.pooling
    if pooling is None:
        raise ValueError(
            "nothing tells the classifier's pooling; give --pooling mean if SSAST's code "
            "fine-tuned it, --pooling prefix if AST's did"
        )
    several = imported.num_classes == _AUDIOSET_CLASSES
    return ModelConfig(
        "classifier",
        architecture,
        front_end,
        classifier=ClassifierConfig("ClassificationModel", "ClassificationHead", pooling=pooling),
        labels=_labels(imported, settings),
        label_kind=settings.label_kind or imported.label_kind or ("multi" if several else "single"),
    )


def _labels(imported: ImportedModel, settings: Settings) -> tuple[str, ...]:
    count = imported.num_classes
    labels = settings.labels or imported.labels or tuple(str(index) for index in range(count))
    if len(labels) != count:
        raise ValueError(f"{len(labels)} labels are given for its {count} classes")
    if len(set(labels)) < count:
        raise ValueError(
            f"its {count} classes have {len(set(labels))} names; give others: --labels"
        )
    return labels


def _architecture(imported: ImportedModel, settings: Settings) -> Architecture:
    geometry = imported.geometry
    patch_size = tuple(geometry["patch_size"])
    target_length, patch_stride = imported.target_length, imported.patch_stride
    if target_length is None and "grid_size" in geometry:  # pictures: as SSAST is pretrained
        target_length, patch_stride = 1024, patch_size
    if settings.target_length is not None:
        target_length = settings.target_length
    if settings.patch_stride is not None:
        patch_stride = settings.patch_stride
    if target_length is None or patch_stride is None:
        raise ValueError(
            f"nothing tells the input of its {imported.num_patches} patches; give "
            "--target_length FRAMES and --patch_stride MELS FRAMES, as it was fine-tuned with"
        )
    return Architecture(
        embed_dim=geometry["embed_dim"],
        depth=geometry["depth"],
        num_heads=geometry["num_heads"],
        num_mel_bins=imported.num_mel_bins or 128,
        target_length=target_length,
        patch_size=patch_size,
        patch_stride=tuple(patch_stride),
    )


def _fit(imported: ImportedModel, config: ModelConfig) -> dict[str, Tensor]:
    """The weights in 32-bit, with positions of the configuration's grid."""
    sizes = config.architecture
    to_grid = compute_grid_size(
        sizes.num_mel_bins, sizes.target_length, sizes.patch_size, sizes.patch_stride
    )
    from_grid = tuple(imported.geometry.get("grid_size", to_grid))
    weights = {name: value.float() for name, value in imported.weights.items()}
    positions = weights["encoder.position_embedding"]
    prefix, patches = positions[:, :NUM_PREFIX_TOKENS], positions[:, NUM_PREFIX_TOKENS:]
    patches = adapt_positions(patches, from_grid, to_grid)
    weights["encoder.position_embedding"] = torch.cat([prefix, patches], dim=1)
    weights.setdefault("encoder.mask_token", torch.zeros(1, 1, positions.shape[2]))
    return weights


def _weights_of(model: nn.Module) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    return (
        named if hasattr(model, "encoder") else {f"encoder.{name}": named[name] for name in named}
    )


def _check_shapes(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in sorted(found.keys() ^ expected.keys()):
        state = "missing" if name in expected else "not a weight of such a model"
        raise ValueError(f"{name} is {state}")
    for name, value in expected.items():
        if found[name].shape != value.shape:
            shapes = f"{list(found[name].shape)}, not {list(value.shape)}"
            raise ValueError(f"{name} is of shape {shapes}")

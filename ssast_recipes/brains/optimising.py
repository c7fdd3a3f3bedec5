"""What happens to gradients and learning rates in a step."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ssast_recipes.brains.logs import NonFiniteLossError


def make_optimizer(
    opt_class: Callable[..., Optimizer],
    groups: Iterable[dict[str, Any]],
    device_type: str,
    spare_vectors: bool = False,
) -> Optimizer:
    """Makes an optimiser of parameter groups, each with a learning rate of its own.

    Arguments
    ---------
    opt_class : callable
        Makes it of groups; a partial may hold further options.
    groups : iterable of dict
        With `params` and, optionally, `lr_factor`: the group's learning rate over the optimiser's.
    device_type : str
        On "cuda", one kernel makes a step, if the optimiser has such a one (`fused`).
    spare_vectors : bool
        Whether biases and norms go without weight decay.

    Returns
    -------
    Optimizer
        Its groups tell their own rate as `initial_lr`.

    Example
    -------
    >>> groups = [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr_factor": 10}]
    >>> optimizer = make_optimizer(lambda groups: torch.optim.SGD(groups, lr=0.5), groups, "cpu")
    >>> optimizer.param_groups[0]["initial_lr"]
    5.0
    """
    if spare_vectors:
        groups = [part for group in groups for part in _split_vectors(group)]
    optimizer = opt_class(groups, **fused_option(opt_class, device_type))
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = group["lr"] * group.pop("lr_factor", 1)
    return optimizer


def layer_groups(
    encoder: nn.Module, parameters: Sequence[nn.Parameter], decay: float
) -> list[dict[str, Any]]:
    """Groups parameters by depth, the deeper with a higher learning rate (BEiT, Bao et al., 2022).

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        What has the `blocks`, its final `norm` and, below them, the patch embedding.
    parameters : sequence of nn.Parameter
        Those to be trained, of the encoder and of what stands on it.
    decay : float
        A block's learning rate over that of the block above it. The last block's is `decay` times
        that of what stands on the encoder, which is the optimiser's, as the final norm's is.

    Returns
    -------
    list of dict
        `params` and `lr_factor`, from the patch embedding up.

    Example
    -------
    >>> from ssast_recipes.model.builders import ast_encoder
    >>> encoder = ast_encoder("tiny", depth=2, target_length=32)
    >>> groups = layer_groups(encoder, list(encoder.parameters()), decay=0.5)
    >>> [(group["lr_factor"], len(group["params"])) for group in groups]
    [(0.125, 6), (0.25, 12), (0.5, 12), (1.0, 2)]
    """
    top = len(encoder.blocks) + 1
    layer_of = dict.fromkeys(encoder.parameters(), 0)
    layer_of |= dict.fromkeys(encoder.norm.parameters(), top)
    for index, block in enumerate(encoder.blocks, 1):
        layer_of |= dict.fromkeys(block.parameters(), index)
    groups: list[dict[str, Any]] = [
        {"params": [], "lr_factor": decay ** (top - layer)} for layer in range(top + 1)
    ]
    for parameter in parameters:
        groups[layer_of.get(parameter, top)]["params"].append(parameter)
    return groups


def head_groups(
    model: nn.Module, head: nn.Module, head_lr_factor: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups the parameters that train: the encoder's, and those of the head on it.

    Arguments
    ---------
    model : nn.Module
        With an `encoder`.
    head : nn.Module
        What stands on it.
    head_lr_factor : float
        Its learning rate over that of the encoder's last layers, which is the optimiser's.
    layer_decay : float
        A block's learning rate over that of the block above it: see `layer_groups`.

    Returns
    -------
    list of dict
        `params` and, where it is not 1 throughout, `lr_factor`; the head's last.

    Example
    -------
    >>> model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
    >>> [group.get("lr_factor") for group in head_groups(model, model["head"], 10, 1)]
    [None, 10]
    """
    chosen = [p for p in head.parameters() if p.requires_grad]
    in_head = set(chosen)
    body = [p for p in model.parameters() if p.requires_grad and p not in in_head]
    groups = [{"params": body}]
    if layer_decay != 1:
        groups = layer_groups(model.encoder, body, layer_decay)
    groups.append({"params": chosen, "lr_factor": head_lr_factor})
    return [group for group in groups if group["params"]]


def fused_option(opt_class: Callable[..., Optimizer], device_type: str) -> dict[str, bool]:
    """On a GPU, one kernel a step in place of several a parameter, if the optimiser has it."""
    given = getattr(opt_class, "keywords", {})  # of a partial
    chosen = {"fused", "foreach", "capturable", "differentiable"} & {*given}
    has_it = "fused" in inspect.signature(opt_class).parameters
    return {"fused": True} if device_type == "cuda" and has_it and not chosen else {}


def learning_rates(optimizer: Optimizer) -> list[float]:
    """The groups' own learning rates, before any schedule."""
    return [group["initial_lr"] for group in optimizer.param_groups]


def check_learning_rates(optimizer: Optimizer, asked: Sequence[float], folder: Path) -> None:
    """Refuses to resume with other learning rates: the optimiser's own state would win.

    Raises
    ------
    ValueError
        If the rates recovered from a folder are not those asked for.
    """
    found = learning_rates(optimizer)
    if found != asked:
        raise ValueError(
            f"{folder} was trained with learning rates {found}, not {asked}; give those, or choose "
            "another output_folder"
        )


def make_step(
    optimizer: Optimizer, scaler: torch.GradScaler, factor: float, max_norm: float
) -> Tensor | None:
    """Steps by the gradients there are, and forgets them.

    Arguments
    ---------
    optimizer : Optimizer
        From `make_optimizer`.
    scaler : torch.GradScaler
        What has scaled the loss.
    factor : float
        What every group's learning rate is multiplied by.
    max_norm : float
        To which the gradients of all groups together are clipped; not at all if 0 or below.

    Returns
    -------
    Tensor or None
        [] on the device: the norm that the gradients had, if they are clipped.
    """
    norm = None
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    if max_norm > 0:
        scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, max_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm


def check_weights(modules: nn.Module, step: int) -> None:
    """Refuses weights that a gradient spoilt, though the loss before it was finite.

    Raises
    ------
    NonFiniteLossError
        If one is not finite.
    """
    weights = [parameter.detach() for parameter in modules.parameters()]
    if not torch.stack([values.isfinite().all() for values in weights]).all():
        raise NonFiniteLossError(
            f"the weights are not finite after step {step} and not saved; lower the learning rate, "
            "set max_grad_norm, or check the data"
        )


def _split_vectors(group: dict[str, Any]) -> Sequence[dict[str, Any]]:
    matrices = [parameter for parameter in group["params"] if parameter.ndim > 1]
    vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return {**group, "params": matrices}, {**group, "params": vectors, "weight_decay": 0.0}

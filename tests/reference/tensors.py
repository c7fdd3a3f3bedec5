"""What the cases of several families share: keys of models, and norms of their tensors."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ssast_recipes.model.builders import SIZES
from ssast_recipes.weights.formats.ssast import ours_to_released
from tests.reference.comparisons import Comparison, exact, relative

# How a key names the weights and the model, for `parse` and for people.
MODEL = rf"(?P<kind>hash|sin)/(?P<size>{'|'.join(SIZES)})/p(?P<rows>\d+)x(?P<columns>\d+)"
MODEL_FORM = f"{{hash|sin}}/{{{'|'.join(SIZES)}}}/p{{rows}}x{{columns}}"


def released_parameters(model: nn.Module) -> dict[str, Tensor]:
    return ours_to_released(dict(model.named_parameters()), prefix="")


def norm(values: Tensor) -> float:
    return values.detach().double().norm().item()


def compare_gradients(
    case: Mapping[str, Any], model: nn.Module, tolerance: float = 2e-4
) -> list[Comparison]:
    norms = {
        name: norm(parameter.grad)
        for name, parameter in released_parameters(model).items()
        if parameter.grad is not None
    }
    total = math.hypot(*norms.values())
    # The true gradient is zero: a shift of all similarities of one softmax changes nothing.
    without_gradient = re.compile(r"cpredlayer\.2\.bias")
    floor = 1e-3 * case.get("grad_l2_global", total)
    return (
        exact(case, {"n_grad_tensors": len(norms)})
        + relative(case, {"grad_l2_global": total}, tolerance=2e-4)
        + relative(case, {"grad_l2_sum": sum(norms.values())}, tolerance)
        + compare_tensors(case, "grad_l2", norms, tolerance, without_gradient, floor)
    )


def compare_tensors(
    case: Mapping[str, Any],
    field: str,
    ours: Mapping[str, float],
    tolerance: float,
    left_out: re.Pattern,
    floor: float = 0.0,
) -> list[Comparison]:
    theirs = {
        name: value for name, value in case.get(field, {}).items() if not left_out.fullmatch(name)
    }
    unknown = theirs.keys() - ours.keys()
    if unknown:
        raise ValueError(f"{field}: we train no {', '.join(sorted(unknown))}")
    return relative(theirs, ours, tolerance, floor, prefix=f"{field} ")

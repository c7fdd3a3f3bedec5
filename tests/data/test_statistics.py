import pytest
import torch

from ssast_recipes.data.statistics import spectrogram_statistics


def test_batches_of_any_size_give_the_statistics_of_all_values(device):
    values = torch.randn(10_000, device=device) * 4.57 - 4.27
    batches = [part.reshape(-1, 1) for part in values.split([1, 999, 4000, 5000])]
    mean, std = spectrogram_statistics(batches)
    assert mean == pytest.approx(values.double().mean().item(), abs=1e-12)
    assert std == pytest.approx(values.double().std(correction=0).item(), abs=1e-12)
    assert type(mean) is type(std) is float


def test_order_does_not_matter(device):
    batches = [torch.randn(size, 128, device=device) * size + size for size in (3, 50, 7)]
    assert spectrogram_statistics(batches) == pytest.approx(
        spectrogram_statistics(batches[::-1]), rel=1e-13
    )


def test_a_distant_mean_costs_no_digits(device):
    # The mean of squares minus the square of the mean would lose all of them.
    offsets = torch.tensor([-1.0, 1.0], dtype=torch.float64, device=device)
    mean, std = spectrogram_statistics([offsets + 1e8] * 1000)
    assert (mean, std) == (1e8, pytest.approx(1.0, rel=1e-12))


def test_many_single_precision_values_are_summed_in_double_precision(device):
    mean, std = spectrogram_statistics([torch.full((1 << 20,), 0.1, device=device)] * 3)
    assert mean == pytest.approx(float(torch.tensor(0.1)), abs=1e-14)
    assert std == pytest.approx(0.0, abs=1e-12)


def test_a_generator_is_read_once_and_empty_tensors_are_left_out():
    parts = (torch.tensor(values) for values in ([1.0], [], [3.0]))
    assert spectrogram_statistics(parts) == (2.0, 1.0)


@pytest.mark.parametrize("spectrograms", [[], [torch.zeros(0, 128)]])
def test_no_values_are_an_error(spectrograms):
    with pytest.raises(ValueError, match="there are no spectrograms"):
        spectrogram_statistics(spectrograms)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_an_error(device, value):
    batches = [torch.ones(3, device=device), torch.tensor([1.0, value], device=device)]
    with pytest.raises(ValueError, match="not finite"):
        spectrogram_statistics([*batches, torch.ones(3, device=device)])

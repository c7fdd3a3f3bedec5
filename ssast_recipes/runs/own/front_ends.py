"""The filterbank of a pretraining: as asked for, as the audio has it, or as an encoder heard."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssast_recipes.runs.own.geometry import SAMPLE_RATE, choose_mel_range
from ssast_recipes.runs.own.request import check_frames

ASKED = ("sample_rate", "num_mel_bins", "low_frequency", "high_frequency")  # by options
_MOST_EMPTY = 1  # mel bins without a frequency: 128 up to 8 kHz have one, as published


def choose_front_end(request: Mapping[str, Any], rates: Sequence[int]) -> dict[str, Any]:
    """Chooses the filterbank's numbers by what is asked for and the files' sample rates.

    Arguments
    ---------
    request : mapping
        Of the command; a value, or None, of each key of `ASKED`.
    rates : sequence of int
        Of the files, in Hz.

    Returns
    -------
    dict[str, Any]
        Arguments of `LogMelFilterbank`, which are values of the YAML file, too.

    Raises
    ------
    ValueError
        If the audio or the filterbank cannot have what is asked for.

    Example
    -------
    >>> choose_front_end(dict.fromkeys(ASKED), [8000, 8000])
    {'sample_rate': 16000, 'num_mel_bins': 64, 'high_frequency': 4000.0}
    """
    rate = request["sample_rate"] or SAMPLE_RATE
    if request["sample_rate"] and rate > max(SAMPLE_RATE, *rates):
        raise ValueError(
            f"--sample-rate {rate}: the audio has {max(rates)} Hz at most; give that or less"
        )
    low, high = request["low_frequency"], request["high_frequency"]
    if high and high > rate / 2:
        raise ValueError(
            f"--high-frequency {high:g} is above {rate / 2:g} Hz, half of the sample rate; give "
            "less, or a higher --sample-rate"
        )
    mels = choose_mel_range(rates, rate, high)
    top = mels.high_frequency or rate / 2
    if low and low >= top:
        raise ValueError(f"--low-frequency {low:g} is not below {top:g} Hz, where mel bins end")
    front_end = {
        "sample_rate": rate,
        "num_mel_bins": request["num_mel_bins"] or mels.num_mel_bins,
        "high_frequency": mels.high_frequency,
        **({"low_frequency": low} if low else {}),
    }
    if any(request[key] for key in ASKED):
        _check_filters(front_end)
    return front_end


def _check_filters(front_end: Mapping[str, Any]) -> None:
    from ssast_recipes.model.filterbank import LogMelFilterbank

    empty = int((LogMelFilterbank(**front_end).filters.sum(dim=0) == 0).sum())
    if empty > _MOST_EMPTY:
        raise ValueError(
            f"{empty} of {front_end['num_mel_bins']} mel bins are too narrow to hold any frequency "
            f"at {front_end['sample_rate']} Hz; give fewer --num-mel-bins, or a wider range"
        )


def inherit_front_end(request: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, int]]:
    """Takes the filterbank's numbers and the patch size from pretrained weights.

    Arguments
    ---------
    request : mapping
        Of the command: `init_from`, and as of `choose_front_end`.

    Returns
    -------
    tuple
        Numbers, as of `choose_front_end`; mel bins and frames of a patch.

    Raises
    ------
    ValueError
        If another front end is asked for, or no plan is for theirs.
    """
    from ssast_recipes.weights.encoders import describe_encoder

    encoder = describe_encoder(request["init_from"])
    check_frames(encoder)
    front_end = {key: getattr(encoder.front_end, key) for key in ASKED}
    top = front_end["high_frequency"] or encoder.front_end.sample_rate / 2
    for key, own in {**front_end, "high_frequency": top}.items():
        if request[key] and request[key] != own:
            raise ValueError(
                f"{request['init_from']} has {key} {own:g}, which stays as it is: leave out "
                f"--{key.replace('_', '-')}, or --init-from"
            )
    return front_end, encoder.architecture.patch_size

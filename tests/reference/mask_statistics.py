"""The statistics of masks that the reference numbers describe."""

import numpy as np
from scipy import ndimage


def mask_statistics(masked_indices: np.ndarray, grid_size: tuple[int, int]) -> dict:
    """Statistics over many masks, under the keys of the reference cases.

    Arguments
    ---------
    masked_indices : np.ndarray
        [draws, masked] integers, patch index = frequency row * time columns + time column.
    grid_size : tuple[int, int]
        (frequency, time). The keys `p_patch1` and `p_patch511` mean the second and the last patch.

    Returns
    -------
    statistics : dict
        Masked shares by row, column and patch; [mean, standard error] of what differs by mask.

    Example
    -------
    >>> statistics = mask_statistics(np.array([[0, 1, 4], [0, 1, 5]]), grid_size=(2, 3))
    >>> statistics["row_freq"], statistics["n_components"], statistics["largest_component"][0]
    ([0.6666666666666666, 0.3333333333333333], [1.5, 0.5], 2.5)
    """
    masked_indices = np.asarray(masked_indices)
    draws, num_patches = len(masked_indices), grid_size[0] * grid_size[1]
    masks = np.zeros((draws, num_patches), dtype=bool)
    np.put_along_axis(masks, masked_indices, True, axis=1)
    share = masks.mean(axis=0)
    counts = masks.sum(axis=1)
    masks = masks.reshape(draws, *grid_size)

    # 4-connected within a mask, without wrapping; masks do not touch each other.
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 1)
    labels, total = ndimage.label(masks, structure)
    sizes = np.bincount(labels.ravel(), minlength=total + 1)
    sizes[0] = 0
    first_cells = np.unique(labels.ravel(), return_index=True)[1][-total:]
    components = np.bincount(first_cells // num_patches, minlength=draws)
    largest = sizes[labels].max(axis=(1, 2))

    # Of the neighbours that masked patches have inside the grid, the share that is masked.
    filled = neighbours = 0
    for axis in (1, 2):
        lower = masks.take(range(grid_size[axis - 1] - 1), axis=axis)
        upper = masks.take(range(1, grid_size[axis - 1]), axis=axis)
        filled = filled + 2 * (lower & upper).sum(axis=(1, 2))
        neighbours = neighbours + lower.sum(axis=(1, 2)) + upper.sum(axis=(1, 2))

    last_row_parts = np.array_split(share[-grid_size[1] :], min(16, grid_size[1]))

    return {
        "draws": draws,
        "masked_mean": float(counts.mean()),
        "masked_min": int(counts.min()),
        "row_freq": share.reshape(grid_size).mean(axis=1).tolist(),
        "col_freq": share.reshape(grid_size).mean(axis=0).tolist(),
        "freq_min": float(share.min()),
        "freq_max": float(share.max()),
        "p_patch0": float(share[0]),
        "p_patch1": float(share[1]),
        "p_patch511": float(share[-1]),
        "n_components": _mean_and_error(components),
        "largest_component": _mean_and_error(largest),
        "neighbour_frac": _mean_and_error(filled / neighbours),
        "highest_index": _mean_and_error(masked_indices.max(axis=1)),
        "p_last_row_16": [float(part.mean()) for part in last_row_parts],
        "unsorted": int((np.diff(masked_indices, axis=1) <= 0).any(axis=1).sum()),
    }


def _mean_and_error(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]

"""Stopping early, when validation has not improved for long."""

from typing import Any


class EarlyStopping:
    """Counts the validations since the last new best.

    Arguments
    ---------
    patience : int, optional
        How many in a row without a new best end training; by default none do.

    Raises
    ------
    ValueError
        If the patience is below 1.

    Example
    -------
    >>> stopping = EarlyStopping(patience=2)
    >>> for score in (0.5, 0.6, 0.6, 0.4):
    ...     stopping.observe(score)
    >>> stopping.is_due
    True
    """

    def __init__(self, patience: int | None = None):
        if patience is not None and patience < 1:
            raise ValueError(f"patience is {patience}; give 1 validation or more, or null")
        self.patience = patience
        self.best = float("-inf")
        self.num_bad = 0

    @property
    def is_due(self) -> bool:
        """Whether training is to end."""
        return self.patience is not None and self.num_bad >= self.patience

    def observe(self, score: float) -> None:
        """Takes note of a validation score; higher is better."""
        if score > self.best:
            self.best, self.num_bad = score, 0
        else:
            self.num_bad += 1

    def state_dict(self) -> dict[str, Any]:
        """Returns what has been observed, in plain Python."""
        return {"best": self.best, "num_bad": self.num_bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` returned."""
        self.best, self.num_bad = state["best"], state["num_bad"]

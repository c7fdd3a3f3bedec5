import pytest

from ssast_recipes.records.configuration import changed_keys

BEFORE = "lr: 0.1\nnum_steps: 10\n"


@pytest.mark.parametrize(
    "key",
    [
        *("num_steps", "valid_interval", "patience", "checkpoint_interval", "log_interval"),
        *("max_rejected", "probe_data", "probe_interval"),
    ],
)
def test_how_long_a_run_goes_on_may_change(key):
    assert changed_keys(BEFORE, f"lr: 0.1\n{key}: 7\n") == []
    assert changed_keys(f"{BEFORE}{key}x: 3\n", f"{BEFORE}{key}x: 7\n") == [f"{key}x"]


def test_what_is_computed_may_not_change():
    now = "lr: 0.2\nnum_steps: 10\naverage_epochs: [3, 4]\n"
    assert changed_keys(BEFORE, now) == ["average_epochs", "lr"]


def test_more_clips_may_be_bad_than_preparation_thought():
    before, now = (
        f"prepare: !name:prepare\n    seed: {seed}\n    max_rejected: {share}\n"
        for seed, share in ((1, 0.01), (1, 0.5))
    )
    assert changed_keys(before, now) == []
    assert changed_keys(before, now.replace("seed: 1", "seed: 2")) == ["prepare"]

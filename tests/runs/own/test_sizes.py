"""Models and steps that fit the time, whatever a step takes."""

import pytest
import torch

from ssast_recipes.runs.own import budget, plans, sizes
from ssast_recipes.runs.own.geometry import Geometry
from ssast_recipes.runs.own.plans import Corpus
from ssast_recipes.runs.own.sizes import choose_model
from ssast_recipes.runs.own.timing import make_model, measure_step

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FRAMES = Geometry("frame", 64, 64, (64, 2))
ASKED = dict.fromkeys(("objective", "size", "init_from", "steps", "minutes", "probe_data"))
VALUES = {"num_mel_bins": 64, "padding": "masked", "precision": "fp32"}
SPEECH = Corpus(2000, 900.0, 0.001, 0)


@pytest.fixture
def choose(monkeypatch):
    """`choose(per_weight, …)`: a step takes so many seconds a weight and clip."""
    for module in (sizes, plans):
        monkeypatch.setattr(module, "free_memory", lambda device: 16e9)
    for module in (budget, plans):
        monkeypatch.setattr(module, "num_cores", lambda: 2)

    def plan(per_weight, minutes=10.0, corpus=SPEECH, geometry=FRAMES, device=CPU, **asked):
        def step(model, values, device):
            weights = sum(parameter.numel() for parameter in model.parameters())
            return per_weight * weights * values["batch_size"]

        monkeypatch.setattr("ssast_recipes.runs.own.timing.measure_step", step)
        request = {**ASKED, "minutes": minutes, **asked}
        left = 60 * (minutes or 30.0)
        return choose_model(VALUES, geometry, corpus, request, device, left)

    return plan


def test_the_larger_model_is_taken_where_it_gets_many_steps(choose):
    slow, fast = choose(1.3e-9), choose(1e-10)
    assert (slow.values["embed_dim"], slow.values["depth"]) == (128, 4)
    assert (fast.values["embed_dim"], fast.values["depth"]) == (192, 6)
    assert "192 wide with 6 blocks would make " in slow.why and "fewer than 6,000" in slow.why
    for chosen in (slow, fast):
        assert chosen.values["num_steps"] > 6000 and chosen.values["batch_size"] == 64
        assert chosen.values["lr"] == 1e-3 and chosen.values["warmup_steps"] == 100
        assert chosen.values["num_masked_patches"] == 24


@pytest.mark.parametrize("per_weight", [1e-10, 1e-9, 1e-8, 3e-8])
@pytest.mark.parametrize("minutes", [4.0, 10.0, 30.0])
def test_all_fits_the_time(choose, per_weight, minutes):
    chosen = choose(per_weight, minutes)
    assert chosen.seconds <= 60 * minutes
    is_full = chosen.values["num_steps"] in (30000, 31000)  # a thousand passes
    assert is_full or chosen.seconds > 0.85 * 60 * minutes


def test_on_a_slow_machine_batches_are_smaller_rather_than_steps_few(choose):
    chosen = choose(2e-8)
    assert chosen.values["batch_size"] == 16 and chosen.values["num_steps"] >= 1500
    whole = choose(2e-8, minutes=None, steps=500)
    assert (whole.values["batch_size"], whole.values["num_steps"]) == (64, 500)


def test_steps_and_minutes_are_whichever_ends_first(choose):
    assert choose(1e-9, 10.0, steps=300).values["num_steps"] == 300
    assert choose(1e-8, 1.0, steps=10**6).values["num_steps"] < 10**4
    assert choose(1e-8, None, steps=10**5).values["num_steps"] == 10**5


def test_probes_validations_and_reading_take_time(choose):
    plain = choose(1e-8).values
    probed = choose(1e-8, corpus=SPEECH._replace(num_probed=1000)).values
    slow = choose(1e-8, corpus=SPEECH._replace(seconds_to_read=0.1)).values
    for other in (probed, slow):
        assert other["num_steps"] < plain["num_steps"]


def test_little_audio_is_kept_in_memory_and_much_is_not(choose):
    little = choose(1e-9).values
    assert (little["keep_in_memory"], little["num_workers"]) == (True, 0)
    much = choose(1e-9, corpus=Corpus(10**6, 3.6e6, 0.001, 0)).values
    assert (much["keep_in_memory"], much["num_workers"]) == (False, 2)
    slow = choose(1e-12, minutes=6000.0, corpus=Corpus(10**6, 3.6e6, 0.01, 0))
    assert slow.step_seconds == pytest.approx(64 * 0.01)  # one worker beside the training


def test_size_on_a_gpu_is_by_hours(choose):
    for hours, size in ((0.5, "tiny"), (3, "small"), (500, "base")):
        corpus = Corpus(10**5, 3600.0 * hours, 0.001, 0)
        assert sizes._candidates(ASKED, corpus, GPU) == [{"size": size}]
    values = choose(1e-11, 240.0, corpus, device=GPU, size="small").values
    assert (values["size"], values["lr"]) == ("small", 5e-4)
    assert (values["decoder_depth"], values["decoder_dim"], values["decoder_heads"]) == (2, 192, 6)
    assert not values["keep_in_memory"]


def test_ssast_is_planned_as_published_with_clusters_that_vary(choose):
    def ssast(kind, bins, length, size):
        geometry = Geometry(kind, bins, length, size)
        return choose(1e-9, geometry=geometry, objective="ssast", size="tiny").values

    large = ssast("patch", 64, 1024, (16, 16))
    assert large["cluster_factors"] == [3, 4, 5] and large["num_masked_patches"] == 200
    assert large["batch_size"] == 24 and large["lr"] == 5e-4 and "decoder_dim" not in large
    assert ssast("patch", 64, 64, (32, 8))["cluster_factors"] != [3, 4, 5]
    assert ssast("frame", 64, 64, (64, 2))["cluster_factors"] == [1]


@pytest.mark.parametrize("objective", ["autoencoder", "ssast"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_timed_is_a_step(objective, precision):
    decoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    values = {
        **VALUES,
        **{"size": "tiny", "embed_dim": 32, "depth": 1, "num_heads": 2, "batch_size": 3},
        **{"target_length": 32, "patch_size": [64, 2], "num_masked_patches": 12},
        **(decoder if objective == "autoencoder" else {}),
        "precision": precision,
    }
    model, seen = make_model(values), []
    model.register_forward_hook(
        lambda module, arguments, output: seen.append(
            (arguments[0].shape, arguments[1].shape, torch.is_autocast_enabled("cpu"))
        )
    )
    assert 0 < measure_step(model, values, CPU) < 5
    assert set(seen) == {((3, 32, 64), (3, 12), precision == "bf16")} and len(seen) >= 2
    assert (type(model).__name__ == "MaskedAutoencoder") == (objective == "autoencoder")


def test_a_plan_of_few_steps_says_that_they_teach_little(choose):
    few, enough = choose(2e-7, minutes=1.0), choose(1.3e-9)
    (_, told), (_, fine) = (sizes.describe(one, SPEECH, 10.0, 0.0) for one in (few, enough))
    assert few.values["num_steps"] < 300 and told.endswith("teach little: give more --minutes")
    assert enough.values["num_steps"] > 1000 and "teach little" not in fine

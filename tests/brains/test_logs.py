import json
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssast_recipes.brains.logs import LossWindow, TrainingLog, peak_memory

from .tiny import Clips, classification_brain, fit

draw = Figure.draw


def test_numbers_come_back_to_the_bit(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    records = [{"step": step, "loss": 1 / (3 + step), "epoch": 1} for step in range(20)]
    for record in records:
        log.write("train", record)
    assert TrainingLog(tmp_path).read() == [{"stage": "train", **record} for record in records]


def test_what_was_not_written_to_the_end_is_left_out(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    for step in (1, 2):
        log.write("train", {"step": step, "loss": 0.5})
    whole = log.path.read_text()
    for length in range(len(whole)):
        log.path.write_text(whole[:length])
        assert [record["step"] for record in log.read()] == [1, 2][
            : whole.count("}\n", 0, length + 1)
        ]


def test_rewinding_forgets_what_came_after_a_step(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    for step in (1, 2, 3, 4):
        log.write("train", {"step": step, "loss": 0.1 * step})
        if step % 2 == 0:
            log.write("valid", {"step": step, "loss": 0.3 * step})
    before = log.read()
    log.rewind(3)
    assert log.read() == [record for record in before if record["step"] <= 3]
    log.write("train", {"step": 4, "loss": 0.4})
    assert log.read()[-1] == {"stage": "train", "step": 4, "loss": 0.4}
    assert len(log.read()) == 5
    log.rewind(0)
    assert log.read() == []
    assert [path.name for path in tmp_path.glob("metrics*")] == ["metrics.jsonl"]


def test_lines_that_are_lost_are_told(tmp_path, caplog):
    """A checkpoint of step 4 was saved after step 4's line."""
    log = TrainingLog(tmp_path, tensorboard=False)
    for step in (1, 2, 3, 4):
        log.write("train", {"step": step})
    log.rewind(4)
    assert not caplog.messages
    log.path.write_text(log.path.read_text()[: len(log.path.read_text()) // 2 + 3])
    log.rewind(4)
    log.path.unlink()
    log.rewind(4)
    assert [
        f"step {step} of the 4 that were" in caplog.messages[i] for i, step in enumerate((2, 0))
    ]
    assert len(caplog.messages) == 2


def test_rewinding_mends_a_line_that_a_kill_cut_off(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    for step in (1, 2):
        log.write("train", {"step": step})
    log.path.write_text(log.path.read_text()[:-6])
    log.rewind(2)
    log.write("train", {"step": 2})
    assert [record["step"] for record in log.read()] == [1, 2]


def test_an_empty_folder_is_no_trouble(tmp_path):
    log = TrainingLog(tmp_path / "new", tensorboard=False)
    log.rewind(5)
    assert log.read() == [] and not (tmp_path / "new").exists()
    log.close()


def test_validations_are_written_to_be_read(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    log.write("train", {"step": 1, "loss": 2.0})
    log.write("valid", {"step": 1, "epoch": 3, "loss": 1.23456789})
    text = (tmp_path / "train_log.txt").read_text()
    assert text == "valid: step 1, epoch 3, loss 1.235\n"


def test_tensorboard_shows_every_number_by_stage_and_step(tmp_path):
    log = TrainingLog(tmp_path)
    for step in (10, 20):
        log.write("train", {"step": step, "loss": step / 4, "note": "text"})
    log.write("valid", {"step": 20, "accuracy": 0.5})
    log.figure("reconstruction", Figure(figsize=(1, 1)), step=20)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "valid/accuracy"}
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 2.5), (20, 5.0)]
    assert [e.step for e in events.Images("reconstruction")] == [20]
    assert (tmp_path / "pictures" / "reconstruction_00000020.png").exists()


def test_a_figure_is_drawn_once_for_its_file_and_for_tensorboard(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "draw", lambda self, *args: drawn.append(draw(self, *args)))
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots().imshow(np.arange(6).reshape(2, 3))
    log = TrainingLog(tmp_path)
    log.figure("picture", figure, step=7)
    log.close()
    assert len(drawn) == 1
    path = tmp_path / "pictures" / "picture_00000007.png"
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (shown,) = events.Images("picture")
    in_file, in_tensorboard = imread(path), imread(BytesIO(shown.encoded_image_string), "png")
    assert in_file.shape == (50, 100, 4) and len(np.unique(in_file)) > 10
    assert np.array_equal(in_file, in_tensorboard)
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def test_lines_are_plain_json(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    log.write("test", {"step": 1, "best": 0.5})
    assert json.loads(log.path.read_text()) == {"stage": "test", "step": 1, "best": 0.5}


def test_the_norm_of_gradients_is_logged_where_they_are_clipped(tmp_path):
    brain = classification_brain(tmp_path, max_grad_norm=1e-4, log_interval=2)
    seen, step = [], brain.optimizers_step

    def watched():
        gradients = [value.grad for value in brain.modules.parameters() if value.grad is not None]
        seen.append(torch.cat([one.flatten() for one in gradients]).norm().item())
        return step()

    brain.optimizers_step = watched
    fit(brain, Clips(8))
    found = [one["gradient_norm"] for one in brain.log.read() if one["stage"] == "train"]
    assert found == pytest.approx([sum(seen[:2]) / 2, sum(seen[2:]) / 2], rel=1e-5)
    free = fit(classification_brain(tmp_path / "free"), Clips(8))
    assert not any("gradient_norm" in one for one in free.log.read())


def test_steps_that_were_not_made_have_no_norm():
    """A scaler passes over gradients that are not finite."""
    window = LossWindow()
    for norms, mean in (((2.0, float("inf"), 4.0), 3.0), ((float("nan"),), None)):
        for norm in norms:
            window.add({"loss": torch.tensor(1.0)}, step=1, num_clips=1)
            window.add_norm(torch.tensor(norm))
        assert window.read().get("gradient_norm") == mean


def test_a_gpu_tells_the_most_memory_that_was_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    assert peak_memory("cuda:0") == {"peak_memory_gib": 1.5}
    assert peak_memory("cpu") == {}

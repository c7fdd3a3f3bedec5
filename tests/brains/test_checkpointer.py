import errno
import logging
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
import yaml
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks
from speechbrain.utils.epoch_loop import EpochCounter

from ssast_recipes.brains import checkpointer as checkpointer_module
from ssast_recipes.brains.checkpointer import AtomicCheckpointer

from .tiny import Clips, Killed, classification_brain, fit, kill_at, pretraining_brain


@register_checkpoint_hooks
class Number:
    """Something to save, that calls `while_saving` half-way."""

    def __init__(self, value: int = 0, while_saving=lambda: None):
        self.value, self.while_saving = value, while_saving

    @mark_as_saver
    def save(self, path):
        with open(path, "w") as file:
            file.write("4")
            file.flush()
            self.while_saving()
            file.write(str(self.value))

    @mark_as_loader
    def load(self, path, end_of_epoch):
        if len(path.read_text()) != 2:
            raise RuntimeError(f"{path} is cut off")
        self.value = int(path.read_text()[1])


def folders(path):
    return sorted(folder.name for folder in path.iterdir())


def test_metadata_come_back_as_plain_python(tmp_path):
    meta = {
        "double": np.float64(0.1),
        "single": np.float32(0.5),
        "whole": np.int64(3),
        "truth": np.bool_(True),
        "tensor": torch.tensor(0.25),
        "count": torch.tensor(7),
        "text": "as it is",
        "nothing": None,
    }
    AtomicCheckpointer(tmp_path, {"number": Number()}).save_checkpoint(meta=meta)
    found = AtomicCheckpointer(tmp_path, {"number": Number()}).recover_if_possible()
    plain = {key: (found.meta[key], type(found.meta[key])) for key in meta}
    assert plain == {
        "double": (0.1, float),
        "single": (0.5, float),
        "whole": (3, int),
        "truth": (True, bool),
        "tensor": (0.25, float),
        "count": (7, int),
        "text": ("as it is", str),
        "nothing": (None, type(None)),
    }


def test_nothing_is_to_be_seen_of_a_checkpoint_before_it_is_whole(tmp_path):
    seen = []
    number = Number(1)
    checkpointer = AtomicCheckpointer(tmp_path, {"number": number})
    other = AtomicCheckpointer(tmp_path, {"number": Number()})
    number.while_saving = lambda: seen.append(other.list_checkpoints() + [*tmp_path.glob("CKPT*")])
    saved = checkpointer.save_checkpoint()
    assert seen == [[]]
    assert other.list_checkpoints() == [saved]
    assert folders(tmp_path) == [saved.path.name]
    assert saved.paramfiles["number"].read_text() == "41"


def test_checkpoints_of_one_second_get_names_of_their_own(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"number": Number()})
    assert len({checkpointer.save_checkpoint().path for _ in range(3)}) == 3
    assert checkpointer.save_checkpoint(name="mine").path == tmp_path / "CKPT+mine"


def test_a_kill_while_saving_costs_only_that_checkpoint(tmp_path):
    number = Number(1)
    checkpointer = AtomicCheckpointer(tmp_path, {"number": number})
    kept = checkpointer.save_checkpoint(meta={"step": 1})
    child = os.fork()
    if child == 0:
        number.value, number.while_saving = 2, lambda: os.kill(os.getpid(), signal.SIGKILL)
        checkpointer.save_checkpoint(meta={"step": 2})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(folders(tmp_path)) == 2  # what it left
    number.value = 0
    found = AtomicCheckpointer(tmp_path, {"number": number}).recover_if_possible()
    assert (number.value, found.meta["step"]) == (1, 1)
    assert folders(tmp_path) == [kept.path.name]


def test_a_save_that_fails_says_so_and_leaves_nothing(tmp_path):
    number = Number(1)
    checkpointer = AtomicCheckpointer(tmp_path, {"number": number})
    kept = checkpointer.save_checkpoint()

    def fail():
        raise OSError(28, "No space left on device")

    number.while_saving = fail
    with pytest.raises(OSError, match=f"{tmp_path}: a checkpoint cannot be written"):
        checkpointer.save_checkpoint()
    assert folders(tmp_path) == [kept.path.name]


def test_recovers_nothing_where_nothing_is(tmp_path):
    assert AtomicCheckpointer(tmp_path, {"number": Number()}).recover_if_possible() is None


def brain_with_two_checkpoints(folder):
    """A Brain that was killed after its second epoch, and its checkpoints, newest first."""
    brain = classification_brain(folder, checkpoints_to_keep=3, num_epochs=3)
    kill_at(brain, 5)
    with pytest.raises(Killed):
        fit(brain, Clips(8), Clips(3))
    found = brain.checkpointer.find_checkpoints()
    assert [checkpoint.meta["step"] for checkpoint in found] == [4, 2]
    return found


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def corrupt(path):
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def empty(path):
    path.write_bytes(b"")


def cut_lines(path):
    """What is left of the Brain's state is YAML, too."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))


def test_a_state_that_lacks_its_end_is_broken(tmp_path):
    newest, _ = brain_with_two_checkpoints(tmp_path)
    cut_lines(newest.path / "brain.ckpt")
    brain = classification_brain(tmp_path, num_epochs=1)
    brain.on_fit_start()
    assert brain.optimizer_step == 2


@pytest.mark.parametrize("damage", [truncate, corrupt, empty, os.remove])
@pytest.mark.parametrize("name", ["model", "optimizer", "brain", "epoch_counter", "CKPT"])
def test_a_broken_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog, name, damage):
    newest, before = brain_with_two_checkpoints(tmp_path)
    damage(newest.path / (f"{name}.yaml" if name == "CKPT" else f"{name}.ckpt"))
    brain = classification_brain(tmp_path, num_epochs=1)
    caplog.set_level(logging.WARNING)
    brain.on_fit_start()
    assert brain.optimizer_step == 2
    assert brain.hparams.epoch_counter.current == 1
    saved = torch.load(before.paramfiles["model"])
    assert torch.equal(brain.modules.model.encoder.mask_token, saved["encoder.mask_token"])
    steps = {int(state["step"]) for state in brain.optimizer.state_dict()["state"].values()}
    assert steps == {2}
    warnings = [message for message in caplog.messages if str(newest.path) in message]
    assert len(warnings) == 1 and "is broken" in warnings[0]


def test_the_second_best_is_taken_where_the_best_is_broken(tmp_path):
    number = Number()
    checkpointer = AtomicCheckpointer(tmp_path, {"number": number})
    saved = {}
    for number.value, score in ((1, 0.5), (2, 0.9), (3, 0.7), (4, 0.1)):
        saved[score] = checkpointer.save_checkpoint(meta={"score": score})
    saved[0.9].paramfiles["number"].unlink()
    found = checkpointer.recover_if_possible(max_key="score")
    assert (number.value, found.meta["score"]) == (3, 0.7)
    assert checkpointer.recover_if_possible(min_key="score").meta["score"] == 0.1


@pytest.mark.parametrize("name", ["number.ckpt", "CKPT.yaml"])
def test_starting_anew_over_broken_checkpoints_is_refused(tmp_path, name):
    checkpointer = AtomicCheckpointer(tmp_path, {"number": Number()})
    for _ in range(2):
        truncate(checkpointer.save_checkpoint().path / name)
    with pytest.raises(
        RuntimeError, match=f"{tmp_path}: none of 2 checkpoints can be read; remove"
    ):
        checkpointer.recover_if_possible()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": {"embed_dim": 32}}, "embed_dim is 16 there, 32 here"),
        ({"encoder": {"num_heads": 4}}, "num_heads is 2 there, 4 here"),  # no shape tells
        ({"num_classes": 5}, "classifier.linear"),
    ],
)
def test_a_sound_checkpoint_of_another_model_is_an_error(tmp_path, change, message):
    newest, _ = brain_with_two_checkpoints(tmp_path)
    before = folders(tmp_path / "save")
    with pytest.raises(ValueError, match=message):
        classification_brain(tmp_path, **change).on_fit_start()
    assert folders(tmp_path / "save") == before


def test_keeps_the_newest_and_the_best(tmp_path):
    brain = pretraining_brain(tmp_path, checkpoints_to_keep=2)
    brain.on_fit_start()
    for step, score in enumerate((0.5, 0.9, 0.3, 0.7, 0.1, 0.2, 0.0)):
        brain.save({"step": step, "valid_score": score}, end_of_epoch=False)
    kept = brain.checkpointer.find_checkpoints()
    assert [checkpoint.meta["step"] for checkpoint in kept] == [6, 5, 3, 1]


def test_a_saved_epoch_counter_knows_whether_its_epoch_had_ended(tmp_path):
    counter = EpochCounter(5)
    checkpointer = AtomicCheckpointer(tmp_path, {"counter": counter})
    for end_of_epoch, following in ((True, 3), (False, 2)):
        counter.current = 2
        checkpointer.save_checkpoint(end_of_epoch=end_of_epoch)
        time.sleep(0.01)
        checkpointer.recover_if_possible()
        assert next(counter) == following


def test_metadata_file_is_readable_with_a_safe_loader(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"number": Number()})
    saved = checkpointer.save_checkpoint(meta={"score": np.float32(0.5)})
    text = (saved.path / "CKPT.yaml").read_text()
    assert yaml.safe_load(text)["score"] == 0.5


# ---- damage, and what is none


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    ["model.ckpt", "optimizer.ckpt", "brain.ckpt", "epoch_counter.ckpt", "CKPT.yaml", "SHA256SUMS"],
)
def test_one_flipped_bit_is_told_and_costs_that_checkpoint(tmp_path, caplog, name):
    """Most of these load without an error."""
    newest, before = brain_with_two_checkpoints(tmp_path)
    flip_a_bit(newest.path / name)
    brain = classification_brain(tmp_path, num_epochs=1)
    caplog.set_level(logging.WARNING)
    brain.on_fit_start()
    assert brain.optimizer_step == 2
    saved = torch.load(before.paramfiles["model"])
    assert torch.equal(brain.modules.model.encoder.mask_token, saved["encoder.mask_token"])
    assert len([line for line in caplog.messages if f"{newest.path} is broken" in line]) == 1


def test_checksums_are_those_that_sha256sum_checks(tmp_path):
    saved = AtomicCheckpointer(tmp_path, {"number": Number(1)}).save_checkpoint()
    command = ["sha256sum", "--check", "SHA256SUMS"]
    told = subprocess.run(command, cwd=saved.path, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["CKPT.yaml: OK", "number.ckpt: OK"]


def earlier(checkpoint):
    """Makes of a checkpoint one such as versions before 0.2 wrote."""
    (checkpoint.path / "SHA256SUMS").unlink()


@pytest.mark.parametrize("damage", [truncate, corrupt, empty, os.remove])
@pytest.mark.parametrize("name", ["model.ckpt", "optimizer.ckpt", "brain.ckpt", "CKPT.yaml"])
def test_earlier_checkpoints_are_judged_by_parsing(tmp_path, name, damage):
    checkpoints = brain_with_two_checkpoints(tmp_path)
    for one in checkpoints:
        earlier(one)
    damage(checkpoints[0].path / name)
    brain = classification_brain(tmp_path, num_epochs=1)
    brain.on_fit_start()
    assert brain.optimizer_step == 2


@pytest.mark.parametrize("is_earlier", [False, True])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error"), r"CKPT.* cannot be read \(Input/output error\)"),
        (OSError(errno.ESTALE, "Stale file handle"), r"no damage: give the same command again"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "^CUDA error"),
    ],
    ids=["EIO", "ESTALE", "CUDA"],
)
def test_what_the_machine_could_not_do_is_no_damage(tmp_path, monkeypatch, error, told, is_earlier):
    """Then training would be wound back, or good checkpoints be called broken."""
    for one in brain_with_two_checkpoints(tmp_path):
        if is_earlier:
            earlier(one)
    brain = classification_brain(tmp_path, num_epochs=1)

    def fail(*args, **kwargs):
        raise error

    if isinstance(error, OSError):
        monkeypatch.setattr(
            checkpointer_module, "_find_fault_of" if is_earlier else "find_damage", fail
        )
    else:
        monkeypatch.setattr(brain.modules.model, "load_state_dict", fail)
    with pytest.raises(type(error), match=told):
        brain.on_fit_start()


def test_a_sound_checkpoint_of_other_parts_is_not_broken(tmp_path):
    AtomicCheckpointer(tmp_path, {"number": Number()}).save_checkpoint()
    more = AtomicCheckpointer(tmp_path, {"number": Number(), "average": Number()})
    with pytest.raises(ValueError, match="is of another model; .* it holds no average"):
        more.recover_if_possible()


@pytest.mark.parametrize("content", ["", "view"])
def test_a_file_that_others_left_is_no_damage(tmp_path, content):
    checkpointer = AtomicCheckpointer(tmp_path, {"model": torch.nn.Linear(2, 2)})
    saved = checkpointer.save_checkpoint()
    (saved.path / ".DS_Store").write_text(content)
    assert checkpointer.recover_if_possible().path == saved.path

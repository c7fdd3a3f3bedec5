"""What trackers get, in place of TensorBoard or beside it."""

import logging
import sys

import pytest
from hyperpyyaml import load_hyperpyyaml
from matplotlib.figure import Figure
from matplotlib.image import imread

from ssast_recipes.brains.logs import TrainingLog
from ssast_recipes.brains.trackers import MLflowTracker, Tracker, WandBTracker

HPARAMS = "lr: 0.001\nsize: tiny\noutput_folder: somewhere\n"


class Kept(Tracker):
    """A tracker that keeps what it gets; `fails` names what raises."""

    def __init__(self, fails=()):
        super().__init__("json")
        self.fails, self.told = set(fails), []

    def _tell(self, *told):
        if told[0] in self.fails:
            raise ConnectionError(f"no {told[0]}\nat all")
        self.told.append(told)

    def begin(self, folder, name, settings):
        self._tell("begin", name, settings)

    def send(self, stage, numbers, step):
        self._tell("send", stage, numbers, step)

    def send_figure(self, name, pixels, step):
        self._tell("figure", name, pixels.shape, step)

    def end(self):
        self._tell("end")


def train(folder, tracker, steps=(1, 2)):
    folder.mkdir(exist_ok=True)
    (folder / "hyperparams.yaml").write_text(HPARAMS)
    log = TrainingLog(folder, tensorboard=False, trackers=[tracker])
    for step in steps:
        log.write("train", {"step": step, "loss": 1 / step, "note": "text", "rows": [1]})
    log.figure("mask", Figure(figsize=(1, 1), dpi=20), steps[-1])
    log.close()
    return log


def test_a_tracker_gets_settings_numbers_and_pictures(tmp_path):
    tracker = Kept()
    train(tmp_path / "run", tracker)
    begin, *sent, figure, end = tracker.told
    assert begin[2] == {"lr": 0.001, "size": "tiny"}  # and nothing of the machine
    assert sent == [("send", "train", {"loss": 1.0}, 1), ("send", "train", {"loss": 0.5}, 2)]
    assert figure == ("figure", "mask", (20, 20, 4), 2) and end == ("end",)


def test_a_resumed_run_goes_by_the_same_name_and_another_by_another(tmp_path):
    names = []
    for folder in ("one", "one", "two"):
        tracker = Kept()
        train(tmp_path / folder, tracker)
        names.append(tracker.told[0][1])
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("fails", ["begin", "send", "figure", "end"])
def test_what_fails_there_is_told_once_and_ends_nothing(tmp_path, caplog, fails):
    with caplog.at_level(logging.WARNING):
        log = train(tmp_path / "run", Kept([fails]))
    assert [one["step"] for one in log.read()] == [1, 2]
    (message,) = caplog.messages
    assert message == f"Warning: json gets nothing more of this run, which goes on: no {fails}"


@pytest.mark.parametrize("make", [WandBTracker, MLflowTracker])
def test_a_package_that_is_not_there_is_told_at_the_start(monkeypatch, make):
    monkeypatch.setitem(sys.modules, make.__name__.removesuffix("Tracker").lower(), None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'ssast-recipes\[trackers\]'"):
        make("sounds")


def test_a_yaml_line_names_it():
    trackers = f"[!new:{__name__}.Kept {{}}]"
    text = f"log: !new:ssast_recipes.brains.TrainingLog {{folder: x, trackers: {trackers}}}"
    (tracker,) = load_hyperpyyaml(text)["log"].trackers
    assert type(tracker).__name__ == "Kept"


@pytest.mark.slow
def test_mlflow_has_the_run(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    number = client.create_experiment("sounds", artifact_location=(tmp_path / "files").as_uri())
    for steps in ((1, 2), (2, 3)):  # interrupted after step 2, resumed after step 1
        train(tmp_path / "run", MLflowTracker("sounds", uri), steps)
    (run,) = client.search_runs([number])
    assert run.info.run_name == "run" and run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.001", "size": "tiny"}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {one.step: one.value for one in history} == {1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3)}
    pictures = client.list_artifacts(run.info.run_id, "pictures")
    assert [one.path for one in pictures] == [
        "pictures/mask_00000002.png",
        "pictures/mask_00000003.png",
    ]


@pytest.mark.slow
def test_weights_and_biases_has_the_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(tmp_path / "run", WandBTracker("sounds", mode="offline"))
    wandb.teardown()  # its service writes the file until it ends
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    name = (tmp_path / "run" / "wandb_run.txt").read_text().strip()
    kept = (run / f"run-{name}.wandb").read_bytes()  # numbers stand there as text
    for text in (b"train/loss", b"1.0", b"0.5", b"size", b"tiny"):
        assert text in kept
    assert b"somewhere" not in kept
    (picture,) = (run / "files" / "media" / "images").glob("mask_2_*.png")
    assert imread(picture).shape == (20, 20, 4)

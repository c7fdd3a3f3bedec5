"""Pushing, to a Hub on this computer that keeps what it gets."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ssast_recipes.commands import main as cli
from ssast_recipes.system.errors import RunError, explain
from ssast_recipes.weights import hub as push
from ssast_recipes.weights.exporting import export_huggingface
from ssast_recipes.weights.hub import push_model
from tests.exported_models import make_model, save

pytest.importorskip("huggingface_hub")


class FakeHub(ThreadingHTTPServer):
    """Answers what `huggingface_hub` asks to commit small files; refuses with `status`, if set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.created, self.files, self.tokens = 200, [], {}, set()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return {"url": f"{self.address}/me/model"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == "/api/models/me/model/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            return {
                "files": [
                    {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names
                ]
            }
        assert path == "/api/models/me/model/commit/main", path
        _, *files = (json.loads(line)["value"] for line in body.splitlines())
        self.files = {file["path"]: base64.b64decode(file["content"]) for file in files}
        return {"commitUrl": f"{self.address}/me/model/commit/abc", "commitOid": "abc"}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        refused = self.server.status != 200
        values = {"error": "no"} if refused else self.server.answer(self.path, body)
        answer = json.dumps(values).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Not onto the terminal."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_tests")
    with FakeHub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_model_folder_arrives_with_a_card_and_nothing_else(tmp_path, hub):
    run = tmp_path / "run"
    folder = save(run / "model", make_model("prefix"))
    results = {"metric": "accuracy", "value": {"best": 0.625}}
    (run / "results.json").write_text(json.dumps(results))
    (folder / "hyperparams.yaml").write_text("data_folder: /home/me")
    (folder / "save").mkdir()
    (folder / "save" / "model.ckpt").write_bytes(b"pickle")

    address = push_model(run, "me/model", endpoint=hub.address)

    assert address == f"{hub.address}/me/model/commit/abc"
    assert hub.files.keys() == {"config.json", "model.safetensors", "README.md"}
    for name in ("config.json", "model.safetensors"):
        assert hub.files[name] == (folder / name).read_bytes()
    card = hub.files["README.md"].decode()
    assert 'AudioClassifier.from_pretrained("me/model")' in card
    assert "| best on the validation clips | 0.6250 |" in card
    assert hub.tokens == {"Bearer hf_of_the_tests"}
    assert not (folder / "README.md").exists()


def test_ones_own_card_is_taken(tmp_path, hub):
    folder = save(tmp_path, make_model("encoder"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    push_model(folder, "me/model", endpoint=hub.address)
    assert hub.files["README.md"] == (folder / "README.md").read_bytes()


def test_an_exported_folder_arrives_whole(tmp_path, hub):
    folder = tmp_path / "theirs"
    export_huggingface(save(tmp_path / "ours", make_model("prefix")), folder)
    push_model(folder, "me/model", endpoint=hub.address)
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "preprocessor_config.json" in hub.files


@pytest.mark.parametrize("private", [False, True])
def test_private_is_asked_for(tmp_path, hub, private):
    push_model(save(tmp_path, make_model("encoder")), "me/model", private, hub.address)
    (request,) = hub.created
    assert (request["organization"], request["name"]) == ("me", "model")
    assert request["visibility"] == ("private" if private else "public")


def test_a_damaged_folder_is_refused_before_anything_is_sent(tmp_path, hub):
    folder = save(tmp_path, make_model("encoder"))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match="SHA-256 differs"):
        push_model(folder, "me/model", endpoint=hub.address)
    assert (hub.created, hub.files, hub.tokens) == ([], {}, set())


@pytest.mark.parametrize("config", ['{"model_type": "bert"}', "[1]", "{"])
def test_folders_of_others_are_refused(tmp_path, hub, config):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"config\.json"):
        push_model(tmp_path, "me/model", endpoint=hub.address)
    assert hub.tokens == set()


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_line_with_advice(tmp_path, hub, status):
    hub.status = status
    with pytest.raises(RunError) as caught:
        push_model(save(tmp_path, make_model("encoder")), "me/model", endpoint=hub.address)
    line = explain(caught.value)
    assert line.startswith("me/model: ") and str(status) in line
    assert line.endswith("to log in: hf auth login") and "\n" not in line


def test_a_hub_out_of_reach_is_one_line(tmp_path):
    folder = save(tmp_path, make_model("encoder"))
    with pytest.raises(RunError, match="me/model: the Hub cannot be reached"):
        push_model(folder, "me/model", endpoint="http://127.0.0.1:9")


def test_the_command_prints_the_address(tmp_path, hub, monkeypatch, capsys):
    folder = save(tmp_path, make_model("encoder"))

    def on_this_computer(source, repository, private):
        return push_model(source, repository, private, hub.address)

    monkeypatch.setattr(push, "push_model", on_this_computer)
    assert cli.main(["push", str(folder), "me/model", "--private"]) == 0
    assert capsys.readouterr().out == f"{hub.address}/me/model/commit/abc\n"
    assert hub.created[0]["visibility"] == "private"

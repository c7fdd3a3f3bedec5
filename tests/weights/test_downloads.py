"""The table of published weights, and downloads of it, from a server on loopback."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from ssast_recipes.weights import downloads as module
from ssast_recipes.weights.downloads import ReleasedWeights, fetch_released, released_weights
from ssast_recipes.weights.formats.folder import load_model
from ssast_recipes.weights.importing import import_model
from tests.weights.formats.test_recognition import released

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path):
    """The address of a server that has the files in `tmp_path / "served"`."""
    (tmp_path / "served").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    handler = partial(Handler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_table_is_whole():
    table = released_weights()
    assert len({row.url for row in table.values()}) == len(table)
    assert len({row.file for row in table.values()}) == len(table)
    for name, row in table.items():
        assert name == name.lower() and " " not in name
        assert row.url.startswith("https://") and row.file in row.url
        # torch.hub's custom: a name's end is the beginning of the checksum.
        assert row.sha256_begins is None or row.file.endswith(f"-{row.sha256_begins}.pth")
    sizes = {name.split("-")[1] for name in table if name.startswith("ssast-")}
    assert sizes == {"tiny", "small", "base"}


@pytest.mark.parametrize(
    "known",
    [{}, {"size": len(CONTENT)}, {"sha256": DIGEST}, {"sha256_begins": DIGEST[:8]}],
    ids=["nothing", "size", "sha256", "sha256_begins"],
)
def test_what_is_known_of_a_file_is_checked(known, server, tmp_path):
    served = tmp_path / "served" / "a.pth"
    row = ReleasedWeights("a", f"{server}/a.pth", "a.pth", "me", **known)
    served.write_bytes(CONTENT)
    path = fetch_released(row, tmp_path / "cache", progress=False)
    assert path.read_bytes() == CONTENT
    path.unlink()
    served.write_bytes(b"other")
    if known:
        with pytest.raises(ValueError, match=f"{row.url}: .* deleted"):
            fetch_released(row, tmp_path / "cache", progress=False)
        assert not any((tmp_path / "cache").iterdir())


def test_a_name_is_imported(server, tmp_path, monkeypatch):
    torch.save(released(), tmp_path / "served" / "SSAST-Mini.pth")
    row = ReleasedWeights("ssast-mini", f"{server}/SSAST-Mini.pth", "SSAST-Mini.pth", "me")
    monkeypatch.setattr(module, "released_weights", lambda: {"ssast-mini": row})
    cache = tmp_path / "cache"
    _, config = import_model("SSAST-Mini", tmp_path / "first", cache=cache)
    assert config.provenance["url"] == row.url
    assert config.provenance["source"] == "SSAST-Mini.pth"
    digest = hashlib.sha256((tmp_path / "served" / "SSAST-Mini.pth").read_bytes()).hexdigest()
    assert config.provenance["source_sha256"] == digest
    (tmp_path / "served" / "SSAST-Mini.pth").unlink()  # once is enough
    import_model("ssast-mini", tmp_path / "second", cache=cache)
    first, second = (load_model(tmp_path / name)[0] for name in ("first", "second"))
    assert torch.equal(first.encoder.norm.weight, second.encoder.norm.weight)


def test_a_page_instead_of_the_weights_is_not_kept(server, tmp_path, monkeypatch):
    (tmp_path / "served" / "a.pth").write_text("<html>This link has expired</html>")
    row = ReleasedWeights("a", f"{server}/a.pth", "a.pth", "me")
    monkeypatch.setattr(module, "released_weights", lambda: {"a": row})
    with pytest.raises(ValueError, match=f"not readable as weights.*{row.url}, and is deleted"):
        import_model("a", tmp_path / "out", cache=tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())
    assert not (tmp_path / "out").exists()

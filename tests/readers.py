"""Every reader of files that others may have written, and damaged files to give to it."""

import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import soundfile
import torch

from ssast_recipes.brains.checkpointer import AtomicCheckpointer
from ssast_recipes.data.headers import audio_info
from ssast_recipes.data.labels import ClassEncoder
from ssast_recipes.data.manifest import Clip, write_manifest
from ssast_recipes.data.pipelines import WaveformReader
from ssast_recipes.data.preparation.labelled_files import read_labelled_files
from ssast_recipes.data.preparation.mark import mark_prepared, prepared
from ssast_recipes.data.preparation.shard_index import index_shards
from ssast_recipes.data.table import ClipTable
from ssast_recipes.data.tokenizer import Tokenizer
from ssast_recipes.evaluation.hear_tasks import read_hear_task
from ssast_recipes.evaluation.records import Record, Row, read_record, write_record
from ssast_recipes.inference.reading import read_audio
from ssast_recipes.model.builders import ast_encoder
from ssast_recipes.model.heads import TokenHead
from ssast_recipes.model.recognition import RecognitionModel
from ssast_recipes.records.configuration import changed_keys, configuration_sha256
from ssast_recipes.records.hparams_text import read_lines, write_hparams
from ssast_recipes.records.overrides import check_overrides
from ssast_recipes.records.predictions import load_predictions, write_predictions
from ssast_recipes.records.run import Run
from ssast_recipes.records.settings import read_settings
from ssast_recipes.records.transcripts import read_transcripts, write_transcripts
from ssast_recipes.runs.own.request import read_request
from ssast_recipes.system.tables import read_csv
from ssast_recipes.system.unpacking import extract
from ssast_recipes.weights.formats.config import FrontEndConfig, read_config
from ssast_recipes.weights.formats.folder import load_model, read_tokenizer, save_model
from ssast_recipes.weights.formats.tensors import read_tensors
from ssast_recipes.weights.importing import import_model
from ssast_recipes.weights.loading import read_pretrained

FRONT_END = FrontEndConfig(16000, 128, 25.0, 10.0, 20.0, 0.0, 32, -4.27, 4.57, True)
YAML = """# how fast
lr: 1.0e-4 # a comment
seed: 1
sizes: [16, 2]
num_steps: !apply:operator.getitem [[20, 200], False]
masker: !new:ssast_recipes.model.RandomMasker
    num_masked_patches: 4
parts: {loss: &1 !name:torch.nn.functional.cross_entropy {label_smoothing: 0.1}}
loss: *1
text: |
    of two
    lines
"""


class Reader(NamedTuple):
    """A reader, and how a file is made that it can read."""

    file: str  # the name of the file that is damaged
    make: Callable[[Path], object]  # writes it, and what it needs beside it
    read: Callable[[Path], object]


def _clips(path: Path) -> None:
    labels = (("dog",), ("rain", "sea"), ("dög",))
    clips = [Clip(f"c{n}", f"/a/{n}.wav", 0.5 * n, 1.5, 16000, one) for n, one in enumerate(labels)]
    write_manifest(path, clips)


def _wave(path: Path) -> None:
    soundfile.write(path, np.sin(np.arange(2000) / 7), 16000)


def _tar(path: Path) -> None:
    wave = io.BytesIO()
    soundfile.write(wave, np.zeros(300), 16000, format="FLAC")
    with tarfile.open(path, "w") as tar:
        about = {"id": "one", "labels": ["dog"]}
        for name, data in (("a.json", json.dumps(about).encode()), ("a.flac", wave.getvalue())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _gzip(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in ("a.txt", "b.txt"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(name.encode() * 140))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.txt", "folder/b.txt"):
            archive.writestr(name, name * 300)


def _unpack(path: Path) -> None:
    try:
        extract(path, path.parent / "unpacked", progress=False)
    finally:
        shutil.rmtree(path.parent / "unpacked", ignore_errors=True)


def _encoder() -> torch.nn.Module:
    return ast_encoder("tiny", depth=1, target_length=32, embed_dim=64, num_heads=1)


def _model(path: Path) -> None:
    save_model(path.parent, _encoder(), FRONT_END)


def _read_model(path: Path) -> None:
    load_model(path.parent)


def _recogniser(path: Path) -> None:
    encoder = ast_encoder(
        "tiny", depth=1, target_length=32, embed_dim=64, num_heads=1, patch_size=(128, 2)
    )
    tokenizer = Tokenizer.train(["ONE TWO"], num_tokens=7)
    save_model(
        path.parent, RecognitionModel(encoder, TokenHead(64, 7)), FRONT_END, tokenizer=tokenizer
    )


def _read_recogniser(path: Path) -> None:
    read_tokenizer(path.parent, load_model(path.parent)[1])


def _transcripts(path: Path) -> None:
    write_transcripts(path, {"last": [("a", "ONE TWO", "ONE", 2, 1, 7, 4)]}, {"a": "test"})


def _hugging_face(path: Path) -> None:
    safetensors.torch.save_file(
        {"embeddings.cls_token": torch.zeros(1, 1, 8)}, path.parent / "model.safetensors"
    )
    path.write_text(
        json.dumps(
            {
                "model_type": "audio-spectrogram-transformer",
                "hidden_size": 8,
                "id2label": {"0": "dog"},
            }
        )
    )


def _import(path: Path) -> None:
    try:
        import_model(path.parent / "model.safetensors", path.parent / "imported")
    except ValueError as error:  # such a small one is no model: all but that is told of config.json
        if "of Hugging Face's ASTModel are missing" not in str(error):
            raise


def _index(path: Path) -> None:
    _tensors(path.with_name("a.safetensors"))
    path.write_text(json.dumps({"weight_map": {"a": "a.safetensors", "b": "a.safetensors"}}))


def _checkpoint(path: Path) -> None:
    model = torch.nn.ModuleDict({"encoder": _encoder()})
    torch.save(model.state_dict(), path)


def _meta(path: Path) -> None:
    save = AtomicCheckpointer(path.parents[1], {"a": torch.nn.Linear(2, 2)})
    made = save.save_checkpoint(meta={"valid_score": 0.5, "step": 3})
    (made.path / "SHA256SUMS").unlink()
    made.path.rename(path.parent)


def _recover(path: Path) -> None:
    folder = path.parents[1]
    run = Run(folder.parent)
    (path.parent / "model.ckpt").write_bytes(b"a")
    try:
        run.best_checkpoint()
    finally:
        (path.parent / "model.ckpt").unlink()
    AtomicCheckpointer(folder, {"a": torch.nn.Linear(2, 2)}).recover_if_possible()


def _yaml(path: Path) -> None:
    path.write_text(YAML)


def _read_yaml(path: Path) -> None:
    run = Run(path.parent)
    text = path.read_bytes()
    for key in run.nodes:
        run.value(key)
    changed_keys(text, YAML, path)
    configuration_sha256(path)
    read_settings(text.decode())
    check_overrides(str(path), "lr: 0.1")


def _read_yaml_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    known = {line.key for line in read_lines(text, path)}
    write_hparams(
        path, path.parent / "copy.yaml", {key: 2 for key in ("seed", "lr") if key in known}
    )


def _predictions(path: Path) -> None:
    classes = [f"class{number}" for number in range(60 if path.suffix == ".parquet" else 3)]
    outputs = {"ids": ["a", "b"], "targets": torch.tensor([0, 2]), "logits": torch.rand(2, 3)}
    if path.suffix == ".parquet":
        outputs["logits"] = torch.rand(2, 60)
    write_predictions(path, classes, {"last": outputs})


def _mark(path: Path) -> None:
    (path.parent / "a.csv").write_text("ID")
    mark_prepared(path.parent, {"options": {"fold": 1}}, ["a.csv"])


READERS = {
    "manifest": Reader("train.csv", _clips, lambda path: list(ClipTable.read([path]))),
    "table": Reader("table.csv", _clips, read_csv),
    "labelled files": Reader(
        "labels.csv",
        lambda path: path.write_text("path,label,split\na.wav,dog,train\nb.wav,rain;sea,test\n"),
        read_labelled_files,
    ),
    "classes": Reader(
        "classes.txt",
        lambda path: path.write_text("dog\nrain\ndög\n"),
        lambda path: ClassEncoder.from_file(path, 3),
    ),
    "mark of a preparation": Reader(
        "prepared.json", _mark, lambda path: prepared(path.parent, {"options": {"fold": 1}})
    ),
    "WAV": Reader("a.wav", _wave, read_audio),
    "FLAC": Reader("a.flac", _wave, read_audio),
    "Ogg": Reader("a.ogg", _wave, lambda path: audio_info(path) and read_audio(path)),
    "clip": Reader(
        "b.flac", _wave, lambda path: WaveformReader()(path, 0.01, 0.1, epoch=1, clip_id="b")
    ),
    "shard": Reader(
        "a.tar",
        _tar,
        lambda path: index_shards([path], path.parent / "found.csv", max_rejected=0.9),
    ),
    "archive, tar": Reader("b.tgz", _gzip, _unpack),
    "archive, zip": Reader("b.zip", _zip, _unpack),
    "results": Reader(
        "results.json",
        lambda path: path.write_text('{"value": {"last": 0.5}, "history": [{"step": 1}]}'),
        lambda path: Run(path.parent).results,
    ),
    "request of a plan": Reader(
        "request.json",
        lambda path: path.write_text('{"size": "tiny", "files": "400"}'),
        lambda path: read_request(path.with_name("pretrain.yaml")),
    ),
    "log": Reader(
        "metrics.jsonl",
        lambda path: path.write_text('{"stage": "train", "step": 1, "loss": 0.5}\n' * 3),
        lambda path: Run(path.parent).metrics,
    ),
    "values of a run": Reader("hyperparams.yaml", _yaml, _read_yaml),
    "text of YAML": Reader("mine.yaml", _yaml, _read_yaml_text),
    "per class": Reader(
        "per_class.csv",
        lambda path: path.write_text("selection,class,clips,accuracy\nlast,dog,3,0.5\n"),
        lambda path: Run(path.parent).per_class("last"),
    ),
    "transcripts": Reader("transcripts.csv", _transcripts, read_transcripts),
    "tokenizer": Reader("tokenizer.model", _recogniser, _read_recogniser),
    "predictions, text": Reader("predictions.csv", _predictions, load_predictions),
    "predictions, Parquet": Reader("predictions.parquet", _predictions, load_predictions),
    "configuration of a model": Reader(
        "config.json", _model, lambda path: read_config(path.parent)
    ),
    "weights of a model": Reader("model.safetensors", _model, _read_model),
    "record of an evaluation": Reader("records/mine/a.json", lambda p: _record(p), read_record),
    "HEAR's metadata": Reader(
        "task_metadata.json", lambda path: _hear(path), lambda path: _read_hear(path)
    ),
    "HEAR's vocabulary": Reader(
        "labelvocabulary.csv", lambda path: _hear(path), lambda path: _read_hear(path)
    ),
    "HEAR's labels": Reader("train.json", lambda p: _hear(p), lambda path: _read_hear(path)),
    "tensors": Reader("a.safetensors", lambda path: _tensors(path), read_tensors),
    "configuration of Hugging Face's": Reader("config.json", _hugging_face, _import),
    "index of weights": Reader("model.safetensors.index.json", _index, read_tensors),
    "weights": Reader("model.ckpt", _checkpoint, read_pretrained),
    "checkpoint's metadata": Reader("save/CKPT+1/CKPT.yaml", _meta, _recover),
    "checkpoint": Reader("save/CKPT+1/a.ckpt", _meta, _recover),
}


def _record(path: Path) -> None:
    row = Row("mine", "mfcc", "knn", "", "accuracy", 0.5, 8, 0, 2, 80)
    record = Record("mine", path.stem, "0" * 64, rows=[row, row._replace(shots=5, draw=0)])
    write_record(path.parents[2], record)


def _hear(path: Path) -> None:
    soundfile.write(path.with_name("a.wav"), np.zeros(800), 8000)
    for part in ("train", "valid", "test"):
        folder = path.parent / "16000" / part
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path.with_name("a.wav"), folder / "a.wav")
        (path.parent / f"{part}.json").write_text('{"a.wav": ["dog"]}')
    (path.parent / "labelvocabulary.csv").write_text("idx,label\n0,dog\n1,rain\n")
    told = {"task_name": "t", "embedding_type": "scene", "split_mode": "trainvaltest"}
    told |= {"evaluation": ["top1_acc", "mAP"], "splits": ["train", "valid", "test"]}
    (path.parent / "task_metadata.json").write_text(json.dumps(told))


def _read_hear(path: Path) -> None:
    read_hear_task(str(path.parent), path.parent / "out")


def _tensors(path: Path) -> None:
    safetensors.torch.save_file({"a": torch.zeros(3), "b": torch.ones(2, 2)}, path)


_INSERTED = [
    *(b"\0", b"\xff\xfe", b"\xc3", b'"', b"'", b"\n", b"\r", b",", b":", b"- ", b"{", b"]", b"? "),
    *(b"&1 *1", b"!new:a.b ", b"<<: ", b"1e999", b"-1", b"NaN", b"null", b"9" * 40, b"2001-99-99"),
    *(b"0x10", b"\x1b[2J", b"../"),
]
_LARGE = [b"[" * 20_000, b'{"a":' * 5_000, b"x" * 140_000, b"- " * 3_000]


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: bits flipped, cut off, cut out, doubled, or with something put in."""
    draws = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(draws.choice((1, 1, 1, 2, 5))):
            place = draws.randrange(len(damaged)) if damaged else 0
            kind = draws.randrange(6)
            if kind == 0 and damaged:
                damaged[place] ^= 1 << draws.randrange(8)
            elif kind == 1:
                del damaged[place:]
            elif kind == 2:
                del damaged[place : place + draws.randrange(1, 20)]
            elif kind == 3:
                damaged[place:place] = damaged[place : place + draws.randrange(1, 40)]
            elif kind == 4 and draws.random() < 0.3:
                damaged[place:place] = draws.choice(_LARGE)
            else:
                damaged[place:place] = draws.choice(_INSERTED)
        yield bytes(damaged)

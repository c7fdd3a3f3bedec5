"""Encoders of others, as Python modules with the interface of HEAR."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ssast_recipes.data.manifest import Clip
from ssast_recipes.evaluation.frozen import (
    CLIP,
    STEPS,
    Embedded,
    FrozenEncoder,
    read_waveforms,
)
from ssast_recipes.inference.audio_model import place_of
from ssast_recipes.system.files import file_digest

MODULE = "module:"


class HearModule(FrozenEncoder):
    """A Python module with the interface of HEAR: `load_model`, `get_scene_embeddings`."""

    def __init__(self, name: str, device: str | None, batch_size: int):
        self.name, self._batch_size, self._place = name, batch_size, place_of(device)
        module_name, _, weights = name.removeprefix(MODULE).partition("=")
        try:
            with _foreign(name, "importing it"):
                self._module = importlib.import_module(module_name)
        except ModuleNotFoundError:
            raise ValueError(
                f"{name}: there is no Python module {module_name}; install it, or name its folder "
                "in PYTHONPATH"
            ) from None
        for wanted in ("load_model", "get_scene_embeddings"):
            if not hasattr(self._module, wanted):
                raise ValueError(f"{name}: the module has no {wanted}, which HEAR asks for")
        with _foreign(name, "load_model"):
            self._model = self._module.load_model(*([weights] if weights else []))
            if isinstance(self._model, torch.nn.Module):
                self._model = self._model.to(self._place).eval()
            self._sample_rate = int(self._model.sample_rate)
        self.key = {
            "module": module_name,
            "code": _digest_of(_code_of(self._module)),
            "weights": _digest_of(weights),
        }

    @torch.no_grad()
    def embed(
        self, clips: Sequence[Clip], detail: str = CLIP, workers: int = 2
    ) -> Iterator[Embedded]:
        """See `FrozenEncoder.embed`; clips of one length make a batch, as HEAR knows no padding."""
        found: list[Embedded | None] = [None] * len(clips)
        waiting: dict[int, list[tuple[int, Tensor]]] = {}
        for place, waveform in enumerate(read_waveforms(clips, self._sample_rate, workers)):
            if isinstance(waveform, Exception):
                found[place] = waveform
                continue
            alike = waiting.setdefault(len(waveform), [])
            alike.append((place, waveform))
            if len(alike) == self._batch_size:
                self._compute(waiting.pop(len(waveform)), found, detail)
        for alike in waiting.values():
            self._compute(alike, found, detail)
        yield from found

    def _compute(
        self, alike: list[tuple[int, Tensor]], found: list[Embedded | None], detail: str
    ) -> None:
        audio = torch.stack([waveform for _, waveform in alike]).to(self._place)
        with _foreign(self.name, "get_scene_embeddings"):
            vectors = self._module.get_scene_embeddings(audio, self._model)
        for (place, _), vector in zip(alike, vectors, strict=True):
            row = vector.detach().float().cpu().unsqueeze(0)
            found[place] = row.unsqueeze(0) if detail == STEPS else row


@contextmanager
def _foreign(name: str, doing: str) -> Iterator[None]:
    """Tells whatever the code of others raises as one line that names the encoder."""
    module_name = name.removeprefix(MODULE).partition("=")[0]
    try:
        yield
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module itself
        raise ValueError(f"{name}: {doing} fails: {error}") from error
    except Exception as error:
        told = " ".join(str(error).split()) or "no reason given"
        raise ValueError(f"{name}: {doing} fails: {type(error).__name__}: {told}") from error


def _code_of(module: ModuleType) -> str | None:
    """The file of a module; of a package, its folder."""
    path = getattr(module, "__file__", None)
    return str(Path(path).parent) if path and Path(path).name == "__init__.py" else path


def _digest_of(path: str | None) -> str:
    """The checksum of a file; of a folder, of its files' names, sizes and times."""
    if not path or not Path(path).exists():
        return path or ""
    if Path(path).is_file():
        return file_digest(path)
    files = [one for one in sorted(Path(path).rglob("*")) if one.is_file()]
    return str([(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in files])

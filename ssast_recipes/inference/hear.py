"""The interface of HEAR, the Holistic Evaluation of Audio Representations (Turian et al., 2022).

`hear-eval` takes this module by its name, `ssast_recipes.inference.hear`, with a model folder as
the weights.
"""

from pathlib import Path

import torch
from torch import Tensor

from ssast_recipes.inference.encoding import AudioEncoder


def load_model(model_file_path: str | Path = "") -> AudioEncoder:
    """Loads an encoder, with the attributes that HEAR asks for.

    Arguments
    ---------
    model_file_path : str or Path
        A model folder, or whatever else `AudioEncoder.from_pretrained` takes.

    Returns
    -------
    AudioEncoder
        With `sample_rate`, `scene_embedding_size` and `timestamp_embedding_size`.

    Raises
    ------
    FileNotFoundError
        If there is no such model.
    """
    model = AudioEncoder.from_pretrained(model_file_path or "no model folder was given")
    model.scene_embedding_size = model.timestamp_embedding_size = model.embed_dim
    return model


def get_scene_embeddings(audio: Tensor, model: AudioEncoder) -> Tensor:
    """Embeds sounds as wholes.

    Arguments
    ---------
    audio : Tensor
        [sounds, samples], at `model.sample_rate`.
    model : AudioEncoder
        Of `load_model`.

    Returns
    -------
    Tensor
        [sounds, scene_embedding_size] float32, where the audio is.

    Raises
    ------
    ValueError
        If the audio is not [sounds, samples].
    """
    return model.encode_batch(_sounds(audio), model.sample_rate).to(audio.device)


def get_timestamp_embeddings(audio: Tensor, model: AudioEncoder) -> tuple[Tensor, Tensor]:
    """Embeds sounds moment by moment.

    Arguments
    ---------
    audio, model
        As for `get_scene_embeddings`.

    Returns
    -------
    embeddings : Tensor
        [sounds, moments, timestamp_embedding_size] float32, where the audio is.
    timestamps : Tensor
        The moments' middles in milliseconds, [sounds, moments].

    Raises
    ------
    ValueError
        If the audio is not [sounds, samples].
    """
    found = model.encode_frames_batch(_sounds(audio), model.sample_rate)
    embeddings = torch.stack([sound.embeddings for sound in found])
    timestamps = torch.stack([1000 * sound.times for sound in found])
    return embeddings.to(audio.device), timestamps.to(audio.device)


def _sounds(audio: Tensor) -> list[Tensor]:
    if audio.ndim != 2 or not len(audio):
        raise ValueError(f"audio is [sounds, samples], not {list(audio.shape)}")
    return list(audio)

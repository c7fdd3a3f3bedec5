"""What is audio: told by names, by first bytes, or by trying to open a file."""

import os
import shlex

import soundfile

from ssast_recipes.data.mp3 import is_frame

# libsndfile's names of its formats, but RAW, which has no header, and two whose names mostly are
# those of other data: MATLAB's, and Musepack's music. Then, further extensions of these formats.
_NAMES = frozenset(
    {name.lower() for name in soundfile.available_formats()} - {"raw", "mat4", "mat5", "mpc2k"}
    | {"aif", "aifc", "aiffc", "bwf", "f32", "f64", "iff", "mp1", "mp2", "nist", "oga", "opus"}
    | {"sf", "snd", "sph", "8svx", "16svx", "vox", "gsm"}
)
# What phones, browsers and players write.
_FOREIGN_NAMES = frozenset(
    {"3ga", "3gp", "aac", "ac3", "amr", "ape", "awb", "dsf", "dts", "eac3", "m4a", "m4b", "m4r"}
    | {"mka", "mp4", "mpc", "qcp", "ra", "tta", "weba", "webm", "wma", "wv"}
)
_STARTS = (
    *(b"RIFX", b"RF64", b"riff.\x91\xcf\x11", b"caff\0", b"fLaC", b".snd", b"dns.", b"NIST_1A"),
    *(b"Creative Voice File", b" paf", b"fap ", b"PVF1\n", b"2BIT", b"ID3", b"ALawSoundFile**"),
    *(b"Extended Instrument",),
)
_FOREIGN_STARTS = (
    *(b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"#!AMR", b"MAC ", b"wvpk", b"TTA1", b"MPCK"),
    *(b"MP+", b"DSD ", b"\xff\xf1", b"\xff\xf9", b".ra\xfd"),
)
_PICTURES = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jp2 ")
# What lies beside audio in great numbers, and is not opened to see.
_NO_AUDIO_NAMES = frozenset(
    {"csv", "gif", "h5", "hdf5", "html", "jpeg", "jpg", "json", "jsonl", "lab", "log", "md", "npy"}
    | {"npz", "parquet", "pdf", "pkl", "png", "pt", "py", "svg", "textgrid", "tiff", "tsv", "txt"}
    | {"xml", "yaml", "yml"}
)
CODECS = "install ssast-recipes[codecs], which reads more formats"
START = 64  # bytes of a file that tell what it is


def is_audio_name(name: str) -> bool:
    """Whether a file's extension is one of audio that soundfile opens.

    Example
    -------
    >>> is_audio_name("a.flac"), is_audio_name("a.AIF"), is_audio_name("a.m4a")
    (True, True, False)
    >>> is_audio_name("a.txt"), is_audio_name("._a.wav")
    (False, False)
    """
    return _has_extension(name, _NAMES)


def is_foreign_name(name: str) -> bool:
    """Whether a file's extension is one of audio that soundfile does not open.

    Example
    -------
    >>> is_foreign_name("a.flac"), is_foreign_name("a.m4a")
    (False, True)
    """
    return _has_extension(name, _FOREIGN_NAMES)


def _has_extension(name: str, extensions: frozenset[str]) -> bool:
    # "._a.wav" is what macOS leaves beside a.wav on foreign disks and in archives.
    stem, _, extension = name.rpartition(".")
    return bool(stem) and extension.lower() in extensions and not name.startswith("._")


def is_audio_start(start: bytes) -> bool:
    """Whether a file begins as audio does.

    Arguments
    ---------
    start : bytes
        Its first `START` bytes.

    Returns
    -------
    bool
        False says little: some formats, such as MP3 without tags, have no beginning of their own.

    Example
    -------
    >>> is_audio_start(b"fLaC"), is_audio_start(b"RIFF....AVI LIST"), is_audio_start(b"path,label")
    (True, False, False)
    """
    if start[:4] == b"RIFF":
        return start[8:12] == b"WAVE"
    if start[:4] == b"FORM":
        return start[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV", b"SVVH")
    if start[:4] == b"OggS":
        return b"theora" not in start
    return is_frame(start) or start.startswith(_STARTS) or is_foreign_start(start)


def is_foreign_start(start: bytes) -> bool:
    """Whether a file begins as audio that libsndfile does not open.

    Example
    -------
    >>> is_foreign_start(b"\\0\\0\\0\\x20ftypM4A "), is_foreign_start(b"\\0\\0\\0\\x20ftypheic")
    (True, False)
    """
    if start[4:8] == b"ftyp":
        return start[8:12] not in _PICTURES
    return start.startswith(_FOREIGN_STARTS)


def is_audio(path: str | os.PathLike) -> bool:
    """Whether a file is audio: by its name, by its first bytes, or because soundfile opens it.

    Arguments
    ---------
    path : str or path
        The file.

    Returns
    -------
    bool
        Whether it is meant to be heard; that it can be read is for `audio_info` to say.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "recording", [0.0] * 800, 8000, format="FLAC")
    >>> _ = (folder / "notes.txt").write_text("a recording")
    >>> is_audio(folder / "recording"), is_audio(folder / "notes.txt")
    (True, False)
    """
    name = os.path.basename(path)
    if is_audio_name(name) or is_foreign_name(name):
        return True
    # Hidden files are other programs' own; of anything but a file, reading might never end.
    if name.startswith(".") or _has_extension(name, _NO_AUDIO_NAMES) or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(START)
        if is_audio_start(start):
            return True
        if not start or start.isascii():  # text, which would be tried by every decoder
            return False
        soundfile.info(path)
    except (OSError, TypeError, soundfile.LibsndfileError):  # TypeError: of RAW, without a header
        return False
    return True


def is_foreign(path: str | os.PathLike) -> bool:
    """Whether a file is audio that soundfile does not open, by its name or by its first bytes.

    Example
    -------
    >>> path = getfixture("tmp_path") / "voice"
    >>> _ = path.write_bytes(b"#!AMR")
    >>> is_foreign(path), is_foreign("a.m4a"), is_foreign("a.wav")
    (True, True, False)
    """
    if is_foreign_name(os.path.basename(path)):
        return True
    try:
        with open(path, "rb") as file:
            return is_foreign_start(file.read(START))
    except OSError:
        return False


def way_out(path: str | os.PathLike) -> str:
    """Says how a file that cannot be opened here can be made one that can.

    Example
    -------
    >>> way_out("/phone/my voice.m4a")
    "convert it, ffmpeg -i '/phone/my voice.m4a' '/phone/my voice.flac', or install ..."
    """
    source = os.fspath(path)
    target = os.path.splitext(source)[0] + ".flac"
    return f"convert it, ffmpeg -i {shlex.quote(source)} {shlex.quote(target)}, or {CODECS}"

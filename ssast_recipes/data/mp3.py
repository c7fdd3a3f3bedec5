"""Lengths of MP3 files, which only a tag in the first frame tells.

Without it, mpg123 takes the first frame's bit rate for that of all. Where bit rates vary, that is
far off, and libsndfile reads no further.
"""

import io
import os
import struct
from typing import BinaryIO, NamedTuple

_TAGS = (b"Xing", b"Info", b"VBRI")
_SEARCHED = 1 << 16  # bytes behind an ID3 tag in which the first frame is to begin
_SMALLEST_FRAME = 24  # bytes, about


class FirstFrame(NamedTuple):
    """The first frame of an MP3 file."""

    offset: int
    header: bytes  # four bytes
    tag: bytes  # the tag and what follows; empty if there is none


def is_frame(start: bytes) -> bool:
    """Whether a frame of MPEG layer III begins so.

    Example
    -------
    >>> is_frame(bytes([0xFF, 0xFB, 0x90])), is_frame(bytes([0xFF, 0xFB, 0xF0])), is_frame(b"")
    (True, False, False)
    """
    # Eleven bits of sync, layer III, and neither bit rate nor sample rate of those forbidden.
    return (
        len(start) > 2
        and start[0] == 0xFF
        and start[1] & 0xE6 == 0xE2
        and start[2] & 0xF0 < 0xF0
        and start[2] & 0x0C < 0x0C
    )


def first_frame(file: BinaryIO) -> FirstFrame | None:
    """Finds the first frame of an MP3 file, behind its ID3 tag.

    Arguments
    ---------
    file : binary file
        Open for reading.

    Returns
    -------
    FirstFrame or None
        None if there is no frame of MPEG layer III.

    Example
    -------
    >>> first_frame(io.BytesIO(bytes([0, 0, 0xFF, 0xFB, 0x90, 0xC0]) + bytes(400)))
    FirstFrame(offset=2, header=b'\\xff\\xfb\\x90\\xc0', tag=b'')
    """
    file.seek(0)
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3" and len(head) == 10:
        # Seven bits a byte, as the sync of a frame must not occur; and 10 of the tag's header.
        begin = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
    file.seek(begin)
    content = file.read(_SEARCHED)
    place = content.find(b"\xff")
    while place >= 0:
        header = content[place : place + 4]
        if len(header) == 4 and is_frame(header):
            found = [content.find(tag, place, place + 64) for tag in _TAGS]
            tagged = [one for one in found if one >= 0]
            tag = content[tagged[0] : tagged[0] + 16] if tagged else b""
            return FirstFrame(begin + place, header, tag)
        place = content.find(b"\xff", place + 1)
    return None


def missing_bytes(file: BinaryIO, first: FirstFrame) -> int:
    """Counts the bytes that an MP3 file's tag speaks of and that are not there: it was cut off.

    Example
    -------
    >>> tag = b"Xing" + struct.pack(">III", 3, 100, 4000)
    >>> missing_bytes(io.BytesIO(bytes(1000)), FirstFrame(0, b"", tag))
    3000
    """
    if first.tag[:4] not in (b"Xing", b"Info") or len(first.tag) < 16:
        return 0
    flags, *numbers = struct.unpack(">III", first.tag[4:])
    if not flags & 2:
        return 0
    return max(0, numbers[flags & 1] - (file.seek(0, os.SEEK_END) - first.offset))


def with_tag(file: BinaryIO, first: FirstFrame) -> BinaryIO:
    """Copies an MP3 file and puts a frame before it whose tag claims more frames than there can be.

    libsndfile reads such a copy up to its end.

    Arguments
    ---------
    file : binary file
        Open for reading.
    first : FirstFrame
        From `first_frame`.

    Returns
    -------
    binary file
        In memory.
    """
    file.seek(first.offset)
    content = file.read()
    _, one, two, three = first.header
    is_mpeg1, is_mono = one & 0x18 == 0x18, three & 0xC0 == 0xC0
    rate = (44100, 48000, 32000)[(two & 0x0C) >> 2] // {0x18: 1, 0x10: 2}.get(one & 0x18, 4)
    # The ninth bit rate: 128 and 80 kbit/s; no checksum, no padding.
    size = 144 * 128_000 // rate if is_mpeg1 else 72 * 80_000 // rate
    side = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    frame = bytearray(size)
    frame[:4] = bytes([0xFF, one | 1, 0x90 | two & 0x0C, three])
    frame[4 + side : 16 + side] = b"Xing" + struct.pack(
        ">II", 1, len(content) // _SMALLEST_FRAME + 1
    )
    return io.BytesIO(bytes(frame) + content)

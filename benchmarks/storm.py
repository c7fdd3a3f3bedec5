"""Kills commands at random moments, damages what they left, and looks whether anything was lost.

python benchmarks/storm.py 40            # minutes; `make storm MINUTES=40`
python benchmarks/storm.py 2 --work pack --seed 7

Each round takes a piece of work (a pretraining or a fine-tuning, from files or shards, with no or
two loading workers, a preparation, a packing, a cross-validation), begins it in a fresh folder,
ends it a few times by SIGKILL or SIGTERM, the one process or all of its group, gives the same
command again, and lets it come to its end. In between a bit of the newest checkpoint's files may be
flipped; of one pretraining and one fine-tuning, a bit of every file, one after the other. Some
rounds, as root, end at a full disk instead of a signal, and go on when there is room. What a round
leaves has to be that of the same work left alone, to the bit; no process, no half-written file may
be left, and no traceback been printed.
"""

import argparse
import atexit
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from storm_work import Work, make_work, run_result

MOST_KILLS = 4  # of one piece of work
SECONDS_TO_END = 60  # of what a killed process started
FULL_DISKS = 0.15  # of all rounds


@dataclass
class Findings:
    """What was done, and what went wrong."""

    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Notes and tells what should not be."""
        self.faults.append(text)
        print(f"FAULT: {text}", flush=True)


def start(work: Work, folder: Path) -> subprocess.Popen:
    """Starts a piece of work in a group of its own; what it prints goes to a file beside."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(printed_in(folder), "ab") as file:
        process = subprocess.Popen(
            [sys.executable, *map(str, work.command(folder))],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    atexit.register(end_group, process)  # if the storm is ended itself
    return process


def printed_in(folder: Path) -> Path:
    """Where is kept what work in a folder printed: not on a disk that is to be full."""
    return folder.with_name(f"{folder.name}.txt")


def end_group(process: subprocess.Popen) -> None:
    """Kills what is left of a process that was not waited for, and of its group."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def has_members(group: int) -> bool:
    """Whether a process of a group is left."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def wait_for_group(process: subprocess.Popen, seconds: float) -> bool:
    """Waits for a process and all that it started; kills what does not end."""
    deadline = time.monotonic() + seconds
    while has_members(process.pid) and time.monotonic() < deadline:
        process.poll()
        time.sleep(0.02)
    ended = not has_members(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return ended


def newest_checkpoint(folder: Path) -> list[Path]:
    """The files of the newest of two checkpoints or more; none of fewer."""
    checkpoints = sorted(folder.glob("run/save/CKPT*"), key=lambda path: path.stat().st_mtime)
    return sorted(checkpoints[-1].iterdir()) if len(checkpoints) > 1 else []


def flip_a_bit(file: Path, draws: random.Random) -> None:
    """Damages a file where nobody sees it."""
    content = bytearray(file.read_bytes())
    content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    file.write_bytes(content)


def weather(work: Work, folder: Path, draws: random.Random, findings: Findings) -> None:
    """Begins a piece of work, kills it some times, and lets it come to its end."""
    story = []
    for _ in range(draws.randint(1, MOST_KILLS)):
        process = start(work, folder)
        try:
            process.wait(draws.uniform(0, 1.1 * work.seconds))
            break  # it was faster
        except subprocess.TimeoutExpired:
            pass
        number = draws.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        to_all = draws.random() < 0.5
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number) if to_all else process.send_signal(number)
        findings.counts[f"{number.name} of {work.name}"] += 1
        findings.counts["kills"] += 1
        story.append(f"{number.name}{' to all' if to_all else ''}")
        if not wait_for_group(process, SECONDS_TO_END):
            findings.fault(f"{work.name}: a process outlived {', '.join(story)}")
        if draws.random() < 0.3 and (files := newest_checkpoint(folder)):
            flip_a_bit(draws.choice(files), draws)
            findings.counts["flipped bits"] += 1
            story.append("a flipped bit")
    come_to_an_end(work, folder, f"after {', '.join(story)}", findings)
    findings.counts["rounds"] += 1


def come_to_an_end(work: Work, folder: Path, story: str, findings: Findings) -> str:
    """Gives the command again, and looks at what it leaves; returns all that was printed."""
    told = f"{work.name} {story}, in {folder}"
    print(f"{work.name} {story}", flush=True)
    process = start(work, folder)
    if not wait_for_group(process, 60 + 10 * work.seconds):
        findings.fault(f"did not end: {told}")
    printed = printed_in(folder).read_text(errors="replace")
    if process.returncode:
        findings.fault(f"status {process.returncode}: {told}: {printed[-300:]}")
    elif work.result(folder) != work.expected:
        findings.fault(f"other results: {told}")
    if "Traceback" in printed:
        findings.fault(f"a traceback: {told}")
    left = [*folder.rglob("*.part"), *folder.rglob("partial-*"), *folder.rglob("*.unchecked")]
    if left:
        findings.fault(f"left over: {left[0]}: {told}")
    return printed


def flip_every_file(work: Work, folder: Path, draws: random.Random, findings: Findings) -> None:
    """Kills a run after its second checkpoint; goes on with a bit flipped in each of its files."""
    process = start(work, folder)
    while not newest_checkpoint(folder) and process.poll() is None:
        time.sleep(0.01)
    end_group(process)
    wait_for_group(process, SECONDS_TO_END)
    kept = folder.with_name(f"{folder.name}-kept")
    folder.rename(kept)
    for name in [file.name for file in newest_checkpoint(kept)]:
        shutil.copytree(kept, folder)
        flip_a_bit(next(one for one in newest_checkpoint(folder) if one.name == name), draws)
        printed_in(folder).unlink()
        printed = come_to_an_end(work, folder, f"after a flipped bit in {name}", findings)
        if "is broken" not in printed:
            findings.fault(f"{work.name}: a flipped bit in {name} was not told")
        findings.counts[f"flipped bits in every file of {work.name}"] += 1
        shutil.rmtree(folder)


def fill_disk(work: Work, folder: Path, draws: random.Random, findings: Findings) -> None:
    """Lets work meet a full disk, and go on when there is room."""
    folder.mkdir(parents=True)
    size = f"size={round(draws.uniform(0.1, 1) * work.megabytes * 1024) + 16}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        print("no disk can be mounted here: none is filled", flush=True)
        return
    try:
        process = start(work, folder)
        if not wait_for_group(process, 60 + 10 * work.seconds):
            findings.fault(f"{work.name}: did not end at a full disk of {size}")
        printed = printed_in(folder).read_text(errors="replace")
        is_full = process.returncode == 1 and "space" in printed
        if not is_full and (process.returncode or work.result(folder) != work.expected):
            findings.fault(f"full disk: status {process.returncode}: {work.name}: {printed[-300:]}")
        findings.counts["full disks"] += is_full
        findings.counts[f"full disk of {work.name}"] += is_full
        subprocess.run(["mount", "-o", "remount,size=2g", str(folder)], check=True)
        come_to_an_end(work, folder, f"after a disk of {size}", findings)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leave_alone(work: Work, folder: Path) -> None:
    """Does a piece of work without a disturbance: what it leaves is what is expected."""
    before = time.monotonic()
    process = start(work, folder)
    if not wait_for_group(process, 600) or process.returncode:
        printed = printed_in(folder).read_text(errors="replace")
        raise SystemExit(f"{work.name}, left alone, failed: {printed[-2000:]}")
    work.seconds, work.expected = time.monotonic() - before, work.result(folder)
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    work.megabytes = sum(files) / 2**20
    print(f"{work.name}: {work.seconds:.1f} s, {work.megabytes:.1f} MB", flush=True)


def main() -> int:
    """Storms for some minutes; returns 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="", help="only work whose name begins so")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    findings, draws = Findings(), random.Random(arguments.seed)
    base = Path(tempfile.mkdtemp(prefix="storm-"))
    print(f"seed {arguments.seed}, in {base}", flush=True)
    works = [work for work in make_work(base) if work.name.startswith(arguments.work)]
    end = time.monotonic() + 60 * arguments.minutes
    flipped: set[str] = set()
    can_mount = os.geteuid() == 0
    for number in range(10**9):
        if time.monotonic() > end:
            break
        work = works[number] if number < len(works) else draws.choice(works)
        if work.expected is None:
            leave_alone(work, base / f"alone{number}")
        folder, kind = base / f"round{number}", work.name.partition(",")[0]
        if work.result is run_result and kind not in flipped:
            flipped.add(kind)
            flip_every_file(work, base / f"flips{number}", draws, findings)
        if can_mount and draws.random() < FULL_DISKS:
            fill_disk(work, base / f"small{number}", draws, findings)
        weather(work, folder, draws, findings)
    for name, count in sorted(findings.counts.items()):
        print(f"{count:5} {name}")
    print(f"{len(findings.faults)} faults" + (f", see {base}" if findings.faults else ""))
    if not findings.faults:
        shutil.rmtree(base)
    return bool(findings.faults)


if __name__ == "__main__":
    sys.exit(main())

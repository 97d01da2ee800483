"""A plugin that does to each row what the row says: it works, it fails, it crashes, or it harms its worker."""

import ctypes
import json
import os
import signal
import time


def run(rows):
    return [one(row["text"]["path"]) for row in rows]


def one(path):
    with open(path) as file:
        order = json.load(file)
    deed = order["deed"]
    if "cure" in order and os.path.exists(order["cure"]):
        deed = "work"
    note(order, "begin" if deed == "work" else "fault")
    done = DEEDS[deed](order.get("with"))
    note(order, "end")
    return done


def note(order, what):
    with open(order["trace"], "a") as trace:
        trace.write(f"{what} {order['row']} {time.time_ns() // 1_000_000}\n")


def work(seconds):
    if isinstance(seconds, float):
        time.sleep(seconds)
    return {"done": True, "vectors": {"fault_v1": [1.0, 0.0]}}


def refuse(_):
    raise ValueError("this row is wrong")


def segfault(_):
    ctypes.string_at(0)


def allocate(mib):
    return {"bytes": len(bytearray(mib << 20))}


def touch(mib):
    held = []
    for _ in range(mib):
        held.append(b"x" * (1 << 20))
    return work(held)


def fill_disk(path):
    with open(path, "wb") as file:
        for _ in range(1 << 14):
            file.write(b"x" * (1 << 16))
    return work(None)


def fill_temporary_files(_):
    path = os.path.join(os.environ["TMPDIR"], "filler")
    try:
        return fill_disk(path)
    finally:
        os.unlink(path)


def loop(_):
    while True:
        pass


def hurt_worker(name):
    # The first SIGSEGV from outside is taken for a stack overflow by Rust's handler, which stands down.
    for _ in range(2):
        os.kill(os.getppid(), getattr(signal, name))
        time.sleep(0.05)
    time.sleep(600)


DEEDS = {
    "work": work,
    "refuse": refuse,
    "segfault": segfault,
    "abort": lambda _: os.abort(),
    "exit": os._exit,
    "allocate": allocate,
    "touch": touch,
    "sleep": lambda seconds: (time.sleep(seconds), work(None))[1],
    "loop": loop,
    "wrong vector": lambda _: {"vectors": {"fault_v1": [1.0, 2.0, 3.0]}},
    "fill disk": fill_disk,
    "fill temporary files": fill_temporary_files,
    "hurt worker": hurt_worker,
}

"""Run on a board: everything that comes from one serial device goes to the other, and back.

``python bridge.py DEVICE DEVICE``; waits for both to be there.
"""

from __future__ import annotations

import os
import selectors
import sys
import time

import serial


def opened(device: str) -> serial.Serial:
    """The device, raw, once it is there."""
    while not os.path.exists(device):
        time.sleep(0.1)
    return serial.Serial(device, 921600, timeout=0)


def main(one: str, other: str) -> None:
    ports = opened(one), opened(other)
    ready = selectors.DefaultSelector()
    for source, target in (ports, ports[::-1]):
        ready.register(source, selectors.EVENT_READ, target)
    while True:
        for key, _ in ready.select():
            key.data.write(key.fileobj.read(4096))


if __name__ == "__main__":
    main(*sys.argv[1:])

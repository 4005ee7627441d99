#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""serial.py PATH STEP... - the other end of a guest's serial line: a terminal or a UNIX socket. Prints a line of TAP,
without a number, for each thing that it tries. The guest's end is serial-16550.guest, which does as it is told.

  flood          have the guest send without an end; return when some of it has come
  reboot         have it boot again
  rebind         have it unbind its driver and bind it again
  shell          log in, use the shell, log out; log in again and hang up
  stall          it stops reading, while much is sent to it; nothing is lost
  bulk N         N bytes each way, with checksums
  end            have it end
"""
import hashlib
import os
import select
import socket
import sys
import termios
import time
import tty

LIMIT = 150  # seconds for any one thing; a loaded machine is slow


class Line:
    def __init__(self, path):
        self.path, self.have = path, b""
        self.open()

    def open(self):
        end = time.monotonic() + 20
        while not os.path.exists(self.path) and time.monotonic() < end:
            time.sleep(0.05)
        self.socket = None
        if os.path.realpath(self.path).startswith("/dev/pts/"):
            self.fd = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self.fd, termios.TCSANOW)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(self.path)
            self.fd = self.socket.fileno()
        os.set_blocking(self.fd, False)

    def close(self):
        self.have = b""
        if self.socket:
            self.socket.close()
        else:
            os.close(self.fd)

    def wait(self, write=False):
        if not select.select([self.fd], [self.fd] if write else [], [], LIMIT)[0] and not write:
            raise TimeoutError(f"nothing comes; there is {self.have[-200:]!r}")

    def some(self):
        self.wait()
        got = os.read(self.fd, 65536)
        if not got:
            raise EOFError("the other end is closed")
        self.have += got

    def until(self, words):
        while words not in self.have:
            self.some()
        before, self.have = self.have.split(words, 1)
        return before

    def send(self, data):
        while data:
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                select.select([], [self.fd], [], LIMIT)

    def ready(self):
        self.until(b"READY\n")


def flood(line):
    line.ready()
    line.send(b"flood\n")
    line.until(b"FLOOD" * 100)


def reboot(line):
    line.ready()
    line.send(b"reboot\n")


def rebind(line):
    line.ready()
    line.send(b"rebind\n")


def log_in(line):
    line.until(b"login: ")
    line.send(b"root\r")
    line.until(b"# ")


def shell(line):
    line.ready()
    line.send(b"shell\n")
    log_in(line)
    line.send(b"echo $((6 * 7)) on $(tty)\r")
    line.until(b"\n42 on /dev/ttyS1\r\n")
    line.until(b"# ")
    line.send(b"sleep 100\r")  # and no further: ^C
    line.until(b"sleep 100")
    time.sleep(0.5)
    line.send(b"\3")
    line.until(b"# ")
    line.send(b"exit\r")
    log_in(line)
    line.send(b"echo $$ >/tmp/shell; echo armed\r")
    line.until(b"\narmed\r\n")
    line.close()
    time.sleep(3)  # a terminal that is opened again before the host has looked was never closed
    line.open()


def same(who, theirs, data):
    mine = hashlib.sha256(data).hexdigest()
    if theirs != mine:
        raise ValueError(f"{who} {theirs}, not {mine}")
    return mine


def stall(line):
    data = os.urandom(65536)
    line.ready()
    line.send(b"stall %d\n" % len(data))
    line.until(b"NOW\n")
    line.send(data)
    same("the guest has got", line.until(b"\n").decode(), data)


def bulk(line, size):
    data = os.urandom(size)
    line.ready()
    line.send(b"bulk %d\n" % size)
    line.until(b"NOW\n")
    start = time.monotonic()
    line.send(data)
    for n in range(0, size, 65536):
        line.until(b"%d\n" % (n + 65536))
    their = line.until(b"\n").decode()
    there = time.monotonic()
    print(f"# {size} bytes to the guest in {there - start:.1f} s: {same('the guest has got', their, data)}", flush=True)
    while len(line.have) < size:
        line.some()
    back = time.monotonic()
    data, line.have = line.have[:size], line.have[size:]
    their = line.until(b"\n").decode()
    print(f"# {size} bytes back in {back - there:.1f} s: {same('the guest has sent', their, data)}", flush=True)


def end(line):
    line.ready()
    line.send(b"end\n")


def main(path, *words):
    steps = {f.__name__: f for f in (flood, reboot, rebind, shell, stall, bulk, end)}
    line, words = Line(path), list(words)
    while words:
        word = words.pop(0)
        arguments = [int(words.pop(0))] if word == "bulk" else []
        try:
            steps[word](line, *arguments)
            print(f"ok - {word}", flush=True)
        except Exception as e:  # whatever it is, it is the step's result
            print(f"not ok - {word}: {e!r}", flush=True)
            return 1
    return 0


sys.exit(main(*sys.argv[1:]))

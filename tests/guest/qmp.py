#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""qmp.py SOCKET COMMAND [JSON-ARGUMENTS]... - send QMP commands in order and print replies ("sleep N" waits)."""
import json
import socket
import sys
import time


def connect(path):
    for _ in range(200):
        try:
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            return s
        except OSError:
            time.sleep(0.05)
    sys.exit(f"qmp.py: nobody listens on {path}")


class Qmp:
    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, name, arguments=None):
        message = {"execute": name}
        if arguments is not None:
            message["arguments"] = arguments
        self.file.write(json.dumps(message) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError("QEMU has closed the monitor")
            reply = json.loads(line)
            if "event" not in reply:
                return reply
            print("event", reply["event"], json.dumps(reply.get("data", {})), flush=True)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    qmp = Qmp(sys.argv[1])
    words = sys.argv[2:]
    status = 0
    while words:
        name = words.pop(0)
        if name == "sleep":
            time.sleep(float(words.pop(0)))
            continue
        arguments = json.loads(words.pop(0)) if words and words[0].startswith("{") else None
        try:
            reply = qmp.call(name, arguments)
        except (OSError, EOFError, ValueError) as error:
            sys.exit(f"qmp.py: {name}: {error}")
        print(name, json.dumps(reply), flush=True)
        if "error" in reply:
            status = 1
    sys.exit(status)


main()

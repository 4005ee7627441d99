#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""picture.py png FILE WIDTH HEIGHT | vnc SOCKET WIDTH HEIGHT | text FILE - looks at what the host shows.

png, vnc: it is the test picture of draw.c, pixel by pixel (a viewer is given some time to get it).
text: the console shows "AAAAAAAABBBBBBBB" in its first cells of 8 x 16 pixels, and nothing behind it.
"""
import socket
import struct
import sys
import time
import zlib


def read_png(path):
    """-> width, height, rows of RGB bytes; of what the host writes: 8 bits, RGB, not interlaced"""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG file"
    at, packed, width, height = 8, b"", 0, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0], "a wrong checksum"
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, interlace) == (8, 2, 0), "another kind of PNG file"
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    raw, line, rows = zlib.decompress(packed), 3 * width + 1, []
    before = bytearray(3 * width)
    for y in range(height):
        method, row = raw[y * line], bytearray(raw[y * line + 1:(y + 1) * line])
        unfilter(method, row, before)
        rows.append(bytes(row))
        before = row
    return width, height, rows


def unfilter(method, row, above):
    if method == 0:
        return
    if method == 2:
        row[:] = bytes((a + b) & 255 for a, b in zip(row, above))
        return
    for i in range(len(row)):
        left = row[i - 3] if i >= 3 else 0
        corner = above[i - 3] if i >= 3 else 0
        if method == 1:
            add = left
        elif method == 3:
            add = (left + above[i]) // 2
        else:
            p = left + above[i] - corner
            a, b, c = abs(p - left), abs(p - above[i]), abs(p - corner)
            add = left if a <= b and a <= c else above[i] if b <= c else corner
        row[i] = (row[i] + add) & 255


def expected(width, height):
    rows = []
    for y in range(height):
        row = bytearray(3 * width)
        row[0::3] = bytes((7 * x + 3 * y) & 255 for x in range(width))
        row[1::3] = bytes((x ^ y) & 255 for x in range(width))
        row[2::3] = bytes((x + 5 * y) & 255 for x in range(width))
        rows.append(bytes(row))
    return rows


def compare(width, height, rows, wanted):
    want_width, want_height = len(wanted[0]) // 3, len(wanted)
    if (width, height) != (want_width, want_height):
        return f"it has {width} x {height} pixels, not {want_width} x {want_height}"
    for y in range(height):
        if rows[y] != wanted[y]:
            x = next(i for i in range(3 * width) if rows[y][i] != wanted[y][i]) // 3
            return f"pixel {x},{y} is {rows[y][3 * x:3 * x + 3].hex()}, not {wanted[y][3 * x:3 * x + 3].hex()}"
    return None


class Viewer:
    """RFB 3.8, RFC 6143: no authentication, raw pixels, and the size may change."""

    def __init__(self, path):
        if path.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection(path.rsplit(":", 1))
        self.socket.settimeout(20)
        assert self.read(12)[:4] == b"RFB "
        self.socket.sendall(b"RFB 003.008\n")
        assert 1 in self.read(self.read(1)[0]), "it wants a password"
        self.socket.sendall(b"\x01")
        assert self.read(4) == b"\0\0\0\0"
        self.socket.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.read(20)[:4])
        self.read(struct.unpack(">I", self.read(4))[0])
        # 32 bits, little-endian, red first; raw, and the pseudo encoding of a new size
        self.socket.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 0, 8, 16))
        self.socket.sendall(struct.pack(">BxHii", 2, 2, 0, -223))
        self.rows = [bytearray(4 * self.width) for _ in range(self.height)]

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            assert more, "the host has closed the connection"
            data += more
        return data

    def update(self, incremental):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        kind = self.read(1)[0]
        assert kind == 0, f"message {kind}"
        for _ in range(struct.unpack(">xH", self.read(3))[0]):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
            if encoding == -223:
                self.width, self.height = w, h
                self.rows = [bytearray(4 * w) for _ in range(h)]
            else:
                assert encoding == 0, f"encoding {encoding}"
                data = self.read(4 * w * h)
                for i in range(h):
                    self.rows[y + i][4 * x:4 * (x + w)] = data[4 * w * i:4 * w * (i + 1)]

    def picture(self):
        rows = []
        for row in self.rows:
            rgb = bytearray(3 * self.width)
            for i in range(3):
                rgb[i::3] = row[i::4]
            rows.append(bytes(rgb))
        return self.width, self.height, rows


def watch(path, wanted):
    viewer, wrong = Viewer(path), "nothing has come"
    viewer.update(0)
    for _ in range(50):
        wrong = compare(*viewer.picture(), wanted)
        if not wrong:
            return None
        time.sleep(0.1)
        viewer.update(0)
    return wrong


def text(path):
    _, _, rows = read_png(path)

    def cell(column, line):
        return [rows[16 * line + y][24 * column:24 * column + 24] for y in range(16)]
    empty = [bytes(24)] * 16
    for column in range(40):
        like = cell(0 if column < 8 else 8, 0) if column < 16 else empty
        if cell(column, 0) != like or cell(column, 1) != empty:
            return f"column {column} is not as it should be"
    if cell(0, 0) == empty or cell(8, 0) == empty or cell(0, 0) == cell(8, 0):
        return "there is no text"
    return None


def main():
    if sys.argv[1] == "text":
        wrong = text(sys.argv[2])
    else:
        wanted = expected(int(sys.argv[3]), int(sys.argv[4]))
        wrong = compare(*read_png(sys.argv[2]), wanted) if sys.argv[1] == "png" else watch(sys.argv[2], wanted)
    if wrong:
        sys.exit(f"picture.py: {wrong}")


if __name__ == "__main__":
    main()

"""Reading what a report holds: its elements, its words, its pictures."""

import base64
import struct
import zlib
from html.parser import HTMLParser

import numpy as np

#: Elements without an end.
VOID = {"img", "meta", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text; one that does not end where it must is an error."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute stands twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self):
        """Red, green, blue of each picture by its words, the lowest row first."""
        return {image["alt"]: decode(image["src"]) for image in self.all("img")}


def decode(uri):
    """Pixels (H, W, 3) of an embedded PNG with a palette, the lowest row first; a chunk that is damaged is an error."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    file, chunks = base64.b64decode(data, validate=True), {}
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    start = 8
    while start < len(file):
        (length,) = struct.unpack(">I", file[start : start + 4])
        name, body = file[start + 4 : start + 8], file[start + 8 : start + 8 + length]
        assert struct.unpack(">I", file[start + 8 + length : start + 12 + length]) == (zlib.crc32(name + body),)
        chunks[name] = body
        start += 12 + length
    width, height, depth, color, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, color, rest) == (8, 3, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any(), "rows are not filtered"
    palette = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)
    return palette[rows[::-1, 1:]]

"""A corpus of what people's folders hold: everything that goes in is kept or rejected, and no good picture is lost.

It is collected and inspected in a process of its own, whose memory and time are measured.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tarfile
import unicodedata
import warnings
import wave
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from miniature.film import encode

MOST_MEGABYTES = 1_000
"""Of memory that the process may have held at once; the libraries alone take some 150."""
MOST_SECONDS = 240
"""Of the processor; the system ends the process that takes more. It takes a small part of that."""

WORK = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
from pipeline import task
from pipeline.engines import local
from pipeline.progress import silent
from pipeline.records import Record
from pipeline.stages import collect, inspect
from pipeline.store import Store
of, items = task.load("storyboard"), collect.find([Path(each) for each in sys.argv[3:]])
with Store(Path(sys.argv[1])) as store:
    local.run(collect.stage(of, items, store.folder, []), items, store, upstream="", progress=silent)
    found = store.items(Record, "collected")
    local.run(inspect.stage(of, store.folder, 1), found, store, upstream="", progress=silent)
    kept = store.items(Record, "records")
    rows = [*store.rejected("collect"), *store.rejected("inspect")]
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({
    "items": {item.id: item.source.encode(errors="replace").decode() for item in items},
    "collected": [[record.id, record.source] for record in found],
    "kept": [record.source for record in kept],
    "rejected": [[row.id, row.what, row.reason, row.detail] for row in rows],
    "peak": int(peak) // 1024,  # not `ru_maxrss`, which a process inherits
}))
"""


@dataclass
class Corpus:
    """Files of known kinds in a folder, and sources beside it."""

    home: Path
    good: list[str] = field(default_factory=list)
    """Names of those that must be kept."""
    bad: list[str] = field(default_factory=list)
    """Names of those that must be rejected."""
    hidden: list[str] = field(default_factory=list)
    """Names of those that are nobody's source."""
    either: list[str] = field(default_factory=list)
    seed: int = 0

    @property
    def kinds(self) -> int:
        return len(self.good) + len(self.bad) + len(self.hidden) + len(self.either)

    def picture(self, size: tuple[int, int] = (320, 180)) -> Image.Image:
        self.seed += 1
        coarse = np.random.default_rng(self.seed).integers(0, 256, (5, 8, 3), np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)

    def encoded(self, kind: str, mode: str = "RGB", **more: Any) -> bytes:
        buffer = io.BytesIO()
        self.picture().convert(mode).save(buffer, kind, **more)
        return buffer.getvalue()

    def put(self, names: list[str], name: str, content: bytes) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        names.append(name)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int, more: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def add_formats(corpus: Corpus) -> None:
    """Sound pictures of all kinds."""
    put, good, encoded = corpus.put, corpus.good, corpus.encoded
    put(good, "plain.png", encoded("PNG"))
    put(good, "plain.jpg", encoded("JPEG"))
    put(good, "progressive.jpg", encoded("JPEG", progressive=True))
    put(good, "cmyk.jpg", encoded("JPEG", "CMYK"))
    put(good, "grey.jpg", encoded("JPEG", "L"))
    put(good, "plain.webp", encoded("WEBP"))
    put(good, "plain.avif", encoded("AVIF"))
    put(good, "plain.bmp", encoded("BMP"))
    put(good, "plain.tif", encoded("TIFF"))
    put(good, "packed.tif", encoded("TIFF", compression="tiff_lzw"))
    put(good, "plain.gif", encoded("GIF"))
    put(good, "palette.png", encoded("PNG", "P", transparency=0))
    put(good, "transparent.png", encoded("PNG", "RGBA"))
    put(good, "grey-alpha.png", encoded("PNG", "LA"))
    put(good, "one-bit.png", encoded("PNG", "1"))
    deep = np.asarray(corpus.picture().convert("L")).astype(np.uint16) * 257
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    put(good, "16-bit.png", buffer.getvalue())
    for kind in ("GIF", "WEBP", "TIFF"):
        frames = [corpus.picture() for _ in range(3)]
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        put(good, f"several.{kind.lower()}", buffer.getvalue())


def add_metadata(corpus: Corpus) -> None:
    """Sound pixels, odd things around them."""
    put, good, encoded = corpus.put, corpus.good, corpus.encoded
    turned = Image.Exif()
    turned[274] = 6
    buffer = io.BytesIO()
    corpus.picture((180, 320)).save(buffer, "JPEG", exif=turned)
    put(good, "turned.jpg", buffer.getvalue())
    put(
        good,
        "profile.png",
        encoded("PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    )
    put(good, "broken-profile.jpg", encoded("JPEG", icc_profile=b"no profile at all" * 50))
    put(good, "wrong-profile.png", encoded("PNG", icc_profile=b"\0" * 128))
    put(good, "broken-exif.jpg", encoded("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 3_000_000)
    put(good, "workflow.png", encoded("PNG", pnginfo=texts))
    put(good, "with-more-behind.jpg", encoded("JPEG") + b"trailing bytes" * 1000)
    put(corpus.either, "without-its-end.jpg", encoded("JPEG")[:-2])


def add_names(corpus: Corpus) -> None:
    """Sound pictures with names that programs trip over."""
    names = [
        "no-ending", "UPPER.JPEG", "png-called.jpg", "text-called.png.bak", "mit Umlaut größe.png", "猫 🐈.png",
        "-rf.png", "it's \"quoted\" & $HOME.png", "[/b].png", "100%.png", "a#b?c.png", " leading.png", "dots...png",
        f"{'long' * 50}.png", f"{'d/' * 60}deep.png", "con.png", "percent%2Fslash.png", "line\nbreak.png",
        unicodedata.normalize("NFD", "é.png"), "folder.png/inside.png", "caption.png",
    ]  # fmt: skip
    for name in names:
        corpus.put(corpus.good, name, corpus.encoded("PNG"))
    outside = corpus.home.parent / "outside.png"
    corpus.picture().save(outside)
    (corpus.home / "link.png").symlink_to(outside)
    corpus.good.append("link.png")
    (corpus.home / "loop").symlink_to(corpus.home)
    for name in (".hidden.png", ".cache/thumbnail.png", "._plain.png", "@eaDir/a.png", "__MACOSX/._a.png", "Thumbs.db"):
        corpus.put(corpus.hidden, name, corpus.encoded("PNG"))
    broken = corpus.home.joinpath("line\nbreak-of-a-broken-one.png")
    corpus.put(corpus.bad, broken.name, b"\x89PNG\r\n\x1a\n")


def add_sizes(corpus: Corpus) -> None:
    """Too small, too narrow, too large, and those that only say they are large."""
    put, bad = corpus.put, corpus.bad
    for name, size in (
        ("1x1.png", (1, 1)),
        ("6000x4.png", (6000, 4)),
        ("4x6000.jpg", (4, 6000)),
        ("icon.gif", (16, 16)),
    ):
        buffer = io.BytesIO()
        corpus.picture(size).save(buffer, name.rpartition(".")[2].replace("jpg", "jpeg"))
        put(bad, name, buffer.getvalue())
    put(bad, "bomb.png", png_header(30_000, 30_000))
    put(bad, "says-huge.png", png_header(2**31 - 1, 2**31 - 1))
    put(bad, "no-width.png", png_header(0, 10))
    put(
        bad,
        "says-huge.gif",
        b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(768) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;",
    )
    put(bad, "says-huge.bmp", b"BM" + struct.pack("<IHHIIiiHH", 100, 0, 0, 54, 40, 2**30, 2**30, 1, 24) + bytes(100))
    put(bad, "says-huge.webp", b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff" + bytes(40))
    plain = corpus.encoded("JPEG")
    start = plain.index(b"\xff\xc0") + 5
    put(bad, "says-huge.jpg", plain[:start] + b"\xff\xdc\xff\xdc" + plain[start + 4 :])
    zeros = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))
    put(bad, "text-bomb.png", png_header(640, 360, zeros))
    put(bad, "many-chunks.png", png_header(640, 360, chunk(b"tEXt", b"") * 50_000))


def add_damage(corpus: Corpus) -> None:
    """Cut off, empty, or of another kind than they say."""
    put, bad, encoded = corpus.put, corpus.bad, corpus.encoded
    put(bad, "empty.png", b"")
    put(bad, "one-byte.jpg", b"\xff")
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        content = encoded(kind)
        put(bad, f"half.{kind.lower()}", content[: len(content) // 2])
    checked = bytearray(encoded("PNG"))
    checked[40] ^= 0xFF
    put(bad, "wrong-checksum.png", bytes(checked))
    put(bad, "head-only.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    put(bad, "circle.tif", b"II*\0\x08\0\0\0\x01\0\0\x01\x03\0\x01\0\0\0\x10\0\0\0\x08\0\0\0")
    put(bad, "text.jpg", b"not a picture at all")
    put(bad, "page.png", b"<!doctype html><title>404</title>")
    put(bad, "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    put(bad, "program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n")
    put(bad, "noise.png", bytes(np.random.default_rng(1).integers(0, 256, 5000, np.uint8)))
    put(bad, "zeros.jpg", bytes(5000))
    put(bad, "script.exe", b"MZ" + bytes(300))
    stubs = {
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "camera.cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
        "new.jxl": b"\xff\x0a" + bytes(100),
        "layers.psd": b"8BPS\0\x01" + bytes(100),
        "old.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "table.parquet": b"PAR1" + bytes(100),
        "packed.7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
        "packed.rar": b"Rar!\x1a\x07\0" + bytes(100),
        "packed.gz": gzip.compress(b"a"),
        "broken.pdf": b"%PDF-1.7\nnothing",
    }
    for name, content in stubs.items():
        put(bad, name, content)


def add_films(corpus: Corpus) -> None:
    home = corpus.home
    frames = [np.asarray(corpus.picture((320, 180)))] * 14
    encode(home / "good.mp4", iter(frames), size=(320, 180), fps=12)
    corpus.good.append("good.mp4")
    frames = [np.asarray(corpus.picture((320, 180)))] * 14
    encode(home / "other.mp4", iter(frames), size=(320, 180), fps=12)
    (home / "other.mp4").rename(home / "film-called.jpg")
    corpus.good.append("film-called.jpg")
    content = (home / "good.mp4").read_bytes()
    corpus.put(corpus.bad, "half.mp4", content[: len(content) // 2])
    corpus.put(corpus.bad, "head.mp4", content[:40])
    corpus.put(corpus.bad, "head.mkv", b"\x1aE\xdf\xa3" + bytes(400))
    corpus.put(corpus.bad, "stream.ts", (b"G" + bytes(187)) * 20)
    corpus.put(corpus.bad, "list.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    corpus.put(corpus.bad, "list.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n")
    with av.open(str(home / "sound.mp4"), "w") as film:
        stream = film.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        for packet in [*stream.encode(sound), *stream.encode(None)]:
            film.mux(packet)
    corpus.bad.append("sound.mp4")
    with wave.open(str(home / "sound.wav"), "wb") as sound_file:
        sound_file.setparams((1, 2, 8000, 0, "NONE", ""))
        sound_file.writeframes(bytes(1000))
    corpus.bad.append("sound.wav")


def add_things_that_are_no_files(corpus: Corpus) -> None:
    home, bad = corpus.home, corpus.bad
    for name in ("pipe.png", "pipe.mp4", "pipe"):
        os.mkfifo(home / name)
        bad.append(name)
    for name, target in (("zero.png", "/dev/zero"), ("random.mp4", "/dev/urandom"), ("nowhere.jpg", "no/such/file")):
        (home / name).symlink_to(target)
        bad.append(name)
    (home / "itself.png").symlink_to(home / "itself.png")
    bad.append("itself.png")
    here = os.getcwd()
    os.chdir(home)  # the address of a socket may have a hundred letters
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind("socket.png")
    finally:
        os.chdir(here)
    bad.append("socket.png")
    for name, head in (("endless.png", b"\x89PNG\r\n\x1a\n"), ("endless.mkv", b"\x1aE\xdf\xa3"), ("endless.bin", b"")):
        with (home / name).open("wb") as file:
            file.write(head)
            file.truncate(1 << 40)
        bad.append(name)
    corpus.put(corpus.either, "unreadable.png", corpus.encoded("PNG"))
    (home / "unreadable.png").chmod(0)  # which does not keep an administrator from reading it
    with open(os.fsencode(home) + b"/not-utf-8-\xff.png", "wb") as file:
        file.write(corpus.encoded("PNG"))
    bad.append("not-utf-8-?.png")


def add_texts(corpus: Corpus) -> None:
    """Texts beside pictures that cost only themselves."""
    home = corpus.home
    (home / "plain.txt").write_bytes("красная коробка на столе".encode("cp1251"))
    (home / "belongs-to-nothing.txt").write_text("a text")
    (home / "cmyk.txt").write_bytes(bytes(1 << 20))
    (home / "grey.txt").write_text("a red box\0")
    os.mkfifo(home / "one-bit.txt")
    corpus.bad += ["plain.txt", "belongs-to-nothing.txt", "cmyk.txt", "grey.txt", "one-bit.txt"]


def beside(corpus: Corpus) -> list[Path]:
    """Sources of their own."""
    home = corpus.home.parent
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(home / "evil.zip", "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in ("good-in-zip.png", "../out.png", "/absolute.png", "a/../../b.png", "c\\d.png", "good-in-zip.png"):
            archive.writestr(name, corpus.encoded("PNG"))
        archive.writestr("bomb.png", bytes(1 << 29))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (home / "half.zip").write_bytes((home / "evil.zip").read_bytes()[:5000])
    (home / "list.txt").write_text("http://127.0.0.1:9/a.png\nhttp://169.254.169.254/latest\nfile:///etc/passwd\n")
    with tarfile.open(home / "evil.tar", "w") as packed:
        for name in ("good-in-tar.png", "../out.png", "/absolute.png"):
            content = corpus.encoded("PNG")
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
        for kind, name in (
            (tarfile.SYMTYPE, "link.png"),
            (tarfile.FIFOTYPE, "pipe.png"),
            (tarfile.CHRTYPE, "device.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            packed.addfile(info)
    corpus.picture().save(home / "listed.png")
    rows = ("listed.png", "gone.png", "/dev/null", "/etc/passwd", "in", "in/pipe.png", "http://10.0.0.1/a.png", "")
    (home / "table.csv").write_text("\n".join(["image,text", *(f"{name},a text" for name in rows)]))
    return [home / name for name in ("evil.zip", "half.zip", "list.txt", "evil.tar", "table.csv")]


@dataclass(frozen=True)
class Outcome:
    corpus: Corpus
    told: dict[str, Any]

    def of(self, name: str) -> str:
        """The address of a file of the corpus."""
        return f"{self.corpus.home}/{name}"

    @property
    def reasons(self) -> dict[str, list[str]]:
        """By what was rejected, why."""
        found: dict[str, list[str]] = {}
        for _, what, reason, _ in self.told["rejected"]:
            found.setdefault(what, []).append(reason)
        return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    home = tmp_path_factory.mktemp("corpus")
    corpus = Corpus(home / "in")
    corpus.home.mkdir()
    parts = (add_formats, add_metadata, add_names, add_sizes, add_damage, add_films, add_things_that_are_no_files)
    for add in (*parts, add_texts):
        add(corpus)
    command = [sys.executable, "-c", WORK, str(home / "run"), str(MOST_SECONDS), str(corpus.home)]
    before = {path for path in home.rglob("*") if "loop" not in path.parts}
    done = subprocess.run([*command, *map(str, beside(corpus))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    written = {path for path in home.rglob("*") if "loop" not in path.parts} - before
    assert {path.relative_to(home).parts[0] for path in written} <= {"run", *os.listdir(home)}
    assert not (home / "out.png").exists() and not Path("/absolute.png").exists()
    yield Outcome(corpus, json.loads(done.stdout))
    (corpus.home / "unreadable.png").chmod(0o600)


def test_the_corpus_has_many_kinds(outcome: Outcome) -> None:
    assert outcome.corpus.kinds >= 60


def test_what_goes_in_is_kept_or_rejected(outcome: Outcome) -> None:
    told = outcome.told
    by_source = {source: id for id, source in told["items"].items()}
    collected = {by_source[source] for _, source in told["collected"]}
    rejected = {row[0].partition("#")[0] for row in told["rejected"]}
    assert collected | rejected >= set(told["items"])
    records = dict(told["collected"])
    at_inspect = [records[row[0].partition("#")[0]] for row in told["rejected"] if row[0].partition("#")[0] in records]
    assert Counter(source for _, source in told["collected"]) == Counter(told["kept"]) + Counter(at_inspect)


def test_no_good_picture_is_lost(outcome: Outcome) -> None:
    lost = [name for name in outcome.corpus.good if outcome.of(name) not in outcome.told["kept"]]
    assert {name: outcome.reasons.get(outcome.of(name)) for name in lost} == {}
    beside = ("evil.zip/good-in-zip.png", "evil.tar/good-in-tar.png", "/listed.png")
    assert all(any(source.endswith(name) for source in outcome.told["kept"]) for name in beside)


def test_nothing_bad_is_kept(outcome: Outcome) -> None:
    corpus, kept = outcome.corpus, {*outcome.told["kept"]}
    assert [name for name in (*corpus.bad, *corpus.hidden) if outcome.of(name) in kept] == []
    silent = [name for name in corpus.bad if not any(outcome.of(name) in what for what in outcome.reasons)]
    assert silent == []


def test_every_reason_is_a_sentence_that_names_the_thing(outcome: Outcome) -> None:
    for _, what, reason, detail in outcome.told["rejected"]:
        assert re.fullmatch(r"[a-z][a-z -]+", reason), reason
        assert detail.endswith(".") and not detail.endswith(".."), detail
        assert re.sub(r" \(\d+\)$", "", os.path.basename(what)) in detail, (what, detail)
        assert "Traceback" not in detail and "Error(" not in detail and "<" not in detail.replace(what, ""), detail
        assert len(detail) < len(what) + 400, detail


def test_memory_is_bounded(outcome: Outcome) -> None:
    assert outcome.told["peak"] < MOST_MEGABYTES

"""Encodings: told by the bytes, or doubted by name."""

# ruff: noqa: RUF001  (texts in other scripts are what it is about)

from __future__ import annotations

import re

import pytest

from pipeline.sources.base import Fault
from pipeline.sources.encodings import decode

ENGLISH = "an old man in a “Café”, with a crème brûlée and déjà vu, reads the letter of his daughter"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_an_english_text_is_read_in_any_common_encoding(encoding: str) -> None:
    assert decode(ENGLISH.encode(encoding), "a.txt") == ENGLISH


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gbk", "一个留着灰胡子的老人坐在窗边读一封信，他身后一个穿蓝色连衣裙的女人正在煮汤，桌子下面睡着一只狗。"),
        (
            "shift_jis",
            "灰色のひげを生やした老人が窓辺に座って手紙を読み、後ろでは青いドレスの女性がスープを作っている。",
        ),
        (
            "koi8-r",
            "Старый мужчина с седой бородой сидит у окна и читает письмо, за ним женщина в синем платье варит суп",
        ),
        (
            "cp1250",
            "Stary mężczyzna z siwą brodą siedzi przy oknie i czyta list, za nim kobieta gotuje zupę, a pies śpi",
        ),
        ("utf-8", "机の上の赤い箱"),
        ("utf-16", "机の上の赤い箱"),
    ],
)
def test_a_text_that_has_one_likely_reading_is_read(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize(
    ("encoding", "text", "named"),
    [
        ("gbk", "一个红色的盒子放在桌子上", "gbk"),
        ("shift_jis", "机の上の赤い箱", "shift_jis"),
        ("cp1251", "красная коробка на столе", "cp1251"),
        ("koi8-r", "красная коробка на столе", "koi8_r"),
        ("euc_kr", "탁자 위의 빨간 상자", "euc_kr"),
        ("cp1250", "červený vůz na stole", "cp1250"),
        ("cp1254", "kırmızı kutu masanın üstünde", "cp1254"),
        ("cp1252", "une boîte rouge à café", "cp1252"),
        ("mac_roman", "une boîte rouge à café", "mac_roman"),
        ("utf-16-le", "机の上の赤い箱", "utf_16_le"),
    ],
)
def test_a_text_with_several_likely_readings_is_doubted_by_name(encoding: str, text: str, named: str) -> None:
    found = decode(text.encode(encoding), "/in/a.txt")
    assert isinstance(found, Fault) and found.reason == "encoding"
    assert found.detail.startswith("/in/a.txt is not UTF-8 text (byte ") and found.detail.endswith("save it as UTF-8.")
    assert named in found.detail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a red\0 box", r"the character U\+0000"),
        ("lost \ufffd letters".encode(), r"the character U\+FFFD"),
        ("机の上の赤い箱".encode("iso2022_jp"), r"the character U\+001B"),
        ("a box, désolé, à la fenêtre".encode()[:-1] + b"\xe9", r"damaged UTF-8 text \(byte"),
        ("a box, à la fenêtre".encode("utf-16")[:-1], r"damaged UTF-16-LE text"),
        ("a b".encode("utf-16") + b"\0\xd8", "damaged UTF-16-LE text"),
        (bytes(range(128, 256)) * 3, "is not UTF-8 text"),
        ("a café à la fenêtre".encode().decode("cp1252").encode(), r"wrong encoding once \('a cafÃ© .* for 'a café"),
        (b"\x1f\x8b\x08\x00abcdef", "it may be utf_16_be"),
        (b"a \xed\xa0\xbd box", r"damaged UTF-8 text \(byte 3 is 0xed|not UTF-8 text \(byte 3 is 0xed"),
    ],
)
def test_a_text_that_has_lost_letters_is_refused(content: bytes, said: str) -> None:
    found = decode(content, "a.txt")
    assert isinstance(found, Fault) and found.reason == "encoding"
    assert re.search(said, found.detail), found.detail


def test_letters_beyond_the_first_plane_may_be_written_in_halves() -> None:
    assert decode(b"a \xed\xa0\xbd\xed\xb8\x80 smile", "a.txt") == "a \U0001f600 smile"


def test_a_short_western_text_is_doubted_by_the_likeliest_name() -> None:
    found = decode("eine rote Kiste über der Tür".encode("cp1252"), "a.txt")
    assert isinstance(found, Fault) and "it may be cp1252 ('eine rote Kiste über" in found.detail


def test_marks_within_a_text_are_left_out() -> None:
    assert decode("\ufeff\ufeffa box".encode(), "a.txt") == "a box"
    assert decode(b"", "a.txt") == ""

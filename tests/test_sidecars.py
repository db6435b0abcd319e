"""Which files go with a picture's crops."""

from __future__ import annotations

from pathlib import Path

import pytest

from crop_core.errors import ImageError, RequestError
from crop_core.sidecars import beside, parse_sidecars, read_local, read_sidecars


def test_endings_are_a_list_without_repeats() -> None:
    assert parse_sidecars("") == ()
    assert parse_sidecars("txt, .caption,txt") == ("txt", "caption")


@pytest.mark.parametrize("text", ["jpg", "txt,PNG", "../x", "a/b", ",", "t x t", "a" * 17, ",".join("abcdefghijk")])
def test_a_picture_or_a_path_is_no_ending(text: str) -> None:
    with pytest.raises(RequestError, match="sidecars is at most 10 endings of files that are not pictures"):
        parse_sidecars(text)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("/in.d/cat.jpg", "/in.d/cat.txt"),
        ("cat", "cat.txt"),
        ("00_dog_1.91x1.webp", "00_dog_1.91x1.txt"),
        ("s3://bucket/a?b.jpg", "s3://bucket/a?b.txt"),
        ("https://example.com/cat.jpg?size=2.5", "https://example.com/cat.txt?size=2.5"),
        (".jpg", ".jpg.txt"),
    ],
)
def test_the_file_beside_has_the_pictures_name_and_another_ending(name: str, other: str) -> None:
    assert beside(name, "txt") == other


def test_a_file_that_is_not_there_is_left_out_and_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_bytes(b"a cat")
    (tmp_path / "cat.caption").mkdir()
    photo = str(tmp_path / "cat.jpg")
    assert read_sidecars(photo, ("txt", "json"), read_local) == {"txt": b"a cat"}
    with pytest.raises(ImageError, match=r"The \.caption file beside the picture cannot be read: Is a directory"):
        read_sidecars(photo, ("caption",), read_local)

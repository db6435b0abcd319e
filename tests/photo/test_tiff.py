"""TIFFs of every layout: read to the pixels that the tags describe, or refused by name."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import tifffile
from conftest import STORED_AS, encoded, ramp
from pictures import array_of, assert_reads_well
from PIL import Image
from tiffs import COMPRESSIONS, Made, directory, head, tiff_of

from crop_core import ImageError
from crop_core.photo.decode import decoded
from crop_core.photo.formats_apart import opened
from crop_core.photo.header import header_of
from crop_core.photo.photo import open_photo

WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8
WIDTH, HEIGHT = 37, 21  # neither of them fills bytes, strips or tiles
SEED = np.random.default_rng(4)


def numbers(bits: int, channels: int) -> np.ndarray:
    """Return [HEIGHT, WIDTH, channels] of numbers of so many bits, from dark at the left to bright at the right."""
    most = (1 << bits) - 1
    slope = np.linspace(0, most, WIDTH)[None, :, None] * np.linspace(0.5, 1, channels)
    noise = SEED.integers(-most // 16 - 1, most // 16 + 2, (HEIGHT, WIDTH, channels))
    return np.clip(np.rint(slope + noise), 0, most).astype(np.uint16)


def in_this_process(data: bytes) -> np.ndarray:
    """Return the pixels as the decoder's process makes them, without the tenth of a second that it takes to start."""
    image = opened(data, "TIFF")
    header = header_of(image, "TIFF")
    mode = "RGBA" if header.has_alpha else "RGB"
    return np.asarray(decoded(image, "TIFF", (header.width, header.height), mode)).astype(int)


def color_map(bits: int, deep: bool) -> tuple[int, ...]:
    steps = np.linspace(0, 255, 1 << bits).astype(int)
    colors = np.concatenate([steps, steps[::-1], (steps * 7) % 256])
    return tuple(int(value) for value in (colors * 257 if deep else colors))


def due_of(array: np.ndarray, made: Made) -> np.ndarray:
    """Return what the numbers mean by TIFF 6.0, [h, w, 3 or 4] of 0 to 255 and not rounded."""
    scaled = array * (255 / ((1 << made.bits) - 1))
    alpha = next((at for at, kind in enumerate(made.extra) if kind in (1, 2)), None)
    colors = array.shape[2] - len(made.extra)
    if made.photometric == PALETTE:
        palette = np.array(next(values for tag, _, values in made.tags if tag == 320)).reshape(3, -1).T
        shown = (palette / 257 if palette.max() > 255 else palette)[array[..., 0]]
    elif made.photometric in (WHITE_IS_0, BLACK_IS_0):
        shown = scaled[..., :1].repeat(3, axis=2)
        shown = 255 - shown if made.photometric == WHITE_IS_0 else shown
    elif made.photometric == CMYK:
        shown = (255 - scaled[..., :3]) * (255 - scaled[..., 3:4]) / 255
    else:
        shown = scaled[..., :3]
    if alpha is None:
        return shown
    opacity = scaled[..., colors + alpha : colors + alpha + 1]
    if made.extra[alpha] == 1:
        shown = np.clip(shown * 255 / np.maximum(opacity, 1e-9), 0, 255)
    return np.concatenate([shown, opacity], axis=2)


def layouts() -> dict[str, Made]:
    """Return the layouts of the sweep by name: every kind of number, in every form of file, stored in every way."""
    kinds = [(WHITE_IS_0, bits, ()) for bits in (1, 2, 4, 8, 12, 16)]
    kinds += [(BLACK_IS_0, bits, ()) for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16)]
    kinds += [(BLACK_IS_0, bits, extra) for bits in (8, 16) for extra in ((0,), (1,), (2,))]
    kinds += [(RGB, bits, ()) for bits in (4, 8, 10, 12, 16)]
    kinds += [(RGB, bits, extra) for bits in (8, 16) for extra in ((0,), (1,), (2,), (0, 0), (2, 0), (0, 2))]
    kinds += [(PALETTE, bits, extra) for bits in (1, 2, 4, 8) for extra in ((), (2,))] + [(CMYK, 8, ()), (CMYK, 16, ())]
    found = {}
    for (photometric, bits, extra), apart, tile, compression in itertools.product(
        kinds, (False, True), (0, 16), COMPRESSIONS
    ):
        if apart and photometric in (WHITE_IS_0, BLACK_IS_0, PALETTE) and not extra:
            continue  # one plane
        forms = (("<", False), (">", False), ("<", True), (">", True))
        for order, big in forms if compression == "none" else forms[:2]:
            for predictor in (1, 2) if bits in (8, 16) and compression in ("LZW", "deflate") else (1,):
                made = Made(bits, photometric, order, big, apart, compression, tile, 7, predictor, extra)
                deep = order == "<"
                if photometric == PALETTE:
                    made = replace(made, tags=((320, "H", color_map(bits, deep)),))
                name = f"{('white0-', 'black0-', 'rgb', 'palette', '', 'cmyk')[photometric]}{bits}"
                name += f"+{','.join(map(str, extra))}" * bool(extra) + " planes" * apart + " tiles" * bool(tile)
                name += f" {compression}" + " differences" * (predictor == 2)
                name += (" II" if order == "<" else " MM") + " big" * big
                found[name] = made
    return found


LAYOUTS = layouts()
GROUPS = sorted({name.split()[0] for name in LAYOUTS})


def made_of(made: Made) -> tuple[bytes, np.ndarray]:
    channels = {RGB: 3, CMYK: 4}.get(made.photometric, 1) + len(made.extra)
    array = numbers(made.bits, channels)
    if 1 in made.extra:  # no colour is brighter than its alpha
        at = channels - len(made.extra) + made.extra.index(1)
        array[..., at] = np.maximum(array[..., at], (1 << made.bits) // 4)
        is_color = np.arange(channels) < channels - len(made.extra)
        array = np.minimum(array, np.where(is_color, array[..., at : at + 1], 65_535))
    return tiff_of(array, made), array


@pytest.mark.parametrize("group", GROUPS)
def test_every_layout_shows_the_pixels_that_its_tags_speak_of(group: str) -> None:
    wrong = {}
    for name, made in LAYOUTS.items():
        if name.split()[0] != group:
            continue
        data, array = made_of(made)
        shown, due = in_this_process(data), due_of(array, made)
        if shown.shape != due.shape:
            wrong[name] = f"{shown.shape} for {due.shape}"
            continue
        difference = np.abs(shown - due)
        if shown.shape[2] == 4 and 1 in made.extra:  # what is nearly transparent has hardly a colour
            difference = difference * (due[..., 3:] / 255)
        if difference.max() > 2:
            wrong[name] = f"{difference.max():.0f} off"
    assert wrong == {}


def test_the_sweep_has_layouts_of_every_kind() -> None:
    assert len(LAYOUTS) > 1_000


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("photometric", "bits", "extra", "apart", "tile", "compression"),
    [
        (WHITE_IS_0, 16, (), False, 0, "none"),
        (BLACK_IS_0, 8, (2,), True, 0, "deflate"),
        (RGB, 16, (), True, 16, "none"),
        (RGB, 8, (1,), False, 16, "deflate"),
        (CMYK, 16, (), True, 0, "deflate"),
    ],
)
def test_an_independent_reader_finds_the_same_numbers_in_what_the_sweep_writes(
    photometric: int, bits: int, extra: tuple[int, ...], apart: bool, tile: int, compression: str, order: str
) -> None:
    made = Made(bits, photometric, order, False, apart, compression, tile, extra=extra)
    data, array = made_of(made)
    read = tifffile.imread(BytesIO(data))
    read = np.moveaxis(read, 0, -1) if apart else read.reshape(array.shape)
    assert (read == array).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("photometric", "bits", "channels", "planar"),
    [("miniswhite", 16, 1, None), ("minisblack", 16, 1, None), ("minisblack", 8, 2, "separate"),
     ("rgb", 16, 3, "separate"), ("rgb", 8, 4, "separate")],
)  # fmt: skip
def test_what_an_independent_writer_writes_is_read(
    photometric: str, bits: int, channels: int, planar: str | None, order: str
) -> None:
    array = numbers(bits, channels).astype(np.uint8 if bits == 8 else np.uint16)
    stored = np.moveaxis(array, -1, 0) if planar else array.squeeze()
    alpha = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    buffer = BytesIO()
    tifffile.imwrite(
        buffer, stored, photometric=photometric, planarconfig=planar, byteorder=order, compression="zlib", **alpha
    )
    due = array * (255 / ((1 << bits) - 1))
    due = 255 - due if photometric == "miniswhite" else due
    due = np.concatenate([due[..., :1].repeat(3, 2), due[..., 1:]], 2) if channels < 3 else due
    assert np.abs(in_this_process(buffer.getvalue()) - due).max() <= 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "made",
    [Made(1), Made(8), Made(12), Made(16), Made(8, RGB), Made(16, RGB, apart=True)],
    ids=lambda made: str(made.bits),
)
def test_bits_that_are_stored_the_other_way_round_are_turned(made: Made, compression: str) -> None:
    data, array = made_of(replace(made, fill_order=2, compression=compression))
    assert np.abs(in_this_process(data) - due_of(array, made)).max() <= 1


@pytest.mark.parametrize("made", [Made(8, LAB, apart=True), Made(16, LAB), Made(16, LAB, ">", apart=True)], ids=str)
def test_lab_colors_of_any_layout_are_those_of_the_one_that_pillow_reads(made: Made) -> None:
    array = numbers(8, 3)
    due = in_this_process(tiff_of(array, Made(8, LAB)))
    assert np.ptp(due[..., 0]) > 100
    assert (in_this_process(tiff_of(array << (made.bits - 8), made)) == due).all()


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_layout_that_pillow_does_not_read_comes_out_upright(orientation: int) -> None:
    made = Made(16, WHITE_IS_0, tags=((274, "H", (orientation,)),))
    upright = np.asarray(ramp(WIDTH, HEIGHT).convert("L"))
    turn = STORED_AS[orientation]
    stored = np.asarray(Image.fromarray(upright) if turn is None else Image.fromarray(upright).transpose(turn))
    data = tiff_of(65_535 - stored.astype(np.uint16)[..., None] * 257, made)
    assert (array_of(data)[..., 0] == upright).all()


@pytest.mark.parametrize("sampling", [(1, 1), (2, 2)])
def test_uncompressed_ycbcr_has_its_colors(sampling: tuple[int, int]) -> None:
    across, down = sampling
    light, blue, red = 150, 90, 180  # one colour, in units of as many lights as the sampling says
    unit = bytes((light,) * across * down + (blue, red))
    pixels = unit * ((32 // across) * (16 // down))
    made = Made(8, 6)
    tags = {256: ("I", (32,)), 257: ("I", (16,)), 258: ("H", (8, 8, 8)), 259: ("H", (1,)), 262: ("H", (6,)),
            273: ("I", (8,)), 277: ("H", (3,)), 278: ("I", (16,)), 279: ("I", (len(pixels),)), 284: ("H", (1,)),
            530: ("H", sampling)}  # fmt: skip
    data = head(8 + len(pixels), made) + pixels + directory(tags, 8 + len(pixels), made)
    due = [
        light + 1.402 * (red - 128),
        light - 0.344 * (blue - 128) - 0.714 * (red - 128),
        light + 1.772 * (blue - 128),
    ]
    assert np.abs(in_this_process(data) - due).max() <= 2


def of_pages(*pages: tuple[np.ndarray, dict[int, tuple[str, tuple[int, ...]]]], below: bool = False) -> bytes:
    """Return a TIFF of RGB pages, each with more tags; `below` puts the second under the first."""
    made = Made()
    body, places = b"", []
    for array, _ in pages:
        places.append(8 + len(body))
        body += array.astype(np.uint8).tobytes()
        body += bytes(len(body) % 2)
    at = 8 + len(body)
    first, written = at, b""
    for index, (array, more) in enumerate(pages):
        height, width, _ = array.shape
        tags = {256: ("I", (width,)), 257: ("I", (height,)), 258: ("H", (8, 8, 8)), 259: ("H", (1,)), 262: ("H", (2,)),
                273: ("I", (places[index],)), 277: ("H", (3,)), 278: ("I", (height,)), 279: ("I", (array.size,)),
                **more}  # fmt: skip
        if below and index == 0:
            tags[330] = ("I", (0,))
        end = at + len(directory(tags, at, made))
        if below and index == 0:
            tags[330] = ("I", (end,))
        written += directory(tags, at, made, 0 if below or index + 1 == len(pages) else end)
        at = end
    return head(first, made) + body + written


SMALL, LARGE = np.full((6, 8, 3), 200), np.full((30, 40, 3), 100)
PREVIEW = {254: ("I", (1,))}


class TestPages:
    def test_of_pages_the_first_is_the_picture(self) -> None:
        assert array_of(of_pages((SMALL, {}), (LARGE, {}))).tolist() == SMALL.tolist()

    @pytest.mark.parametrize("below", [False, True], ids=["behind it", "below it"])
    @pytest.mark.parametrize("preview", [PREVIEW, {255: ("H", (2,))}], ids=["NewSubfileType", "SubfileType"])
    def test_a_first_page_that_is_a_preview_is_not_the_picture(
        self, preview: dict[int, tuple[str, tuple[int, ...]]], below: bool
    ) -> None:
        assert array_of(of_pages((SMALL, preview), (LARGE, {}), below=below)).tolist() == LARGE.tolist()

    def test_a_mask_is_not_the_picture(self) -> None:
        assert array_of(of_pages((SMALL, {254: ("I", (4,))}), (LARGE, {}))).tolist() == LARGE.tolist()

    def test_a_preview_alone_is_the_picture(self) -> None:
        assert array_of(of_pages((SMALL, PREVIEW))).tolist() == SMALL.tolist()

    def test_directories_that_follow_each_other_for_ever_are_no_trap(self) -> None:
        data = of_pages((SMALL, PREVIEW))
        (first,) = struct.unpack_from("<I", data, 4)
        at = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
        assert array_of(data[:at] + struct.pack("<I", first) + data[at + 4 :]).tolist() == SMALL.tolist()


NO_VALUE = ("H", (0,))
REFUSED: dict[str, tuple[bytes, str]] = {
    "a raw file's mosaic below": (of_pages((SMALL, PREVIEW), (LARGE, {262: ("H", (32803,))}), below=True), "raw file"),
    "a raw file's mosaic behind": (of_pages((SMALL, {}), (LARGE, {262: ("H", (32803,))})), "raw file"),
    "linear raw": (of_pages((LARGE, {262: ("H", (34892,))})), "raw file"),
    "DNG": (of_pages((SMALL, {**PREVIEW, 50706: ("B", (1, 4, 0, 0))}), (LARGE, {})), "camera's raw file.*Export it as"),
    "Canon's raw file": (b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + b"\0\0" + bytes(90), "raw file"),
    "Olympus' raw file": (b"IIRO\x08\0\0\0" + bytes(90), "camera's raw file"),
    "Canon's newer raw file": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(90), "camera's raw file"),
    "negative numbers": (tiff_of(numbers(8, 1), Made(tags=((339, "H", (2,)),))), "can be negative"),
    "16-bit floats": (tiff_of(numbers(16, 1), Made(16, tags=((339, "H", (3,)),))), "not whole"),
    "32 bits": (tiff_of(numbers(16, 1), Made(16, tags=((258, "H", (32,)),))), "32 bits a channel"),
    "unequal channels": (
        tiff_of(numbers(8, 3), Made(8, RGB, tags=((258, "H", (5, 6, 5)),))),
        "channels of 5, 6, 5 bits",
    ),
    "no photometric": (tiff_of(numbers(8, 1), Made(tags=((262, "H", ()),))), "lacks PhotometricInterpretation"),
    "LogLuv": (tiff_of(numbers(8, 3), Made(8, 32845)), "colours of the kind LogLuv"),
    "other inks": (tiff_of(numbers(8, 4), Made(8, CMYK, tags=((332, "H", (2,)),))), "inks other than CMYK"),
    "JPEG 2000 within": (
        tiff_of(numbers(8, 3), Made(8, RGB, tags=((259, "H", (34712,)),))),
        "compressed in a way .34712.",
    ),
    "JPEG of 12 bits": (tiff_of(numbers(12, 1), Made(12, tags=((259, "H", (7,)),))), "compressed in a way .7."),
    "differences of 12 bits": (tiff_of(numbers(12, 1), Made(12, tags=((317, "H", (2,)),))), "predictor 2. of 12 bits"),
    "planes of YCbCr": (tiff_of(numbers(8, 3), Made(8, 6, apart=True)), "YCbCr colours"),
    "too many channels": (tiff_of(numbers(8, 20), Made(8, RGB)), "20 channels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_for_certain_is_refused_by_its_name(name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(ImageError, match=words) as caught:
        open_photo(data).pixels()
    assert_reads_well(caught.value)


@pytest.mark.parametrize(
    "made", [Made(12), Made(16, RGB, apart=True), Made(12, tile=16), Made(8, RGB, apart=True)], ids=str
)
def test_a_layout_that_is_cut_off_or_lies_is_refused(made: Made) -> None:
    data, _ = made_of(made)
    broken = [
        replace(made, tags=((256, "I", (60_000,)),)),
        replace(made, tags=((257, "I", (60_000,)),)),
        replace(made, tags=((324 if made.tile else 273, "I", (2**31,) * 9),)),
        replace(made, tags=((322, "H", (0,)), (323, "H", (0,))))
        if made.tile
        else replace(made, tags=((278, "I", (1,)),)),
    ]
    for one in broken:
        with pytest.raises(ImageError) as caught:
            in_this_process(made_of(one)[0])
        assert_reads_well(caught.value)
    assert in_this_process(data).shape[:2] == (HEIGHT, WIDTH)


def test_the_gray_of_a_white_is_zero_picture_keeps_its_profile_conversion_and_its_transparency() -> None:
    profile = encoded(Image.new("L", (1, 1)))  # no profile: what cannot be used costs nothing
    made = Made(16, WHITE_IS_0, extra=(2,), tags=((34675, "B", tuple(profile)),))
    data, array = made_of(made)
    assert np.abs(array_of(data) - due_of(array, made)).max() <= 1

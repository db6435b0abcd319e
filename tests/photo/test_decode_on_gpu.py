"""The GPU's decoding, run on the CPU where that is possible; tests that need nvJPEG have the marker gpu."""

from __future__ import annotations

import warnings
from functools import cache
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SAMPLES, encoded, ramp
from PIL import Image, ImageCms
from torch.nn import functional as F

from crop_core import Cropper, CropRequest, ImageError
from crop_core.bench.pictures import photo_like
from crop_core.cut.encode_on_gpu import encode_jpeg, with_profile
from crop_core.cut.resample import resampled
from crop_core.detect.choose_detector import load_detector
from crop_core.detect.network_input import View
from crop_core.geometry import Size, Window
from crop_core.photo.decode_on_gpu import AcceleratedPhoto
from crop_core.photo.orientation import upright
from crop_core.photo.photo import open_photo

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
camera_photo = cache(photo_like)  # to make one takes longer than to crop it
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(ramp(240, 160), "JPEG", quality=95, subsampling=0, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_to_a_photo_on_the_cpu(orientation: int) -> None:
    pixels = torch.arange(2 * 3 * 3).view(3, 2, 3).to(torch.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels.permute(1, 2, 0).numpy()), exif=exif)
    photo = open_photo(data)
    assert photo.orientation == orientation
    assert torch.equal(upright(pixels, orientation), photo.pixels())


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pixels_and_parts_are_those_of_the_photo(orientation: int) -> None:
    photo = open_photo(with_orientation(orientation))
    ours = AcceleratedPhoto(open_photo(with_orientation(orientation)), CPU)
    assert ours._whole is not None, "it is a plain JPEG, so the device's decoder is used"
    assert ours.size == photo.size
    # Of 255: both decoders are libjpeg-turbo's here, of two builds.
    assert (ours.pixels().int() - photo.pixels().int()).abs().max() <= 2
    window, size = Window(10, 20, 130, 140), Size(60, 60)
    assert (resampled(ours, window, size).int() - resampled(photo, window, size).int()).abs().max() <= 8
    whole = Size(window.width, window.height)
    assert torch.equal(resampled(ours, window, whole), ours.pixels()[:, 20:140, 10:130])


def test_reduced_picture_is_that_of_the_photo(astronaut: bytes) -> None:
    photo, ours = open_photo(astronaut), AcceleratedPhoto(open_photo(astronaut), CPU)
    for reduction in (2, 4, 8):
        difference = (ours.pixels(reduction).int() - photo.pixels(reduction).int()).abs().float()
        # Of 255, measured: JPEG's own reduction cuts frequencies off where the mean of pixels lessens them.
        assert difference.mean() <= 2.5
    odd = encoded(ramp(61, 43), "JPEG")
    for reduction in (2, 4, 8):
        assert AcceleratedPhoto(open_photo(odd), CPU).pixels(reduction).shape == open_photo(odd).pixels(reduction).shape


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.jpg")))
def test_device_sees_at_12_megapixels_what_the_cpu_sees(
    sample: str, cropper: Cropper, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = camera_photo(SAMPLES / sample, 12)
    request = CropRequest(aspect_ratios=("1:1", "4:5", "16:9", "9:16"))
    plain = cropper.crop(data, request, dry_run=True)
    monkeypatch.setattr("crop_core.steps.open_photo", lambda given: AcceleratedPhoto(open_photo(given), CPU))
    ours = cropper.crop(data, request, dry_run=True)
    # Of 4000 px, where 2 are the aim. Measured: 4, and 13 where all hangs on an unsharp dog that nobody is sure of.
    unsure = sample == "pair.jpg"
    for one, other in zip(ours.detections, plain.detections, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=0.02)  # 0.005 measured
        assert one.box.xyxy == pytest.approx(other.box.xyxy, abs=2 if other.score >= 0.6 else 40)
    for crop, its in zip(ours.crops, plain.crops, strict=True):
        assert crop.window.xyxy == pytest.approx(its.window.xyxy, abs=30 if unsure else 5)


def shared_memory_bytes(pixels: torch.Tensor, size: list[int], taps: int) -> int:
    """Return what CUDA's antialiased resize needs at least, as PyTorch's UpSampleBilinear2d.cu computes it.

    Args:
        pixels: Tensor [..., H, W].
        size: What becomes of H and W.
        taps: That a pixel is made of where nothing shrinks: 4 for bicubic, 2 for bilinear.
    """
    height, width = (
        2 * ceil(taps / 2 * max(1.0, have / want)) + 1 for have, want in zip(pixels.shape[-2:], size, strict=True)
    )
    return 4 * (32 * width + height + 32 * height)


def strip(width: int, height: int) -> bytes:
    return encoded(ramp(width, height), "JPEG")


@pytest.mark.parametrize(
    ("data", "width"),
    [
        (lambda: camera_photo(SAMPLES / "astronaut.jpg", 12), 20),
        (lambda: strip(40_000, 1), 30),
        (lambda: strip(40_000, 20), 100),
        (lambda: strip(3, 65_000), 1),
    ],
    ids=["thumbnail of a photo", "one row", "strip", "column"],
)
def test_no_picture_shrinks_by_more_at_once_than_a_gpu_can(
    data: Any, width: int, cropper: Cropper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crop_core.steps.open_photo", lambda given: AcceleratedPhoto(open_photo(given), CPU))
    interpolate, needed = F.interpolate, []

    def noted(pixels: torch.Tensor, size: list[int] | None = None, *options: Any, **more: Any) -> torch.Tensor:
        if size is not None and more.get("antialias"):
            needed.append(shared_memory_bytes(pixels, size, 4 if more["mode"] == "bicubic" else 2))
        return interpolate(pixels, size, *options, **more)

    monkeypatch.setattr(F, "interpolate", noted)
    (crop,) = cropper.crop(data(), CropRequest(width=width, output_format="jpg")).crops
    assert crop.data is not None
    assert needed
    assert max(needed) <= 48 * 1024


@pytest.mark.parametrize(("width", "height"), [(40, 30), (100, 75), (400, 300)], ids=str)
def test_what_shrinks_far_looks_as_on_the_cpu(width: int, height: int) -> None:
    data = camera_photo(SAMPLES / "astronaut.jpg", 12)
    window, size = Window(1, 3, 3999, 2997), Size(width, height)
    ours, photo = AcceleratedPhoto(open_photo(data), CPU), open_photo(data)
    difference = (resampled(ours, window, size).int() - resampled(photo, window, size).int()).abs().float()
    assert difference.mean() <= 1  # 0.65 measured, at 100 pixels for one


def test_jpeg_that_the_device_cannot_make_is_made_by_the_cpu() -> None:
    assert encode_jpeg(torch.zeros((2, 8, 8), dtype=torch.uint8), 90, None) is None  # no encoder takes two channels


def plain(data: bytes) -> bool:
    return open_photo(data).plain_jpeg is not None


def of_three_scans(jpeg: bytes) -> bytes:
    """Return the JPEG with a head that begins a scan of its first component alone."""
    scan = jpeg.index(b"\xff\xda")
    return jpeg[:scan] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + jpeg[scan + 14 :]


def test_plain_jpeg_is_one_that_every_decoder_reads_alike() -> None:
    image = ramp(64, 48)
    assert plain(encoded(image, "JPEG"))
    assert plain(encoded(image, "JPEG", subsampling=2, icc_profile=SRGB))
    assert plain(encoded(image, "JPEG") + b"\0\0")
    assert not plain(encoded(image, "PNG"))
    assert not plain(encoded(image, "JPEG", progressive=True))
    assert not plain(of_three_scans(encoded(image, "JPEG")))
    assert not plain(encoded(image.convert("L"), "JPEG"))
    assert not plain(encoded(image.convert("CMYK"), "JPEG"))
    assert not plain(encoded(image, "JPEG", keep_rgb=True))
    assert not plain(encoded(image, "JPEG")[:-2])
    assert not plain(encoded(ramp(640, 480), "JPEG")[:-400])


def test_picture_that_is_no_plain_jpeg_comes_from_the_cpus_decoder() -> None:
    data = encoded(ramp(64, 48), "JPEG", progressive=True)
    ours = AcceleratedPhoto(open_photo(data), CPU)
    assert ours._whole is None
    assert torch.equal(ours.pixels(2), open_photo(data).pixels(2))
    window, size = Window(0, 0, 40, 40), Size(20, 20)
    assert torch.equal(resampled(ours, window, size), resampled(open_photo(data), window, size))


def test_jpeg_made_on_the_device_keeps_its_profile() -> None:
    pixels = open_photo(encoded(ramp(64, 48))).pixels()
    large = SRGB + bytes(200_000)  # of four segments
    for profile in (SRGB, large):
        image = Image.open(BytesIO(encode_jpeg(pixels, 95, profile) or b""))
        assert image.info["icc_profile"] == profile
        assert np.abs(np.asarray(image).astype(int) - pixels.permute(1, 2, 0).numpy()).mean() < 8


def test_jpeg_without_a_profile_stays_as_it_is() -> None:
    jpeg = encode_jpeg(torch.zeros((3, 8, 8), dtype=torch.uint8), 90, None)
    assert jpeg is not None
    assert jpeg == with_profile(jpeg, None)
    assert "icc_profile" not in Image.open(BytesIO(jpeg)).info


def test_segments_stand_behind_the_one_of_jfif() -> None:
    jpeg = encoded(ramp(16, 16), "JPEG")
    assert jpeg[2:4] == b"\xff\xe0"
    assert with_profile(jpeg, SRGB)[:20] == jpeg[:20]
    assert open_photo(with_profile(jpeg, SRGB)).icc_profile == SRGB


@pytest.mark.gpu
@pytest.mark.parametrize("orientation", [1, 6])
def test_nvjpeg_decodes_and_encodes_as_the_cpu_does(orientation: int) -> None:
    data = with_orientation(orientation)
    photo, ours = open_photo(data), AcceleratedPhoto(open_photo(data), CUDA)
    assert ours._whole is not None
    assert ours.pixels().device.type == "cuda"
    assert (ours.pixels().cpu().int() - photo.pixels().int()).abs().float().mean() < 2
    image = Image.open(BytesIO(encode_jpeg(ours.pixels(), 95, SRGB) or b""))
    assert image.info["icc_profile"] == SRGB
    assert np.abs(np.asarray(image).astype(int) - photo.pixels().permute(1, 2, 0).numpy()).mean() < 8


A_WHILE = 200_000_000  # cycles of a GPU: some tenth of a second


@pytest.mark.gpu
def test_nvjpeg_writes_to_no_memory_that_queued_work_still_reads(astronaut: bytes) -> None:
    size = AcceleratedPhoto(open_photo(astronaut), CUDA).size  # the decoder is loaded now
    for _ in range(20):
        held = [torch.full((3, size.height, size.width), 7, dtype=torch.uint8, device=CUDA) for _ in range(4)]
        torch.cuda.synchronize()
        torch.cuda._sleep(A_WHILE)
        sums = [pixels.sum() for pixels in held]
        held.clear()
        AcceleratedPhoto(open_photo(astronaut), CUDA)
        assert {total.item() for total in sums} == {7 * 3 * size.height * size.width}


@pytest.mark.gpu
def test_decoded_pixels_stay_until_queued_work_has_read_them(astronaut: bytes, cat: bytes) -> None:
    for _ in range(20):
        photo = AcceleratedPhoto(open_photo(astronaut), CUDA)
        expected = photo.pixels().sum().item()
        torch.cuda._sleep(A_WHILE)
        total = photo.pixels().sum()
        del photo
        others = [AcceleratedPhoto(open_photo(cat), CUDA) for _ in range(3)]
        assert total.item() == expected
        assert all(other._whole is not None for other in others)


@pytest.mark.gpu
def test_nvjpeg_encodes_pixels_that_are_still_being_made(astronaut: bytes) -> None:
    photo = AcceleratedPhoto(open_photo(astronaut), CUDA)
    mirrored = photo.pixels().cpu().flip(2)
    for _ in range(20):
        torch.cuda._sleep(A_WHILE)
        image = Image.open(BytesIO(encode_jpeg(photo.pixels().flip(2), 95, None) or b""))
        assert np.abs(np.asarray(image).astype(int) - mirrored.permute(1, 2, 0).numpy()).mean() < 8


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(1, 1), (20, 15)], ids=str)
def test_smallest_crops_of_12_megapixels_are_made_on_cuda(size: tuple[int, int]) -> None:
    request = CropRequest(width=size[0], height=size[1], output_format="jpg")
    (crop,) = Cropper("cuda", "fast").crop(camera_photo(SAMPLES / "astronaut.jpg", 12), request).crops
    assert Image.open(BytesIO(crop.data or b"")).size == size


@pytest.mark.gpu
@pytest.mark.parametrize("detector", ["fast", "balanced"])
def test_most_windows_on_cuda_are_the_cpus_at_12_megapixels(detector: str) -> None:
    """Two decoders' pixels differ, so that a choice between near-equal things can go the other way."""
    request = CropRequest(aspect_ratios=("1:1", "4:5", "16:9"), output_format="jpg")
    croppers = [Cropper(device, detector) for device in ("cpu", "cuda")]
    near = []
    for path in sorted(SAMPLES.glob("*.jpg")):
        data = camera_photo(path, 12)
        on_cpu, on_cuda = (cropper.crop(data, request) for cropper in croppers)
        for one, other in zip(on_cuda.crops, on_cpu.crops, strict=True):
            move = max(abs(a - b) for a, b in zip(one.window.xyxy, other.window.xyxy, strict=True))
            near.append(move <= 0.01 * 4000)
            with Image.open(BytesIO(one.data)) as ours, Image.open(BytesIO(other.data)) as theirs:
                assert ours.size == theirs.size
    assert sum(near) >= 0.8 * len(near)


@pytest.mark.gpu
def test_many_pictures_on_cuda_come_out_as_each_does_alone(astronaut: bytes, cat: bytes) -> None:
    pictures = [astronaut, cat, b"no picture", cat, astronaut] * 5
    cropper = Cropper("cuda", "fast")
    request = CropRequest(output_format="jpg")
    for result, data in zip(cropper.crop_many(pictures, request), pictures, strict=True):
        if data == b"no picture":
            assert isinstance(result, ImageError)
            continue
        single = cropper.crop(data, request)
        assert [one.window.xyxy for one in result.crops] == [
            pytest.approx(one.window.xyxy, abs=2) for one in single.crops
        ]


@pytest.mark.gpu
def test_networks_on_cuda_do_not_make_the_host_wait(astronaut: bytes) -> None:
    detector = load_detector("balanced", CUDA)
    view = View(open_photo(astronaut).pixels().to(CUDA), Size(512, 512))
    detector.candidates([view, view])
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, that this mode is a prototype
        try:
            torch.cuda.set_sync_debug_mode("error")
            detector.candidates([view, view])
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("detector", ["fast", "balanced"])
def test_device_memory_of_12_megapixels_stays_below_1500_mb(detector: str) -> None:
    cropper = Cropper("cuda", detector)
    torch.cuda.reset_peak_memory_stats()
    cropper.crop(camera_photo(SAMPLES / "astronaut.jpg", 12), CropRequest(output_format="jpg"))
    assert torch.cuda.max_memory_reserved() <= 1.5e9

"""The GPU's way with pictures, run on the CPU as far as it goes there; what needs nvJPEG carries the marker gpu."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import SAMPLES, encoded, ramp
from PIL import Image, ImageCms

from crop_core import Cropper, CropRequest, ImageError
from crop_core.accelerator import (
    AcceleratedPhoto,
    encode_jpeg,
    with_profile,
)
from crop_core.bench.pictures import photo_like
from crop_core.box import Size, Window
from crop_core.detectors import load_detector
from crop_core.detectors.postprocess import View
from crop_core.photo import open_photo, upright

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
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
    assert (ours.resampled(window, size).int() - photo.resampled(window, size).int()).abs().max() <= 8
    whole = Size(window.width, window.height)
    assert torch.equal(ours.resampled(window, whole), ours.pixels()[:, 20:140, 10:130])


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
    data = photo_like(SAMPLES / sample, 12)
    request = CropRequest(aspect_ratios=("1:1", "4:5", "16:9"))
    plain = cropper.crop(data, request, dry_run=True)
    monkeypatch.setattr("crop_core.cropper.open_photo", lambda given: AcceleratedPhoto(open_photo(given), CPU))
    ours = cropper.crop(data, request, dry_run=True)
    for one, other in zip(ours.detections, plain.detections, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=0.02)  # 0.002 measured
        # Of 4000 px: 14 measured, of a dog that is none. Sure boxes differ by about one.
        assert one.box.xyxy == pytest.approx(other.box.xyxy, abs=2 if other.score >= 0.6 else 20)
    if all(one.score >= 0.6 for one in plain.detections):
        for one, other in zip(ours.crops, plain.crops, strict=True):
            assert one.window.xyxy == pytest.approx(other.window.xyxy, abs=2)


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
    assert torch.equal(ours.resampled(window, size), open_photo(data).resampled(window, size))


def test_jpeg_made_on_the_device_keeps_its_profile() -> None:
    pixels = open_photo(encoded(ramp(64, 48))).pixels()
    large = SRGB + bytes(200_000)  # of four segments
    for profile in (SRGB, large):
        image = Image.open(BytesIO(encode_jpeg(pixels, 95, profile)))
        assert image.info["icc_profile"] == profile
        assert np.abs(np.asarray(image).astype(int) - pixels.permute(1, 2, 0).numpy()).mean() < 8


def test_jpeg_without_a_profile_stays_as_it_is() -> None:
    jpeg = encode_jpeg(torch.zeros((3, 8, 8), dtype=torch.uint8), 90, None)
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
    image = Image.open(BytesIO(encode_jpeg(ours.pixels(), 95, SRGB)))
    assert image.info["icc_profile"] == SRGB
    assert np.abs(np.asarray(image).astype(int) - photo.pixels().permute(1, 2, 0).numpy()).mean() < 8


@pytest.mark.gpu
@pytest.mark.parametrize("detector", ["fast", "balanced"])
@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.jpg")))
def test_windows_on_cuda_are_the_cpus_within_2_px_at_12_megapixels(sample: str, detector: str) -> None:
    data = photo_like(SAMPLES / sample, 12)
    request = CropRequest(aspect_ratios=("1:1", "4:5", "16:9"), output_format="jpg")
    on_cpu, on_cuda = (Cropper(device, detector).crop(data, request) for device in ("cpu", "cuda"))
    for one, other in zip(on_cuda.crops, on_cpu.crops, strict=True):
        assert one.window.xyxy == pytest.approx(other.window.xyxy, abs=2)
        with Image.open(BytesIO(one.data)) as ours, Image.open(BytesIO(other.data)) as theirs:
            assert ours.size == theirs.size


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
    with torch.inference_mode():
        for propose in detector.passes:
            propose([view, view])
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                propose([view, view])
            finally:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("detector", ["fast", "balanced"])
def test_device_memory_of_12_megapixels_stays_below_1500_mb(detector: str) -> None:
    cropper = Cropper("cuda", detector)
    torch.cuda.reset_peak_memory_stats()
    cropper.crop(photo_like(SAMPLES / "astronaut.jpg", 12), CropRequest(output_format="jpg"))
    assert torch.cuda.max_memory_reserved() <= 1.5e9

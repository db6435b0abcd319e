"""Many pictures at once: the order of work, and that each comes out as it does alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest
import torch
from conftest import SAMPLES, encoded, ramp
from PIL import Image

from crop_core import CropError, Cropper, CropRequest, CropResult, ImageError, WeightsError
from crop_core.run.ordered_pool import batched, in_order

REQUEST = CropRequest(aspect_ratios=("1:1", "4:5"), width=80, output_format="jpg")


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """Return pictures of several shapes and formats, two of them broken."""
    samples = [path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))]
    with Image.open(SAMPLES / "cat.jpg") as cat:
        others = [encoded(cat.transpose(Image.Transpose.ROTATE_90)), encoded(cat.convert("CMYK"), "JPEG")]
    return [samples[0], b"no picture", *samples[1:], samples[2][:5000], *others]


@pytest.fixture(scope="module")
def singles(cropper: Cropper, pictures: list[bytes]) -> list[CropResult | CropError]:
    """Return what each gives alone."""
    return [alone(cropper, data) for data in pictures]


def told(result: CropResult | CropError) -> object:
    """Return what is the same from run to run."""
    if isinstance(result, CropError):
        return type(result), str(result)
    record = {key: value for key, value in result.record().items() if key != "timings_ms"}
    return record, [crop.data for crop in result.crops]


def alone(cropper: Cropper, data: bytes) -> CropResult | CropError:
    try:
        return cropper.crop(data, REQUEST)
    except CropError as error:
        return error


@pytest.mark.parametrize("threads", [1, 3])
def test_many_pictures_come_out_in_their_order_as_each_does_alone(
    cropper: Cropper, pictures: list[bytes], singles: list[CropResult | CropError], threads: int
) -> None:
    results = list(cropper.crop_many(pictures, REQUEST, threads=threads))
    assert sum(isinstance(result, ImageError) for result in results) == 2
    assert [told(result) for result in results] == [told(single) for single in singles]


@pytest.mark.parametrize("size", [2, 8])
def test_pictures_of_a_batch_come_out_as_they_do_alone(
    pictures: list[bytes], singles: list[CropResult | CropError], size: int
) -> None:
    cropper = Cropper("cpu", "fast")
    cropper.detector("fast").batch = size
    due = {data: single for data, single in zip(pictures, singles, strict=True) if isinstance(single, CropResult)}
    assert len(due) > 8
    for result, single in zip(cropper.crop_many(due, REQUEST), due.values(), strict=True):
        assert isinstance(result, CropResult)
        assert [crop.window for crop in result.crops] == [crop.window for crop in single.crops]
        assert [one.label for one in result.detections] == [one.label for one in single.detections]
        for one, other in zip(result.detections, single.detections, strict=True):
            # A few units in the last place: the convolutions of a batch add in another order.
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.box.xyxy == pytest.approx(other.box.xyxy, abs=0.01)


def test_pytorch_keeps_its_threads(cropper: Cropper, cat: bytes) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # not the one that each of many pictures gets
        assert len(list(cropper.crop_many([cat] * 3, REQUEST))) == 3
        with ThreadPoolExecutor(1) as pool:
            assert [torch.get_num_threads(), pool.submit(torch.get_num_threads).result()] == [2, 2]
    finally:
        torch.set_num_threads(before)


def test_results_carry_the_names_that_there_are(cropper: Cropper, cat: bytes) -> None:
    results = list(cropper.crop_many([cat] * 3, REQUEST, sources=["a.jpg", "b.jpg"], dry_run=True))
    assert [result.source for result in results] == ["a.jpg", "b.jpg", ""]
    assert all(crop.data is None for result in results for crop in result.crops)


def test_no_pictures_give_no_results(cropper: Cropper) -> None:
    assert list(cropper.crop_many([])) == []


def test_few_pictures_are_held_however_many_come(cropper: Cropper) -> None:
    taken = count(1)
    latest = 0
    picture = encoded(ramp(64, 48))

    def endless() -> Iterator[bytes]:
        nonlocal latest
        while True:
            latest = next(taken)
            yield picture

    done = 0
    for result in islice(cropper.crop_many(endless(), REQUEST, threads=2), 10):
        done += 1
        assert isinstance(result, CropResult)
        assert latest - done <= 2
    assert done == 10


def test_who_stops_early_leaves_no_threads_behind(cropper: Cropper, cat: bytes) -> None:
    before = set(threading.enumerate())
    results = cropper.crop_many([cat] * 50, REQUEST)
    next(results)
    results.close()
    assert set(threading.enumerate()) <= before


def test_absent_weights_are_said_at_the_first_picture(
    cropper: Cropper, cat: bytes, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="needs torchvision's weights"):
        next(cropper.crop_many([cat], CropRequest(detector="accurate")))


def test_fault_of_the_caller_s_own_pictures_is_the_callers(cropper: Cropper, cat: bytes) -> None:
    def failing() -> Iterator[bytes]:
        yield cat
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(cropper.crop_many(failing()))


# ---- the order of work


def test_work_is_begun_ahead_and_given_back_in_order() -> None:
    gate = threading.Event()
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            assert gate.wait(30)
        elif item == 2:
            gate.set()  # the third releases the first: both are in work at once
        return item * item

    with ThreadPoolExecutor(3) as pool:
        assert list(in_order(pool, work, range(10), ahead=2)) == [n * n for n in range(10)]
    assert sorted(begun) == list(range(10))


def test_items_are_batched_in_order_and_the_last_batch_is_what_is_left() -> None:
    sizes: list[int] = []

    def work(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        return [-n for n in batch]

    assert list(batched(work, iter(range(7)), 3)) == [-n for n in range(7)]
    assert sizes == [3, 3, 1]
    assert list(batched(work, [], 3)) == []

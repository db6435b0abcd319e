"""Memory that runs out, and a device that is lost: PyTorch's own device without memory, `meta`, is one."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from crop_core import Cropper, CropRequest, DeviceError, ImageError
from crop_core.detect.candidates import Glance
from crop_core.detect.detector import Detector
from crop_core.detect.network_input import View
from crop_core.detect.seen import Seen
from crop_core.device import answers, free_memory, is_out_of_memory
from crop_core.run.memory_fallback import ALONE, attempts

CPU, CUDA, MPS, LOST = (torch.device(name) for name in ("cpu", "cuda", "mps", "meta"))


class Hungry(Detector):
    """The fast detector, on a device whose memory suffices for so many pictures at once."""

    def __init__(self, inner: Detector, pictures: int, error: type[RuntimeError] | None = torch.OutOfMemoryError):
        super().__init__(inner.common)
        self.name, self.longest_side, self.looks_twice, self.batch = inner.name, inner.longest_side, True, 3
        self.inner, self.pictures, self.error = inner, pictures, error
        self.asked: list[int] = []

    def look(self, views: Sequence[View]) -> list[Glance]:
        return self.inner.look(views)

    def look_again(self, glances: Sequence[Glance], clear: Sequence[Tensor]) -> list[Glance]:
        return self.inner.look_again(glances, clear)

    def see_all(self, views: Sequence[View], *thresholds: float) -> list[Seen]:
        self.asked.append(len(views))
        if len(views) > self.pictures:
            if self.error is not None:
                raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.")
            torch.empty(2**60, dtype=torch.uint8)  # the real thing, from the CPU's allocator
        return super().see_all(views, *thresholds)


def hungry(cropper: Cropper, pictures: int, **options: type[RuntimeError] | None) -> tuple[Cropper, Hungry]:
    """Return a cropper whose own device has memory for so many pictures at once; its networks are the CPU's."""
    ours = Cropper("cpu", "fast")
    detector = Hungry(cropper.detector("fast"), pictures, **options)
    ours._detectors.put("fast", ours.device, detector)
    return ours, detector


# ---- what is tried


@pytest.mark.parametrize(
    ("device", "ways"),
    [(CPU, [(CPU, CPU)]), (MPS, [(MPS, CPU), (CPU, CPU)]), (CUDA, [(CUDA, CUDA), (CUDA, CPU), (CPU, CPU)])],
    ids=str,
)
def test_each_way_takes_less_of_the_device_than_the_one_before(
    device: torch.device, ways: list[tuple[torch.device, torch.device]]
) -> None:
    tried = attempts(device)
    assert [(way.device, way.pixels) for way in tried] == ways
    assert [bool(way.note) for way in tried] == [False, *[True] * (len(tried) - 1)]


def test_memory_that_ran_out_is_told_from_other_faults() -> None:
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried …"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:232:\nstd::bad_alloc"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ):
        assert is_out_of_memory(error)
    for fault in (
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    ):
        assert not is_out_of_memory(fault)


def test_memory_that_the_system_refuses_is_memory_that_ran_out() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    free_memory(CPU)


# ---- one picture


def test_picture_that_its_device_has_no_memory_for_is_cropped_by_the_cpu_which_is_noted(
    cropper: Cropper, astronaut: bytes
) -> None:
    ours, detector = hungry(cropper, 0)
    ours.device = LOST  # its networks are the stub's, so nothing runs there
    ours._detectors.put("fast", LOST, detector)
    ours._detectors.put("fast", CPU, cropper.detector("fast"))
    result, plain = ours.crop(astronaut), cropper.crop(astronaut)
    assert detector.asked == [1]
    assert result.note == "The memory of meta ran out, so the CPU did everything."
    assert result.record()["note"] == result.note
    assert (result.device, result.detections) == ("cpu", plain.detections)
    assert [crop.data for crop in result.crops] == [crop.data for crop in plain.crops]
    assert "note" not in plain.record()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, None], ids=["out of memory", "the allocator's own"])
def test_picture_that_no_memory_suffices_for_is_refused_in_one_sentence_and_the_next_is_cropped(
    cropper: Cropper, cat: bytes, error: type[RuntimeError] | None
) -> None:
    ours, detector = hungry(cropper, 0, error=error)
    with pytest.raises(ImageError, match="The picture needs more memory than this machine has"):
        ours.crop(cat)
    assert ours.works
    detector.pictures = 1
    assert ours.crop(cat).detections == cropper.crop(cat).detections


def test_fault_of_another_kind_is_raised_as_it_is(cropper: Cropper, cat: bytes) -> None:
    ours, detector = hungry(cropper, 1)
    detector.look = lambda views: torch.zeros(2, 3).view(5)
    with pytest.raises(RuntimeError, match="shape"):
        ours.crop(cat)
    assert ours.works


# ---- a device that is lost


def test_device_that_computes_answers_and_one_that_does_not_is_lost() -> None:
    assert answers(CPU)
    assert not answers(LOST)


def test_lost_device_is_said_and_never_asked_again(cat: bytes) -> None:
    cropper = Cropper("cpu", "fast")
    cropper.device = LOST
    assert cropper.works
    with pytest.raises(DeviceError, match=r"The device meta does not work any more \(.*\)\. Send the picture again"):
        cropper.crop(cat)
    assert not cropper.works
    cropper.device = CPU  # even then: what it would say is not to be trusted
    with pytest.raises(DeviceError, match="does not work any more"):
        cropper.crop(cat)
    with pytest.raises(DeviceError, match="does not work any more"):
        list(cropper.crop_many([cat, cat]))


def test_lost_device_ends_many_pictures(cat: bytes) -> None:
    cropper = Cropper("cpu", "fast")
    cropper.device = LOST
    with pytest.raises(DeviceError, match="does not work any more"):
        list(cropper.crop_many([cat, cat, cat]))


# ---- many pictures


def test_pictures_that_are_too_many_at_once_are_done_alone_which_is_noted(
    cropper: Cropper, astronaut: bytes, cat: bytes
) -> None:
    ours, detector = hungry(cropper, 1)
    results = list(ours.crop_many([astronaut, cat, astronaut, cat], CropRequest(width=64)))
    assert sorted(detector.asked) == [1, 1, 1, 1, 3]
    assert [result.note for result in results] == [ALONE, ALONE, ALONE, ""]
    assert [result.detections for result in results[:2]] == [cropper.crop(data).detections for data in (astronaut, cat)]


def test_pictures_that_ran_out_are_let_go_before_memory_is_given_back(
    cropper: Cropper, astronaut: bytes, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, detector = hungry(cropper, 0)
    pixels: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []
    search = detector.see_all

    def noted(views: Sequence[View], *thresholds: float) -> list[Seen]:
        pixels[:] = [weakref.ref(view.pixels) for view in views]
        return search(views, *thresholds)

    monkeypatch.setattr(detector, "see_all", noted)
    monkeypatch.setattr(
        "crop_core.cropper.free_memory", lambda device: held.append(sum(one() is not None for one in pixels))
    )
    assert [type(error) for error in ours.crop_many([astronaut, cat])] == [ImageError, ImageError]
    assert held == [0, 0, 0]  # of both at once, then of each alone


def test_picture_that_memory_never_suffices_for_fails_alone(cropper: Cropper, cat: bytes) -> None:
    ours, detector = hungry(cropper, 0)
    errors = list(ours.crop_many([cat, cat]))
    assert [type(error) for error in errors] == [ImageError, ImageError]
    assert detector.asked[0] == 2

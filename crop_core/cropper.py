"""Crops pictures, one or many, on a device that may run out of memory or be lost.

A `Cropper` is loaded once and called per picture, or for many at once; it keeps the networks and
nothing of the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat

import torch

from crop_core.cut.encode import encode
from crop_core.detect.detector import Detector
from crop_core.detect.loaded_detectors import LoadedDetectors
from crop_core.device import free_memory, resolve_device
from crop_core.errors import CropError, DeviceError, ImageError, WeightsError
from crop_core.photo.read_photo import Picture, path_of
from crop_core.request import CropRequest
from crop_core.result import CropResult
from crop_core.run.device_watch import DeviceWatch
from crop_core.run.memory_fallback import ALONE, Attempt, attempts
from crop_core.run.pipeline import each_in_its_thread, in_three_steps
from crop_core.steps import Opened, detect_in, finish_picture, open_picture

MAX_THREADS = 8  # that crop_many decodes and encodes in beside a GPU; each holds a picture or two in its memory
# What warm-up shows the networks: the ratios that cameras and telephones take photos in.
WARM_UP_RATIOS = ((4, 3), (3, 4), (1, 1), (3, 2), (2, 3), (16, 9), (9, 16))
# px on the longer side. A GPU also loads what decodes, reduces and resizes a photo when it first does so.
WARM_UP_SIDE, WARM_UP_SIDE_OF_CUDA = 960, 3840


class Cropper:
    """Crops pictures with detectors that stay loaded.

    Attributes:
        device: Where the networks run and, if it is CUDA's, the pixels lie.
    """

    def __init__(self, device: str = "auto", detector: str = "auto") -> None:
        """Load the detector.

        Args:
            device: ``auto`` (CUDA where it works, else the CPU), ``cpu``, ``cuda`` or ``mps``.
            detector: What a request's ``auto`` means: ``auto``, ``fast``, ``balanced``,
                ``accurate``, or the name of a torchvision model.

        Raises:
            DeviceError: The device is not there.
            RequestError: No detector has that name.
            WeightsError: The detector's weights are absent or not the ones expected.
        """
        self.device = resolve_device(device)
        self._detectors = LoadedDetectors(detector)
        self._watch = DeviceWatch()
        self.detector("auto")

    @property
    def works(self) -> bool:
        """Whether pictures can be cropped: false once the device is lost, and for good."""
        return not self._watch.lost

    def warm_up(self) -> None:
        """Crop a gray JPEG of each usual shape, so that the first picture is as fast as the next."""
        side = WARM_UP_SIDE_OF_CUDA if self.device.type == "cuda" else WARM_UP_SIDE
        for width, height in WARM_UP_RATIOS:
            unit = side // max(width, height)
            gray = torch.full((3, height * unit, width * unit), 128, dtype=torch.uint8)
            self.crop(encode(gray, "jpg", 85, None), CropRequest(width=side // 4, output_format="jpg"))

    def crop(
        self, picture: Picture, request: CropRequest | None = None, *, source: str = "", dry_run: bool = False
    ) -> CropResult:
        """Return the crops of one picture.

        Where a device's memory runs out, it is freed and the picture tried again with less of it on
        the device, then on the CPU; the result's `note` says so.

        Args:
            picture: The picture file's bytes, or its path.
            request: What is wanted; the defaults when none.
            source: The picture's name, for the result; its path when none.
            dry_run: Decide where to cut, and cut nothing.

        Raises:
            ImageError: The picture cannot be cropped, or no memory suffices for it.
            RequestError: The crops would have too many pixels.
            WeightsError: The request's detector has no weights here.
            DeviceError: The device does not work any more, for this picture and all later ones.
        """
        request = request or CropRequest()
        for attempt in attempts(self.device):
            result = self._tried(attempt, picture, request, source or path_of(picture), dry_run)
            if result is not None:
                return result
            free_memory(attempt.device)  # here, where no error and no frame holds on to what lies there
        raise ImageError("The memory of this machine does not suffice for the picture. Send a smaller one.")

    def crop_many(
        self,
        pictures: Iterable[Picture],
        request: CropRequest | None = None,
        *,
        sources: Iterable[str] = (),
        dry_run: bool = False,
        threads: int | None = None,
    ) -> Iterator[CropResult | CropError]:
        """Yield for every picture, in their order, what `crop` returns or the error that it alone met.

        On a CPU every thread crops a picture of its own; one alone has all of PyTorch's threads. On a
        GPU threads decode the next pictures and encode the crops of the last ones while the detector
        looks at several between. Pictures are taken as they are needed, and a few are held at a time,
        however many there are.

        Args:
            pictures: The files' bytes or paths.
            request: What is wanted of each; the defaults when none.
            sources: The pictures' names, for the results, as far as there are any; else their paths.
            dry_run: Decide where to cut, and cut nothing.
            threads: How many; when none, as many as there are cores, and on a GPU no more than `MAX_THREADS`.

        Raises:
            WeightsError: The request's detector has no weights here.
            DeviceError: The device does not work any more.
        """
        asked = request or CropRequest()
        size = self.detector(asked.detector).batch
        first = attempts(self.device)[0]

        def opened(job: _Job) -> _Job:
            with (
                suppress(CropError),
                self._watch.pass_over_memory(first.device),
            ):  # it is tried again alone, and then its error is told
                job.opened = open_picture(job.picture, self.detector(asked.detector), first)
            return job

        def detected(jobs: list[_Job]) -> list[_Job]:
            found = [job.opened for job in jobs if job.opened]
            with self._watch.pass_over_memory(first.device):
                detect_in(found, asked)
                return jobs
            for job in jobs:
                job.opened, job.note = None, ALONE if len(found) > 1 else ""
            found.clear()  # or their pixels would keep the memory that is to be given back
            free_memory(first.device)
            return jobs

        def finished(job: _Job) -> CropResult | CropError:
            try:
                if job.opened:
                    with self._watch.pass_over_memory(first.device):
                        return finish_picture(job.opened, asked, job.source, dry_run)
                    job.opened = None
                result = self.crop(job.picture, asked, source=job.source, dry_run=dry_run)
                return replace(result, note=result.note or job.note)
            except (DeviceError, WeightsError):
                raise
            except CropError as error:
                return error

        named = zip(pictures, chain(sources, repeat("")), strict=False)
        given = (_Job(picture, source or path_of(picture)) for picture, source in named)
        if size == 1 and threads == 1:
            yield from map(finished, given)
            return
        if size == 1:
            yield from each_in_its_thread(finished, given, threads or os.cpu_count() or 1)
            return
        workers = threads or min(os.cpu_count() or 1, MAX_THREADS)
        yield from in_three_steps(opened, detected, finished, given, size, workers)

    def _tried(
        self, attempt: Attempt, picture: Picture, request: CropRequest, source: str, dry_run: bool
    ) -> CropResult | None:
        """Return the crops of one picture, or none where memory ran out."""
        with self._watch.pass_over_memory(attempt.device):
            opened = open_picture(picture, self.detector(request.detector, attempt.device), attempt)
            detect_in([opened], request)
            return finish_picture(opened, request, source, dry_run)
        return None

    def detector(self, name: str, device: torch.device | None = None) -> Detector:
        """Return the detector that a request's name means, loaded if it is not yet.

        Args:
            name: As in a request.
            device: The cropper's own when none.

        Raises:
            RequestError: No detector has that name.
            WeightsError: Its weights are absent or not the ones expected.
        """
        return self._detectors.get(name, device or self.device)


@dataclass(slots=True, eq=False)
class _Job:
    """One of many pictures; `opened` is none until it is, and again when it is to be tried alone."""

    picture: Picture
    source: str
    opened: Opened | None = None
    note: str = ""

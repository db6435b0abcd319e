"""Crops pictures, one or many, on a device that may run out of memory or be lost.

A `Cropper` loads its networks once and keeps them. It keeps no picture.
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

MAX_THREADS = 8  # of crop_many, to decode and encode beside a GPU; each holds one or two pictures in memory
# What warm-up shows the networks: the ratios that cameras and telephones take photos in.
WARM_UP_RATIOS = ((4, 3), (3, 4), (1, 1), (3, 2), (2, 3), (16, 9), (9, 16))
# px on the longer side. A GPU loads its decode and resize kernels on first use, and only a large photo needs them all.
WARM_UP_SIDE, WARM_UP_SIDE_OF_CUDA = 960, 3840


class Cropper:
    """Crops pictures with detectors that stay loaded.

    Attributes:
        device: Where the networks run. On CUDA the pixels lie there too.
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
        """Whether pictures can still be cropped; false for good once the device is lost."""
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

        If the device's memory runs out, the picture is retried with only the networks on the device,
        then on the CPU alone. The result's `note` says so.

        Args:
            picture: The picture file's bytes, or its path.
            request: What to crop and how; the defaults when none.
            source: The picture's name in the result; its path when empty.
            dry_run: Decide where to cut, and cut nothing.

        Raises:
            ImageError: The picture cannot be cropped, or needs more memory than there is.
            RequestError: The crops would have too many pixels.
            WeightsError: The request's detector has no weights here.
            DeviceError: The device has failed; this picture and all later ones fail too.
        """
        request = request or CropRequest()
        for attempt in attempts(self.device):
            result = self._tried(attempt, picture, request, source or path_of(picture), dry_run)
            if result is not None:
                return result
            free_memory(attempt.device)  # not in the except block, whose traceback keeps the tensors alive
        raise ImageError("The picture needs more memory than this machine has. Send a smaller one.")

    def crop_many(
        self,
        pictures: Iterable[Picture],
        request: CropRequest | None = None,
        *,
        sources: Iterable[str] = (),
        dry_run: bool = False,
        threads: int | None = None,
    ) -> Iterator[CropResult | CropError]:
        """Yield for each picture, in order, what `crop` returns, or the picture's own error.

        On a CPU each thread crops one picture; with ``threads=1`` the networks use all cores. On a
        GPU the detector takes several pictures at once, while threads decode the next ones and
        encode the last ones. Pictures are read as needed, and only a few are held at a time.

        Args:
            pictures: The files' bytes or paths.
            request: What to crop and how; the defaults when none.
            sources: The pictures' names in the results; a picture without one gets its path.
            dry_run: Decide where to cut, and cut nothing.
            threads: How many; when none, one for each core, and on a GPU at most `MAX_THREADS`.

        Raises:
            WeightsError: The request's detector has no weights here.
            DeviceError: The device has failed.
        """
        asked = request or CropRequest()
        size = self.detector(asked.detector).batch
        first = attempts(self.device)[0]

        def opened(job: _Job) -> _Job:
            # `finished` retries this picture by itself and reports its error.
            with suppress(CropError), self._watch.pass_over_memory(first.device):
                job.opened = open_picture(job.picture, self.detector(asked.detector), first)
            return job

        def detected(jobs: list[_Job]) -> list[_Job]:
            found = [job.opened for job in jobs if job.opened]
            with self._watch.pass_over_memory(first.device):
                detect_in(found, asked)
                return jobs
            for job in jobs:
                job.opened, job.note = None, ALONE if len(found) > 1 else ""
            found.clear()  # these references would keep the pixels' memory from being freed
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
        """Return the crops of one picture; none if memory ran out."""
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
    """One of many pictures. `opened` is none before it is decoded, and again if it must be retried alone."""

    picture: Picture
    source: str
    opened: Opened | None = None
    note: str = ""

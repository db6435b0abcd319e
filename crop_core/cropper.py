"""The five steps composed: open, detect, frame, render, encode.

A `Cropper` is loaded once and called per picture, or for many at once; it keeps the networks and
nothing of the pictures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, repeat
from threading import Lock

import torch
from torch import Tensor

from crop_core.cut.encode import encode, file_name, format_for
from crop_core.cut.preview import Shown, draw_preview, tile_of
from crop_core.cut.render import on_white, render
from crop_core.detect.choose_detector import load_detector, resolve
from crop_core.detect.detector import Detector
from crop_core.detect.network_input import View
from crop_core.detect.spectral_saliency import saliency_grid
from crop_core.detection import Detection
from crop_core.device import answers, free_memory, is_out_of_memory, resolve_device
from crop_core.errors import CropError, DeviceError, ImageError, WeightsError
from crop_core.frame.output_size import check_together
from crop_core.frame.plan import plan_crops
from crop_core.frame.scene import Scene
from crop_core.frame.subjects import WEAK_SCORE
from crop_core.photo.decode_on_gpu import AcceleratedPhoto
from crop_core.photo.limits import limits
from crop_core.photo.photo import Photo, in_srgb, open_photo
from crop_core.request import CropRequest
from crop_core.result import Crop, CropResult
from crop_core.run.memory_fallback import ALONE, Attempt, attempts
from crop_core.run.ordered_pool import batched, in_order

# A decode of twice the pixels that the networks see takes hardly longer than one that just suffices (reading the
# entropy code is most of the work), and serves most crops too, so that a picture is decoded once.
OVERSAMPLING = 2
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
        self._default = detector
        self._loaded: dict[tuple[str, str], Detector] = {}  # by name and device
        self._lock = Lock()
        self._lost = ""  # why the device is not to be trusted any more
        self.detector("auto")

    @property
    def works(self) -> bool:
        """Whether pictures can be cropped: false once the device is lost, and for good."""
        return not self._lost

    def warm_up(self) -> None:
        """Crop a gray JPEG of each usual shape, so that the first picture is as fast as the next."""
        side = WARM_UP_SIDE_OF_CUDA if self.device.type == "cuda" else WARM_UP_SIDE
        for width, height in WARM_UP_RATIOS:
            unit = side // max(width, height)
            gray = torch.full((3, height * unit, width * unit), 128, dtype=torch.uint8)
            self.crop(encode(gray, "jpg", 85, None), CropRequest(width=side // 4, output_format="jpg"))

    def crop(
        self, data: bytes, request: CropRequest | None = None, *, source: str = "", dry_run: bool = False
    ) -> CropResult:
        """Return the crops of one picture.

        Where a device's memory runs out, it is freed and the picture tried again with less of it on
        the device, then on the CPU; the result's `note` says so.

        Args:
            data: The picture file's bytes.
            request: What is wanted; the defaults when none.
            source: The picture's name, for the result.
            dry_run: Decide where to cut, and cut nothing.

        Raises:
            ImageError: The picture cannot be cropped, or no memory suffices for it.
            RequestError: The crops would have too many pixels.
            WeightsError: The request's detector has no weights here.
            DeviceError: The device does not work any more, for this picture and all later ones.
        """
        request = request or CropRequest()
        for attempt in attempts(self.device):
            result = self._tried(attempt, data, request, source, dry_run)
            if result is not None:
                return result
            free_memory(attempt.device)  # here, where no error and no frame holds on to what lies there
        raise ImageError("The memory of this machine does not suffice for the picture. Send a smaller one.")

    def crop_many(
        self,
        pictures: Iterable[bytes],
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
            pictures: The files' bytes.
            request: What is wanted of each; the defaults when none.
            sources: The pictures' names, for the results, as far as there are any.
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
            with suppress(CropError), self._watched(first):  # it is tried again alone, and then its error is told
                job.opened = self._opened(job.data, asked, first)
            return job

        def detected(jobs: list[_Job]) -> list[_Job]:
            found = [job.opened for job in jobs if job.opened]
            with self._watched(first):
                self._detect(found, asked)
                return jobs
            for job in jobs:
                job.opened, job.note = None, ALONE if len(found) > 1 else ""
            found.clear()  # or their pixels would keep the memory that is to be given back
            free_memory(first.device)
            return jobs

        def finished(job: _Job) -> CropResult | CropError:
            try:
                if job.opened:
                    with self._watched(first):
                        return self._finished(job.opened, asked, job.source, dry_run)
                    job.opened = None
                result = self.crop(job.data, asked, source=job.source, dry_run=dry_run)
                return replace(result, note=result.note or job.note)
            except (DeviceError, WeightsError):
                raise
            except CropError as error:
                return error

        given = (_Job(data, source) for data, source in zip(pictures, chain(sources, repeat("")), strict=False))
        if size == 1 and threads == 1:
            yield from map(finished, given)
            return
        if size == 1:
            yield from self._each_in_its_thread(finished, given, threads or os.cpu_count() or 1)
            return
        workers = threads or min(os.cpu_count() or 1, MAX_THREADS)
        pool = ThreadPoolExecutor(workers)
        try:
            ready = in_order(pool, opened, given, workers)
            yield from in_order(pool, finished, batched(detected, ready, size), workers)
        finally:
            pool.shutdown(cancel_futures=True)

    def _each_in_its_thread(
        self, work: Callable[[_Job], CropResult | CropError], jobs: Iterable[_Job], threads: int
    ) -> Iterator[CropResult | CropError]:
        """Yield what the work makes of each, PyTorch itself keeping to one thread in each of ours.

        On two cores that is half as fast again as one picture after another with two threads of
        PyTorch's, which wait for one another at every layer.
        """
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from in_order(pool, work, jobs, threads)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)  # threads that are yet to come take the number that was set last

    def _tried(
        self, attempt: Attempt, data: bytes, request: CropRequest, source: str, dry_run: bool
    ) -> CropResult | None:
        """Return the crops of one picture, or none where memory ran out."""
        with self._watched(attempt):
            opened = self._opened(data, request, attempt)
            self._detect([opened], request)
            return self._finished(opened, request, source, dry_run)
        return None

    def _opened(self, data: bytes, request: CropRequest, attempt: Attempt) -> _Opened:
        """Return the picture, decoded as far as detection needs."""
        timings = dict.fromkeys(("decode", "detect", "frame", "render", "encode"), 0.0)
        detector = self.detector(request.detector, attempt.device)
        with _timed(timings, "decode"):
            plain = open_photo(data)
            photo = AcceleratedPhoto(plain, attempt.pixels) if attempt.pixels.type == "cuda" else plain
            pixels = on_white(in_srgb(photo.small(OVERSAMPLING * detector.longest_side), photo.icc_profile))
        return _Opened(photo, pixels, detector, attempt, timings)

    def _detect(self, pictures: Sequence[_Opened], request: CropRequest) -> None:
        """Let the detector see the pictures, which all have the same one; it also keeps what is below the threshold."""
        if not pictures:
            return
        floor = min(request.score_threshold, WEAK_SCORE) if request.mode == "subject" else request.score_threshold
        timings: dict[str, float] = {"detect": 0.0}
        with _timed(timings, "detect"):
            views = [View(picture.pixels, picture.photo.size) for picture in pictures]
            found = pictures[0].detector.detect_all(views, floor, request.iou_threshold)
        for picture, seen in zip(pictures, found, strict=True):
            picture.seen = seen
            picture.timings["detect"] = timings["detect"] / len(pictures)

    def _finished(self, opened: _Opened, request: CropRequest, source: str, dry_run: bool) -> CropResult:
        """Return the crops: framed, cut, resized and encoded."""
        photo, timings, attempt = opened.photo, opened.timings, opened.attempt
        with _timed(timings, "frame"):
            scene = Scene.of(opened.seen, photo.size, request)
            if not scene.subjects and request.if_none == "saliency":
                scene = replace(scene, saliency=saliency_grid(opened.pixels))
            plans = plan_crops(scene, request)
            check_together((plan.output_size for plan in plans), limits().max_crop_pixels)
        crops, shown = [], []
        output_format = format_for(request.output_format, photo.format)
        for index, plan in enumerate(plans):
            if dry_run:
                crops.append(Crop(plan, None, None))
                continue
            with _timed(timings, "render"):
                cut = render(photo, plan, attempt.pixels)
            with _timed(timings, "encode"):
                encoded = encode(cut, output_format, request.output_quality, photo.icc_profile)
            crops.append(Crop(plan, file_name(index, plan.label, plan.aspect_ratio, output_format), encoded))
            if request.preview:
                shown.append(Shown(plan, tile_of(cut)))
        preview = None
        if request.preview and not dry_run:
            own_colors = on_white(photo.small(OVERSAMPLING * opened.detector.longest_side))
            preview = draw_preview(own_colors, photo.size, scene.detections, shown, photo.icc_profile)
        return CropResult(
            source,
            photo.size,
            photo.format,
            opened.detector.name,
            attempt.device.type,
            timings,
            scene.detections,
            tuple(crops),
            preview,
            attempt.note,
        )

    @contextmanager
    def _watched(self, attempt: Attempt) -> Iterator[None]:
        """Pass over memory that runs out, so that what follows the block can try another way.

        Raises:
            DeviceError: The device is lost, now or earlier: no later call on it can be trusted.
        """
        if self._lost:
            raise DeviceError(self._lost)
        try:
            yield
        except CropError:
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if answers(attempt.device):
                    raise
                reason = str(error).partition("\n")[0]
                self._lost = f"The device {attempt.device.type} does not work any more ({reason}); start anew."
                raise DeviceError(self._lost) from error

    def detector(self, name: str, device: torch.device | None = None) -> Detector:
        """Return the detector that a request's name means, loaded if it is not yet.

        Args:
            name: As in a request.
            device: The cropper's own when none.

        Raises:
            RequestError: No detector has that name.
            WeightsError: Its weights are absent or not the ones expected.
        """
        device = device or self.device
        name = resolve(self._default if name == "auto" else name, device)
        with self._lock:  # two threads must not load one detector twice
            if (name, device.type) not in self._loaded:
                self._loaded[name, device.type] = load_detector(name, device)
            return self._loaded[name, device.type]


@dataclass(slots=True, eq=False)
class _Opened:
    """A picture on its way: decoded, and searched once `seen` is set."""

    photo: Photo | AcceleratedPhoto
    pixels: Tensor
    detector: Detector
    attempt: Attempt
    timings: dict[str, float]
    seen: tuple[Detection, ...] = ()


@dataclass(slots=True, eq=False)
class _Job:
    """One of many pictures; `opened` is none until it is, and again when it is to be tried alone."""

    data: bytes
    source: str
    opened: _Opened | None = None
    note: str = ""


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[step] += (time.perf_counter() - start) * 1000

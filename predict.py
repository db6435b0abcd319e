"""The Cog adapter: declares the inputs, loads in setup, calls the core, returns paths.

Cog reads this file as text to make the model's schema, so every `Input(...)` is literal; a test
holds each one to the core's `CropRequest`.
"""

import re

from cog import BasePredictor, Input, Path

import crop_core
from crop_core import CropRequest, ImageError
from crop_core.doctor.ready import ready_cropper
from crop_core.run.process_settings import Scratch, open_data_uris_once, tune_process


class Predictor(BasePredictor):
    """Crops one picture per prediction."""

    def setup(self) -> None:
        """Examine the device, load the detector once and warm it up; nothing is downloaded."""
        tune_process()
        open_data_uris_once()
        self.scratch = Scratch()  # it takes the server's downloads, too
        self.cropper = ready_cropper(device="auto", detector="auto")

    def healthcheck(self) -> bool:
        """Return whether pictures can be cropped; once the device is lost, Cog reports the server as unhealthy."""
        return self.cropper.works

    def predict(
        self,
        image: Path = Input(
            description="The picture: JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF; of animations the first frame.",
            accept="image/*",
        ),
        mode: str = Input(
            default="subject",
            description="subject: one composed crop of what matters. objects: one crop per object. faces: one crop per face.",
            choices=["subject", "objects", "faces"],
        ),
        labels: str = Input(
            default="",
            description="What may be a subject: comma-separated COCO names or face, with optional weights (dog:3,person:1). Empty: anything.",
        ),
        aspect_ratio: str = Input(
            default="match_input",
            description="Shape of the crops: match_input, free, or any width:height such as 1:1, 4:5 or 16:9; several, comma-separated, give a crop each.",
        ),
        width: int | None = Input(
            default=None,
            description="Width of the crops in pixels. With height it also sets the ratio; alone it keeps the ratio.",
            ge=1,
            le=8192,
        ),
        height: int | None = Input(
            default=None,
            description="Height of the crops in pixels. With width it also sets the ratio; alone it keeps the ratio.",
            ge=1,
            le=8192,
        ),
        zoom: float | None = Input(
            default=None,
            description="0 keeps as much of the scene as the ratio allows, 1 is as tight as the padding allows. Unset: 0 in subject mode, 1 in the others.",
            ge=0,
            le=1,
        ),
        padding: float = Input(
            default=0.1,
            description="Room around the subject, as a fraction of its sides; the picture's border limits it.",
            ge=0,
            le=2,
        ),
        headroom: float = Input(
            default=0.4,
            description="Room kept above a face box, which ends at the forehead, as a fraction of its height.",
            ge=0,
            le=2,
        ),
        score_threshold: float = Input(
            default=0.3,
            description="How sure the detector must be of a box, 0 to 1; lower finds more and errs more.",
            ge=0,
            le=1,
        ),
        iou_threshold: float = Input(
            default=0.5,
            description="Of two boxes of one label that overlap by more than this (intersection over union, 0 to 1), the better one stays.",
            ge=0,
            le=1,
        ),
        max_crops: int = Input(default=20, description="The most crops that are returned.", ge=1, le=100),
        order: str = Input(
            default="score",
            description="Which objects or faces come first: the surest, the largest, or from left to right.",
            choices=["score", "area", "left_to_right"],
        ),
        if_none: str = Input(
            default="saliency",
            description="When nothing is found: crop what stands out, the center, keep the full image, return nothing, or fail.",
            choices=["saliency", "center", "full_image", "empty", "error"],
        ),
        upscale: str = Input(
            default="never",
            description="When a crop has fewer pixels than asked for: never enlarge (it comes out smaller), allow enlarging, or pad to the size.",
            choices=["never", "allow", "pad"],
        ),
        detector: str = Input(
            default="auto",
            description="fast: NanoDet-g at 416 pixels. balanced: at 416 and 640 pixels. accurate: Faster R-CNN v2, where its weights are. auto: the best that costs nothing noticeable.",
            choices=["auto", "fast", "balanced", "accurate"],
        ),
        output_format: str = Input(
            default="webp",
            description="File format of the crops; match_input keeps the picture's own where it can be written.",
            choices=["match_input", "webp", "jpg", "png", "avif"],
        ),
        output_quality: int = Input(
            default=85, description="Quality of WebP, JPEG and AVIF, 1 to 100; ignored for PNG.", ge=1, le=100
        ),
        preview: bool = Input(
            default=False, description="Also return the picture with its boxes and crop windows drawn."
        ),
    ) -> list[Path]:
        """Return the crops, detections.json and, when asked for, the preview; every name says what the file is."""
        if not isinstance(image, Path):
            raise ImageError("image is missing or is no upload: send the picture as an http(s) URL or as a data URI.")
        request = CropRequest.from_inputs(
            mode=mode,
            labels=labels,
            aspect_ratio=aspect_ratio,
            width=width,
            height=height,
            zoom=zoom,
            padding=padding,
            headroom=headroom,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_crops=max_crops,
            order=order,
            if_none=if_none,
            upscale=upscale,
            detector=detector,
            output_format=output_format,
            output_quality=output_quality,
            preview=preview,
        )
        # The server's file is called tmp, eight random characters, and what the caller called it (cog.types.URLPath).
        source = re.sub(r"^tmp[a-z0-9_]{8}", "", image.name)
        result = self.cropper.crop(crop_core.read_photo(image), request, source=source)
        self.record_metric("detections", result.record()["detections"])
        # They stay until the next download begins; by then the server has read them.
        return [Path(file) for file in result.save(self.scratch.outputs)]

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
        aspect_ratio: str = Input(
            default="1:1",
            description="Shape of the crops, width:height: 1:1, 4:5, 16:9 or any other; several, comma-separated, give a crop each. match_input keeps the picture's own shape, free takes the shape that suits what is in it. auto:1:1,4:5,16:9 takes the one of the list that keeps most, closest:1:1,4:5,16:9 the one nearest to the picture's own.",
        ),
        mode: str = Input(
            default="subject",
            description="subject: one crop of what matters. objects: one crop of each thing. faces: one crop of each face.",
            choices=["subject", "objects", "faces"],
        ),
        labels: str = Input(
            default="",
            description="What the crop may be about, comma-separated: person, dog, cat, car, bicycle, bottle, chair … or face; with weights to prefer one: dog:3,person:1. Empty: anything.",
        ),
        focus: str = Input(
            default="",
            description="What the crop is about, where you know better: a point x,y, which comes to the middle, or a box x1,y1,x2,y2, which is kept whole; as fractions of the picture (0.42,0.3) or in pixels (420px,300px). Several, separated by semicolons, all count.",
        ),
        width: int | None = Input(
            default=None,
            description="Width of the crops in pixels. With height it also sets the shape; alone it keeps the shape.",
            ge=1,
            le=8192,
        ),
        height: int | None = Input(
            default=None,
            description="Height of the crops in pixels. With width it also sets the shape; alone it keeps the shape.",
            ge=1,
            le=8192,
        ),
        multiple_of: int = Input(
            default=1,
            description="Width and height of the crops are multiples of this, as trainers want: 8, 16, 32, 64. The shape is as near as that allows.",
            ge=1,
            le=64,
        ),
        max_pixels: int | None = Input(
            default=None,
            description="The most pixels of a crop, width times height, such as 1048576. With upscale allow or pad smaller crops come out as large.",
            ge=1024,
            le=67108864,
        ),
        zoom: float | None = Input(
            default=None,
            description="0 keeps as much of the picture as the shape allows, 1 is as tight as the padding allows. Unset: 0 in subject mode, 1 in the others.",
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
            description="Room above a face for the hair, as a fraction of the face's height.",
            ge=0,
            le=2,
        ),
        position: str = Input(
            default="auto",
            description="Where in the crop the subject sits, as far as what is kept leaves that open: auto, center, a compass point (north, southwest …: on the lines of thirds), or x,y as fractions of the crop (0.5,0.33).",
        ),
        output_format: str = Input(
            default="webp",
            description="File format of the crops; match_input keeps the picture's own where it can be written.",
            choices=["match_input", "webp", "jpg", "png", "avif"],
        ),
        output_quality: int = Input(
            default=85,
            description="Quality of WebP, JPEG and AVIF, 1 to 100; PNG has none.",
            ge=1,
            le=100,
        ),
        upscale: str = Input(
            default="never",
            description="When a crop has fewer pixels than asked for: never enlarge (it comes out smaller), allow enlarging, or pad to the size.",
            choices=["never", "allow", "pad"],
        ),
        fit: str = Input(
            default="crop",
            description="What to do with what the shape leaves no room for. crop: cut it off. pad: keep all (with zoom, the subject) and fill the rest with background. auto: crop while nothing that matters is cut, else pad.",
            choices=["crop", "pad", "auto"],
        ),
        background: str = Input(
            default="auto",
            description="What padding is filled with: a CSS colour (white, #f5f5f5), edge (the colour of the picture's border), blur (the picture itself, blurred) or transparent. auto: white, or transparent where the picture has transparency.",
        ),
        align: str = Input(
            default="none",
            description="Turn the picture until the eyes of a crop's one face lie level, by at most 30 degrees. No corner stays empty: the window shrinks, or with fit pad background fills.",
            choices=["none", "eyes"],
        ),
        face_height: float | None = Input(
            default=None,
            description="How much of the crop's height the head takes from chin to crown, in mode faces or for a single face: 0.75 for a passport picture. It sets how tight the crop is, in place of zoom.",
            ge=0.05,
            le=1,
        ),
        eye_line: float | None = Input(
            default=None,
            description="How far from the top of the crop the eyes lie, as a fraction of its height, in mode faces or for a single face.",
            ge=0,
            le=1,
        ),
        trim: bool = Input(
            default=False,
            description="Take the one object on a plain backdrop, to the pixel, in place of what a detector sees; where the backdrop is not plain, what stands out or is detected stands in. zoom is 1 then, unless it is set.",
        ),
        trim_threshold: int = Input(
            default=12,
            description="By how much of 255 a pixel must differ from the backdrop to count as the object: a small number counts its shadow, a large one leaves it out.",
            ge=1,
            le=254,
        ),
        redact: str = Input(
            default="none",
            description="Hide what redact_labels names, in the crops and the preview: blur it, or pixelate it. What the detector does not find is not hidden.",
            choices=["none", "blur", "pixelate"],
        ),
        redact_labels: str = Input(
            default="face",
            description="What redact hides, comma-separated: face, person, car, tv, laptop …",
        ),
        if_none: str = Input(
            default="saliency",
            description="When nothing is found: crop what stands out (saliency), the center, keep the full image, return nothing, or fail.",
            choices=["saliency", "center", "full_image", "empty", "error"],
        ),
        max_crops: int = Input(
            default=20,
            description="The most crops that are returned.",
            ge=1,
            le=100,
        ),
        order: str = Input(
            default="score",
            description="Which objects or faces come first: the surest, the largest, or from left to right.",
            choices=["score", "area", "left_to_right"],
        ),
        preview: bool = Input(
            default=False,
            description="Also return the picture with its boxes and crop windows drawn.",
        ),
        detector: str = Input(
            default="auto",
            description="fast: about a tenth of a second on a CPU. balanced: finds more small things, in three times the time. accurate: needs a GPU and extra weights. auto: the best that this machine does quickly.",
            choices=["auto", "fast", "balanced", "accurate"],
        ),
        score_threshold: float = Input(
            default=0.3,
            description="How confident the detector must be of a thing, 0 to 1; a lower value finds more, and more that is wrong.",
            ge=0,
            le=1,
        ),
        iou_threshold: float = Input(
            default=0.5,
            description="Two boxes of one kind that share more than this part of their area (0 to 1) count as one thing.",
            ge=0,
            le=1,
        ),
        dry_run: bool = Input(
            default=False,
            description="Decide where to cut and cut nothing: detections.json alone comes back, with the detections in the metrics.",
        ),
    ) -> list[Path]:
        """Return the crops, detections.json and, when asked for, the preview; every name says what the file is."""
        if not isinstance(image, Path):
            raise ImageError("image is missing or is no upload: send the picture as an http(s) URL or as a data URI.")
        request = CropRequest.from_inputs(
            aspect_ratio=aspect_ratio,
            mode=mode,
            labels=labels,
            focus=focus,
            width=width,
            height=height,
            multiple_of=multiple_of,
            max_pixels=max_pixels,
            zoom=zoom,
            padding=padding,
            headroom=headroom,
            position=position,
            output_format=output_format,
            output_quality=output_quality,
            upscale=upscale,
            fit=fit,
            background=background,
            align=align,
            face_height=face_height,
            eye_line=eye_line,
            trim=trim,
            trim_threshold=trim_threshold,
            redact=redact,
            redact_labels=redact_labels,
            if_none=if_none,
            max_crops=max_crops,
            order=order,
            preview=preview,
            detector=detector,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
        )
        # The server's file is called tmp, eight random characters, and what the caller called it (cog.types.URLPath).
        source = re.sub(r"^tmp[a-z0-9_]{8}", "", image.name)
        result = self.cropper.crop(crop_core.read_photo(image), request, source=source, dry_run=dry_run)
        self.record_metric("crops", result.crops_record())
        self.record_metric("found", result.found())
        if dry_run:
            self.record_metric("detections", result.record()["detections"])
            self.record_metric("focal_point", result.record()["focal_point"])
        # They stay until the next download begins; by then the server has read them.
        return [Path(file) for file in result.save(self.scratch.outputs)]

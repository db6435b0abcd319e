"""The Cog adapter: declares the inputs, loads in setup, calls the core, returns paths.

Cog reads this file as text to make the model's schema, so every `Input(...)` has literals only. A
test compares each one with the field of `CropRequest`.
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
        """Check the device, load the detector once and warm it up; nothing is downloaded."""
        tune_process()
        open_data_uris_once()
        self.scratch = Scratch()  # the server's downloads go there too
        self.cropper = ready_cropper(device="auto", detector="auto")

    def healthcheck(self) -> bool:
        """Return whether pictures can be cropped; once the device is lost, Cog reports the server as unhealthy."""
        return self.cropper.works

    def predict(
        self,
        image: Path = Input(
            description="The picture: JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF; of an animation, the first frame.",
            accept="image/*",
        ),
        aspect_ratio: str = Input(
            default="1:1",
            description="Shape of the crops as width:height, such as 1:1, 4:5 or 16:9; several, comma-separated, give a crop each. match_input keeps the picture's own shape; free takes the shape that suits the subject. auto:1:1,4:5,16:9 picks the ratio that keeps most of the subject; closest:1:1,4:5,16:9 the one nearest to the picture's own.",
        ),
        mode: str = Input(
            default="subject",
            description="subject: one crop of what matters most. objects: one crop of each thing. faces: one crop of each face.",
            choices=["subject", "objects", "faces"],
        ),
        labels: str = Input(
            default="",
            description="What the crop may be about, comma-separated: person, dog, cat, car, bottle, chair … (COCO's 80 names), face, or salient for what merely stands out. Weights prefer one: dog:3,person:1. Empty: anything.",
        ),
        focus: str = Input(
            default="",
            description="What the crop is about, if you know better than the detector: a point x,y, which comes near the middle, or a box x1,y1,x2,y2, which is kept whole if it fits; several with semicolons. Fractions of the picture (0.42,0.3) or pixels (420px,300px). Mode subject only.",
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
            description="Width and height of the crops are multiples of this number, as training needs: 8, 16, 32, 64. The shape is the nearest possible, and nothing is distorted.",
            ge=1,
            le=64,
        ),
        max_pixels: int | None = Input(
            default=None,
            description="The most pixels of a crop, width times height, such as 1048576. With upscale allow or pad, smaller crops are brought up to it.",
            ge=1024,
            le=67108864,
        ),
        zoom: float | None = Input(
            default=None,
            description="0 keeps as much of the picture as the shape allows; 1 is as tight as the padding allows. Unset: 0 in mode subject, 1 in the others and with trim.",
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
            description="Room for the hair above a face box, which ends at the forehead, as a fraction of the box's height.",
            ge=0,
            le=2,
        ),
        position: str = Input(
            default="auto",
            description="Where the middle of the subject sits in the crop, as far as keeping it whole allows: auto, center, a compass point (north, southwest …: on the lines of thirds), or x,y as fractions of the crop (0.5,0.33).",
        ),
        output_format: str = Input(
            default="webp",
            description="File format of the crops; match_input keeps the picture's own, or takes the nearest of the four.",
            choices=["match_input", "webp", "jpg", "png", "avif"],
        ),
        output_quality: int = Input(
            default=85,
            description="Quality of WebP, JPEG and AVIF, 1 to 100. PNG ignores it.",
            ge=1,
            le=100,
        ),
        upscale: str = Input(
            default="never",
            description="If a crop has fewer pixels than asked for. never: it stays smaller. allow: it is enlarged. pad: background fills it up to the size.",
            choices=["never", "allow", "pad"],
        ),
        fit: str = Input(
            default="crop",
            description="What happens to what the shape has no room for. crop: it is cut off. pad: the whole picture (with zoom, the subject) is kept, and background fills the rest. auto: crop if nothing that matters is cut, else pad.",
            choices=["crop", "pad", "auto"],
        ),
        background: str = Input(
            default="auto",
            description="What fills the padding: a CSS colour (white, #f5f5f5), which also lies behind transparent parts, edge (the colour of the picture's border), blur (the picture itself, blurred) or transparent. auto: white, or transparent if the picture has transparency.",
        ),
        align: str = Input(
            default="none",
            description="eyes: turn the picture, by at most 30 degrees, until the eyes are level; in mode faces, or for a single face. No corner stays empty: the window shrinks, or with fit pad background fills it.",
            choices=["none", "eyes"],
        ),
        face_height: float | None = Input(
            default=None,
            description="How much of the crop's height the head takes, from chin to crown; 0.75 for a passport picture. In mode faces, or for a single face. It replaces zoom.",
            ge=0.05,
            le=1,
        ),
        eye_line: float | None = Input(
            default=None,
            description="How far from the top of the crop the eyes lie, as a fraction of its height. In mode faces, or for a single face.",
            ge=0,
            le=1,
        ),
        trim: bool = Input(
            default=False,
            description="Crop to the one object on a plain backdrop, to the pixel, instead of to what a detector finds. If the backdrop is not plain, the object is what stands out, or what is detected.",
        ),
        trim_threshold: int = Input(
            default=12,
            description="How far a pixel must differ from the backdrop, of 255, to count as the object. A small number includes the shadow; a large one leaves it out.",
            ge=1,
            le=254,
        ),
        redact: str = Input(
            default="none",
            description="Hide what redact_labels names, in the crops and the preview: blur it or pixelate it. What the detector misses stays visible.",
            choices=["none", "blur", "pixelate"],
        ),
        redact_labels: str = Input(
            default="face",
            description="What redact hides, comma-separated: face, person, car, tv, laptop …",
        ),
        if_none: str = Input(
            default="saliency",
            description="If nothing is found. saliency: crop where people most likely would. center: crop the middle. full_image: keep the whole picture. empty: return no crop. error: fail.",
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
            description="Which objects or faces come first. score: the most confident. area: the largest. left_to_right: the leftmost.",
            choices=["score", "area", "left_to_right"],
        ),
        preview: bool = Input(
            default=False,
            description="Also return the picture with boxes and crop windows drawn, and the crops beside it.",
        ),
        detector: str = Input(
            default="auto",
            description="fast: for a CPU. balanced: finds more small things, and takes longer. accurate: finds most, and needs a GPU and extra weights. auto: fast on a CPU; on a GPU accurate if its weights are there, else balanced.",
            choices=["auto", "fast", "balanced", "accurate"],
        ),
        score_threshold: float = Input(
            default=0.3,
            description="The least confidence of a detection, 0 to 1. A lower value finds more things, and more false ones.",
            ge=0,
            le=1,
        ),
        iou_threshold: float = Input(
            default=0.5,
            description="Two boxes of one label count as one thing if their intersection over union is above this, 0 to 1.",
            ge=0,
            le=1,
        ),
        dry_run: bool = Input(
            default=False,
            description="Decide where to cut, but cut nothing: only detections.json comes back, and the metrics list the detections.",
        ),
    ) -> list[Path]:
        """Return the crops, detections.json and, if asked for, the preview; each file's name says what it is."""
        if not isinstance(image, Path):
            raise ImageError("image is missing or is not a file. Send the picture as an http(s) URL or as a data URI.")
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
        # The server names its file tmp, eight random characters, and the caller's name for it (cog.types.URLPath).
        source = re.sub(r"^tmp[a-z0-9_]{8}", "", image.name)
        result = self.cropper.crop(crop_core.read_photo(image), request, source=source, dry_run=dry_run)
        self.record_metric("crops", result.crops_record())
        self.record_metric("found", result.found())
        if dry_run:
            self.record_metric("detections", result.record()["detections"])
            self.record_metric("focal_point", result.record()["focal_point"])
        # The files stay until the next download begins; by then the server has read them.
        return [Path(file) for file in result.save(self.scratch.outputs)]

"""Runs a network on a CPU with OpenVINO, if it is installed; faster than PyTorch.

tests/tools/convert_openvino.py makes the files from the torch modules.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from crop_core.detect.weights.load import checked_bytes

TELEMETRY = "openvino_telemetry"
# Pinned threads would keep to cores that another process, or another network of this one, is busy on.
SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}


@cache
def openvino() -> ModuleType | None:
    """Return the package, or none where it is not installed or its libraries do not load.

    Importing it would report each start to Google Analytics through openvino_telemetry, and store an id in the home
    folder. It does neither if that package is missing, so the package is hidden from it.
    """
    absent = object()
    before = sys.modules.get(TELEMETRY, absent)
    if before is absent:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # Python's own way to say that there is none
    try:
        return import_module("openvino")
    except (ImportError, OSError, RuntimeError):
        return None
    finally:
        if before is absent:
            del sys.modules[TELEMETRY]


class OpenVinoEngine:
    """A network that OpenVINO runs on a CPU, one picture at a time; several threads may ask at once.

    Attributes:
        device: The CPU.
        input_dtype: Single precision.
    """

    device = torch.device("cpu")
    input_dtype = torch.float32

    def __init__(self, name: str) -> None:
        """Read the network; it is compiled when it is first asked.

        Args:
            name: Of its files among the shipped weights, without their suffixes.

        Raises:
            WeightsError: A file is missing, or its bytes are not the ones that were shipped.
        """
        self._graph, self._weights = checked_bytes(f"{name}.xml"), checked_bytes(f"{name}.bin")
        self._idle: dict[int, deque[Any]] = {}  # idle requests, by number of threads

    def run(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs, as `Engine.run`; each picture's are what they are alone."""
        threads = torch.get_num_threads()
        idle = self._idle.setdefault(threads, deque())
        try:
            request = idle.pop()
        except IndexError:
            request = self._compiled(threads).create_infer_request()
        try:
            several = [self._asked(request, one) for one in torch.split(batch.contiguous(), 1)]
        finally:
            idle.append(request)
        return tuple(torch.cat(rows) if len(rows) > 1 else rows[0] for rows in zip(*several, strict=True))

    def _asked(self, request: Any, one: Tensor) -> list[Tensor]:
        ov: Any = openvino()
        values = one.numpy()
        request.set_input_tensor(ov.Tensor(values, shared_memory=True))  # `values` must outlive the request's run
        request.infer()
        # The request writes its next outputs where these lie.
        return [torch.from_numpy(output.data).clone() for output in request.output_tensors]

    def _compiled(self, threads: int) -> Any:
        core = _core()
        model = core.read_model(self._graph, self._weights)
        return core.compile_model(model, "CPU", {**SETTINGS, "INFERENCE_NUM_THREADS": threads})


@cache
def _core() -> Any:
    ov: Any = openvino()
    return ov.Core()

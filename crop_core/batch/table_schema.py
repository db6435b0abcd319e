"""The columns of the table of results."""

from __future__ import annotations

import pyarrow as pa

_INTEGERS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("folder", pa.string()),  # below OUT, with the crops
        ("address", pa.string()),  # the picture's
        ("key", pa.string()),
        ("request", pa.string()),  # JSON; the inputs that are no defaults
        ("crop_core", pa.string()),  # the version that did it
        ("version", pa.int32()),
        ("source", pa.string()),
        ("size", _INTEGERS),
        ("format", pa.string()),
        ("detector", pa.string()),
        ("device", pa.string()),
        ("timings_ms", pa.map_(pa.string(), pa.float64())),
        (
            "detections",
            pa.list_(
                pa.struct(
                    [
                        ("id", pa.int32()),
                        ("label", pa.string()),
                        ("score", pa.float64()),
                        ("box", pa.list_(pa.float64())),
                        ("landmarks", pa.list_(pa.list_(pa.float64()))),
                    ]
                )
            ),
        ),
        (
            "crops",
            pa.list_(
                pa.struct(
                    [
                        ("file", pa.string()),
                        ("aspect_ratio", pa.string()),
                        ("window", _INTEGERS),
                        ("output_size", _INTEGERS),
                        ("subjects", _INTEGERS),
                        ("coverage", pa.map_(pa.string(), pa.float64())),
                        ("rule", pa.string()),
                        ("frame", _INTEGERS),  # this and what follows: null where the request did not bring it about
                        ("angle", pa.float64()),
                        ("face_height", pa.float64()),
                        ("eye_line", pa.float64()),
                        ("redacted", pa.list_(pa.list_(pa.float64()))),
                        ("trim", pa.string()),
                        ("object", pa.list_(pa.float64())),
                        ("object_position", pa.string()),
                    ]
                )
            ),
        ),
        ("error", pa.struct([("type", pa.string()), ("message", pa.string())])),
        ("note", pa.string()),
        ("focal_point", pa.list_(pa.float64())),
        ("sidecars", pa.list_(pa.string())),
    ]
)
NUMBER = "number"  # of the picture in the ledger; a column on the way from a worker, not in the table
SENT_SCHEMA = pa.schema([(NUMBER, pa.int64()), *SCHEMA])


def is_known(column: pa.Field) -> bool:
    """Return whether a column is one of the table's, as it is written now or was before keys came to it."""
    if column.name not in SCHEMA.names:
        return False
    ours = SCHEMA.field(column.name)
    if column == ours:
        return True
    if column.name != "crops" or not pa.types.is_list(column.type) or not pa.types.is_struct(column.type.value_type):
        return False
    crop, old = ours.type.value_type, list(column.type.value_type)
    return old == list(crop)[: len(old)]

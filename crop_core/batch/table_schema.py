"""The columns of the table of results."""

from __future__ import annotations

import pyarrow as pa

_INTEGERS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("folder", pa.string()),  # below OUT, with the crops
        ("address", pa.string()),  # the picture's address
        ("key", pa.string()),
        ("request", pa.string()),  # JSON; the inputs that differ from the defaults
        ("crop_core", pa.string()),  # the version that made the row
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
                        ("frame", _INTEGERS),  # from here on: null if the request did not ask for it
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
NUMBER = "number"  # the picture's number in the ledger; a column of what workers send, but not of the table
SENT_SCHEMA = pa.schema([(NUMBER, pa.int64()), *SCHEMA])


def is_known(column: pa.Field) -> bool:
    """Return whether a column is one of the table's, as written now or by a version whose crops had fewer keys."""
    if column.name not in SCHEMA.names:
        return False
    ours = SCHEMA.field(column.name)
    if column == ours:
        return True
    if column.name != "crops" or not pa.types.is_list(column.type) or not pa.types.is_struct(column.type.value_type):
        return False
    crop, old = ours.type.value_type, list(column.type.value_type)
    return old == list(crop)[: len(old)]

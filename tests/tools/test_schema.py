"""The schema that is made without Docker says what the core's request says."""

from __future__ import annotations

import pytest
from schema import schema

from crop_core.request import inputs

SCHEMAS = schema()["components"]["schemas"]
PROPERTIES = SCHEMAS["Input"]["properties"]
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def test_the_inputs_stand_in_the_forms_order() -> None:
    ordered = sorted(PROPERTIES, key=lambda name: PROPERTIES[name]["x-order"])
    assert ordered == ["image", *inputs(), "dry_run"]
    assert SCHEMAS["Input"]["required"] == ["image"]


def test_the_picture_is_a_file() -> None:
    assert PROPERTIES["image"].items() >= {"type": "string", "format": "uri", "x-cog-accept": "image/*"}.items()


@pytest.mark.parametrize("name", inputs())
def test_an_input_has_the_type_bounds_choices_and_default_of_the_core(name: str) -> None:
    entry, told = inputs()[name], PROPERTIES[name]
    default = ",".join(entry.default) if isinstance(entry.default, tuple) else entry.default
    kind = TYPES[entry.metadata["kind"]]
    assert told["description"] == entry.metadata["help"]
    assert told.get("default") == default
    assert told.get("nullable", False) is (default is None)
    assert (told.get("minimum"), told.get("maximum")) == (entry.metadata.get("ge"), entry.metadata.get("le"))
    if "choices" in entry.metadata:
        assert told["allOf"] == [{"$ref": f"#/components/schemas/{name}"}]
        assert SCHEMAS[name]["enum"] == list(entry.metadata["choices"])
        assert SCHEMAS[name]["type"] == kind
    else:
        assert told["type"] == kind


def test_the_output_is_a_list_of_files() -> None:
    assert SCHEMAS["Output"]["items"] == {"type": "string", "format": "uri"}

"""Writes the model's OpenAPI schema without Docker, from predict.py's text: .cog/openapi_schema.json.

    python tests/tools/schema.py

`cog build` writes the same into an image. Without it the server answers 503 to /openapi.json, and validates nothing.
The form is that of Cog's static generator (replicate/cog, pkg/schema): choices are enumerations of their own, inputs
are numbered by `x-order`.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TARGET = ROOT / ".cog" / "openapi_schema.json"
TYPES: dict[str, dict[str, Any]] = {
    "Path": {"type": "string", "format": "uri"},
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
}
REFERENCE = "#/components/schemas/"


def declared(predictor: Path = ROOT / "predict.py") -> dict[str, tuple[str, dict[str, Any]]]:
    """Return each input's name, its annotation and the literals of its `Input(...)`, in their order."""
    (predict,) = [
        node
        for node in ast.walk(ast.parse(predictor.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "predict"
    ]
    found = {}
    for argument, call in zip(predict.args.args[1:], predict.args.defaults, strict=True):
        assert isinstance(call, ast.Call)
        literals = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
        assert argument.annotation is not None
        found[argument.arg] = (ast.unparse(argument.annotation), literals)
    return found


def schema() -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    properties: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    required = []
    for order, (name, (annotation, given)) in enumerate(declared().items()):
        kind, _, nullable = annotation.partition(" | ")
        entry: dict[str, Any] = {"x-order": order, "description": given["description"]}
        if "choices" in given:
            choices[name] = {"title": name, "description": "An enumeration.", "enum": given["choices"], **TYPES[kind]}
            entry["allOf"] = [{"$ref": REFERENCE + name}]
        else:
            entry |= {"title": name.replace("_", " ").title(), **TYPES[kind]}
        if nullable:
            entry["nullable"] = True
        if "default" not in given:
            required.append(name)
        elif given["default"] is not None:
            entry["default"] = given["default"]
        for rule, key in (("ge", "minimum"), ("le", "maximum"), ("accept", "x-cog-accept")):
            if rule in given:
                entry[key] = given[rule]
        properties[name] = entry
    inputs = {"title": "Input", "type": "object", "properties": properties, "required": required}
    output = {"title": "Output", "type": "array", "items": {"type": "string", "format": "uri"}}
    return _document({"Input": inputs, "Output": output, **choices})


def _document(schemas: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    envelope = {"id": text, "input": {"$ref": REFERENCE + "Input"}}
    answer = {
        **envelope,
        "output": {"$ref": REFERENCE + "Output"},
        **dict.fromkeys(("version", "created_at", "started_at", "completed_at", "status", "error", "logs"), text),
        "metrics": {"type": "object"},
    }
    schemas |= {
        "PredictionRequest": {"title": "PredictionRequest", "type": "object", "properties": envelope},
        "PredictionResponse": {"title": "PredictionResponse", "type": "object", "properties": answer},
    }

    def body(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": {"$ref": REFERENCE + name}}}}

    good = {"description": "Successful Response"}
    predict = {
        "summary": "Predict",
        "operationId": "predict_predictions_post",
        "requestBody": body("PredictionRequest"),
        "responses": {"200": {**good, **body("PredictionResponse")}},
    }
    health = {"summary": "Healthcheck", "operationId": "healthcheck_health_check_get", "responses": {"200": good}}
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {"/predictions": {"post": predict}, "/health-check": {"get": health}},
        "components": {"schemas": schemas},
    }


def write_schema(target: Path = TARGET) -> None:
    """Write the document where the server looks for it."""
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    write_schema()
    print(f"The schema is in {TARGET.relative_to(ROOT)}.")

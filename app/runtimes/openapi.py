"""The JSON Schema of a predict body, so that each served model documents itself."""

from typing import Any

from app.runtimes.schema import Column, ColumnType, Signature

_JSON_TYPES = {
    ColumnType.FLOAT: "number",
    ColumnType.INTEGER: "integer",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.STRING: "string",
}
_EXAMPLES: dict[ColumnType, Any] = {
    ColumnType.FLOAT: 0.5,
    ColumnType.INTEGER: 1,
    ColumnType.BOOLEAN: True,
    ColumnType.STRING: "a",
}


def predict_body_schema(signature: Signature, *, max_rows: int) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the four forms in which this model takes rows, with an example."""
    record, row = _record_schema(signature), _row_schema(signature)
    batch = {"minItems": 1, "maxItems": max_rows, "type": "array"}
    forms = {
        "instances": batch | {"items": {"anyOf": [row, record]}},
        "dataframe_records": batch | {"items": record},
        "dataframe_split": _split_schema(batch | {"items": {"type": "array"}}),
        "inputs": {"anyOf": [_columns_schema(signature, batch), batch | {"items": row}]},
    }
    return {
        "type": "object",
        "properties": forms,
        "oneOf": [{"required": [form]} for form in forms],
        "examples": [{"instances": [example_row(signature)]}],
    }


def example_row(signature: Signature) -> dict[str, Any]:
    """One plausible row: from the middle of each column's known range, else a constant of its type."""
    return {column.name: _example(column) for column in signature.inputs}


def _example(column: Column) -> Any:
    if column.categories:
        return column.categories[0]
    if column.minimum is None or column.maximum is None:
        return _EXAMPLES[column.type]
    middle = column.minimum / 2 + column.maximum / 2
    return round(middle) if column.type == ColumnType.INTEGER else middle


def _column_schema(column: Column) -> dict[str, Any]:
    kind = _JSON_TYPES[column.type]
    return {"type": [kind, "null"]} if column.nullable else {"type": kind}


def _record_schema(signature: Signature) -> dict[str, Any]:
    properties = {column.name: _column_schema(column) for column in signature.inputs}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _row_schema(signature: Signature) -> dict[str, Any]:
    cells = [_column_schema(column) for column in signature.inputs]
    return {"type": "array", "prefixItems": cells, "items": False, "minItems": len(cells)}


def _columns_schema(signature: Signature, batch: dict[str, Any]) -> dict[str, Any]:
    properties = {column.name: batch | {"items": _column_schema(column)} for column in signature.inputs}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _split_schema(data: dict[str, Any]) -> dict[str, Any]:
    columns = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    properties = {"columns": columns, "data": data, "index": {"type": "array"}}
    return {"type": "object", "properties": properties, "required": ["columns", "data"]}

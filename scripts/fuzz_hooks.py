"""What schemathesis has to know besides the API's document: how a body of JSON Lines is written."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines_of_json(_context: schemathesis.SerializationContext, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    return json.dumps(value).encode() + b"\n"

"""A schemathesis hook: how to serialise a body of JSON Lines."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines_of_json(_context: schemathesis.SerializationContext, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    return json.dumps(value).encode() + b"\n"

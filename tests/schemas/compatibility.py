"""Whether data written with one Avro schema can be read with another, tried out on generated data."""

from __future__ import annotations

import io
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError
from fastavro.utils import generate_many

SAMPLES = 50


def reading_failure(writer: Any, reader: Any) -> str | None:
    """Why data of `writer` can't be read with `reader`, or None.

    Enum symbols that a reader lacks and unions' branches are met by chance, so many samples are tried.
    """
    parsed_writer, parsed_reader = parse_schema(writer, {}), parse_schema(reader, {})
    for datum in generate_many(parsed_writer, SAMPLES):
        stream = io.BytesIO()
        schemaless_writer(stream, parsed_writer, datum)
        stream.seek(0)
        try:
            schemaless_reader(stream, parsed_writer, parsed_reader)
        except (SchemaResolutionError, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
    return None

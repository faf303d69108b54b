"""Reads Parquet files as one data set, by name, as pyarrow does; their paths come in by lines.

Prints the schema of all, then each row, as lines of JSON. Bytes are shown as {"base64": ...}, times as ISO 8601.
"""

import base64
import json
import sys

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq


def shown(value):
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value.isoformat()


files = sys.stdin.read().splitlines()
# Fails if a column's type differs from file to file.
schema = pa.unify_schemas([pq.read_schema(file) for file in files])
print(json.dumps({field.name: str(field.type) for field in schema}))
for batch in ds.dataset(files, schema=schema, format="parquet").to_batches():
    for row in batch.to_pylist():
        print(json.dumps(row, default=shown))

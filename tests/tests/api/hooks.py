"""What schemathesis has to be told of the collector that its description cannot say."""

import re
import uuid
import zlib

import schemathesis

PRODUCER = ("Producer-Id", "Producer-Epoch", "Producer-Seq")

# Of values that the description allows, these lead somewhere in the collector that the test starts.
LEADING = {
    "topics": ["app", "logs", "app,logs", "logs,a*", "app,x-?"],
    "from": ["earliest", "latest", "-1", "-200000000", "2026-01-02T00:00:00Z", "t1AA"],
    "filter": ['value.contains("o")', 'key.startsWith("")', 'value.matches("^[a-z]+$")', 'topic == "app"', "json.a > 1"],
    "max_bytes": ["1", "64KiB"],
    "min_bytes": ["1", "1KiB"],
    "delay": ["0s", "5s"],
    "session_timeout": ["1s", "30m"],
}


def is_valid(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context, case, kwargs):
    # A stream that follows never ends.
    if case.method == "GET" and case.path.rsplit("/", 1)[-1] in ("records", "stream", "table"):
        if str((case.query or {}).get("follow", "true")).lower() == "true":
            case.query = {**(case.query or {}), "follow": "false"}
    query = case.query or {}
    if re.match(r"\s*[0-9]+\s*(ms|s|m|h|d)\s*$", str(query.get("wait", ""))):
        # Valid, and too long for a test.
        query["wait"] = "20ms"
    headers = case.headers or {}
    if 0 < len(str(headers.get("Producer-Id", ""))) <= 128:
        # A request that was sent before is answered as it was then, whatever else it says.
        headers["Producer-Id"] = uuid.uuid4().hex
    if not is_valid(case):
        return
    # They come together or not at all.
    if 0 < sum(name in headers for name in PRODUCER) < len(PRODUCER):
        for name in PRODUCER:
            headers.pop(name, None)
    for name, values in LEADING.items():
        if name in query:
            query[name] = values[zlib.crc32(str(query[name]).encode()) % len(values)]
    if "Commit-Group" in headers or "Commit-Token" in headers:
        # A token is a group's own, and made by reading.
        headers.pop("Commit-Group", None)
        headers.pop("Commit-Token", None)
    if "Expected-Offset" in headers and "partition" not in query:
        headers.pop("Expected-Offset")
    # An offset is one partition's, and stands instead of `from`.
    if "offset" in query and ("partition" not in query or "from" in query):
        case.query = {name: value for name, value in query.items() if name != "offset"}

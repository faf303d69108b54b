"""What schemathesis has to be told of the collector that its description cannot say."""

import uuid

import schemathesis

PRODUCER = ("Producer-Id", "Producer-Epoch", "Producer-Seq")


def is_valid(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context, case, kwargs):
    # A stream that follows never ends.
    if case.method == "GET" and case.path.rsplit("/", 1)[-1] in ("records", "stream", "table"):
        if str((case.query or {}).get("follow", "true")).lower() == "true":
            case.query = {**(case.query or {}), "follow": "false"}
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
    query = case.query or {}
    if "Expected-Offset" in headers and "partition" not in query:
        headers.pop("Expected-Offset")
    # An offset is one partition's, and stands instead of `from`.
    if "offset" in query and ("partition" not in query or "from" in query):
        case.query = {name: value for name, value in query.items() if name != "offset"}

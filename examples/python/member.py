"""A member of a consumer group, and a producer, with Python's standard library alone.

python3 member.py consume GROUP TOPIC, or: python3 member.py produce TOPIC < FILE"""
import json, os, random, sys, time, uuid
from http.client import HTTPException
from itertools import islice
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL = os.environ.get("SKIDWAY_URL", "http://127.0.0.1:7070")


def handle(record):
    """Does the work. A record comes again if this program or the collector dies before it is committed."""
    print(record["topic"], record["partition"], record["offset"], record["value"], flush=True)


def commit(group, token):
    body = json.dumps({"token": token}).encode()
    try:
        urlopen(Request(f"{URL}/v1/groups/{group}/commit", body, {"Content-Type": "application/json"}), timeout=60)
    except HTTPError as error:
        if error.code != 409:  # fenced: what has moved to another member is read there again
            raise


def consume(group, topic):
    url, done = f"{URL}/v1/groups/{group}/records?topics={topic}&tokens=true", 0
    with urlopen(Request(url, headers={"Accept": "application/x-ndjson"}), timeout=60) as lines:
        for line in map(json.loads, lines):  # one comes every 15 s at least
            if "error" in line:
                raise ValueError(line["error"])
            if "offset" in line:
                handle(line)
                done += 1
            if done == 100 or (done and "offset" not in line):  # with a control line, or every 100 records
                commit(group, line["next"])
                done = 0


def patiently(work, *args):
    while True:
        try:
            return work(*args)
        except (OSError, HTTPException, ValueError) as error:
            print(f"trying again soon: {error}", file=sys.stderr)
            time.sleep(random.uniform(1, 3))  # not all clients at once


def produce(topic):
    producer, seq = {"Content-Type": "text/plain", "Producer-Id": str(uuid.uuid4()), "Producer-Epoch": "0"}, 0
    while lines := list(islice(sys.stdin.buffer, 1000)):
        request = Request(f"{URL}/v1/topics/{topic}/records", b"".join(lines), producer | {"Producer-Seq": str(seq)})
        patiently(urlopen, request)  # sent again, it is stored once
        seq += len(lines)


while sys.argv[1] == "consume":
    patiently(consume, *sys.argv[2:])
produce(sys.argv[2])

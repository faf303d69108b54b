"""Creates a bucket, or copies all that is in one into a folder, by the clouds' own clients.

Usage: stores.py s3|az ENDPOINT create | litter PREFIX | mirror FOLDER. `litter` leaves what a sink named `archive` may leave when it is killed, and
somebody else's unfinished upload; `mirror` prints the key of each upload that was never completed.
"""

import pathlib
import sys

BUCKET = "logs"


def save(folder, key, content):
    path = pathlib.Path(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in content:
            file.write(piece)


def s3(endpoint, command, argument):
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="secret"
    )
    if command == "create":
        client.create_bucket(Bucket=BUCKET)
        return
    if command == "litter":
        client.put_object(Bucket=BUCKET, Key=f"{argument}/.skidway-archive/left", Body=b"left")
        for name in ["app/app+0+0000000000+0000000009.log.gz", "theirs"]:
            upload = client.create_multipart_upload(Bucket=BUCKET, Key=f"{argument}/{name}")
            client.upload_part(
                Bucket=BUCKET, Key=f"{argument}/{name}", UploadId=upload["UploadId"], PartNumber=1, Body=b"left"
            )
        return
    if command == "harm":
        keys = sorted(found["Key"] for found in client.list_objects_v2(Bucket=BUCKET, Prefix=argument)["Contents"])
        client.delete_object(Bucket=BUCKET, Key=keys[0])
        client.put_object(Bucket=BUCKET, Key=keys[1], Body=b"harmed")
        return
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for found in page.get("Contents", []):
            body = client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"]
            save(argument, found["Key"], body.iter_chunks(1 << 20))
    for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        print(upload["Key"])


def az(endpoint, command, argument):
    from azure.storage.blob import BlobServiceClient

    # The emulator's well-known account.
    account, key = (
        "devstoreaccount1",
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    )
    service = BlobServiceClient(endpoint, credential={"account_name": account, "account_key": key})
    container = service.get_container_client(BUCKET)
    if command == "create":
        container.create_container()
        return
    if command == "litter":
        container.upload_blob(f"{argument}/.skidway-archive/left", b"left")
        return
    if command == "harm":
        names = sorted(blob.name for blob in container.list_blobs(name_starts_with=argument))
        container.delete_blob(names[0])
        container.upload_blob(names[1], b"harmed", overwrite=True)
        return
    committed = {blob.name for blob in container.list_blobs()}
    for name in committed:
        save(argument, name, container.download_blob(name).chunks())
    for blob in container.list_blobs(include=["uncommittedblobs"]):
        if blob.name not in committed:
            print(blob.name)


if __name__ == "__main__":
    {"s3": s3, "az": az}[sys.argv[1]](sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)

"""Counts with Spark what is in a folder of gzipped NDJSON and in one of Parquet, merged by name; prints a line of JSON."""

import json
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import countDistinct, sum as total

ndjson, parquet = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .getOrCreate()
)
lines = spark.read.option("recursiveFileLookup", "true").json(ndjson)
rows = spark.read.option("mergeSchema", "true").option("recursiveFileLookup", "true").parquet(parquet)
told = rows.agg(countDistinct("partition", "offset"), total("n")).first()
print(
    json.dumps(
        {
            "lines": lines.count(),
            "distinct_lines": lines.select("partition", "offset").distinct().count(),
            "rows": rows.count(),
            "distinct_rows": told[0],
            "sum": told[1],
            "columns": rows.dtypes,
        }
    )
)

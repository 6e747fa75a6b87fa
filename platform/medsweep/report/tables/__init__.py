"""The tables of the report, one per module: typed rows made from `benchmark.parquet`."""

"""What a measurement means: definitions, latency, quality and the statistics of both."""

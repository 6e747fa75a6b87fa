"""Columns on what a row is of: the cell, what was requested for it, and what was observed."""

from __future__ import annotations

from medsweep.results.column import Column
from medsweep.results.conditions import SERVING

IDENTITY = (
    Column("sweep", "text", "", "name of the sweep"),
    Column("cell", "text", "", "model@profile, with +live or +merged in a sweep of both"),
    Column("key", "text", "", "content-addressed key of the cell"),
    Column("model", "text", "", "name in the model catalogue; stand-ins begin with standin-"),
    Column("stands_in_for", "text", "", "model whose architecture a stand-in has"),
    Column("revision", "text", "", "identity of the base weights"),
    Column("adapter_sha256", "text", "", "hash of the LoRA weights; null for the base model"),
    Column("variant", "text", "", "what answered: adapter or base"),
    Column("profile", "text", "", "hardware profile, or the name of an external server"),
    Column(
        "load_point",
        "text",
        "",
        "load shape: c<concurrency>, r<rate>-<arrivals><shape> or replay-<hash>",
    ),
    Column("repeat", "integer", "1", "number of the repeat, from 1"),
    Column(
        "deployment",
        "integer",
        "1",
        "number of the cell's deployment that the repeat ran on, from 1; null for a server that "
        "MedSweep did not deploy",
    ),
    Column("dataset_sha256", "text", "", "hash of both sides of the dataset"),
)

REQUESTED = (
    Column("cpus", "integer", "1", "CPUs of the hardware profile"),
    Column("gpus", "integer", "1", "GPUs of the hardware profile"),
    Column("accelerator", "text", "", "accelerator type of the hardware profile"),
    *SERVING,
    Column(
        "gpu_use",
        "text",
        "",
        "how the engine uses the profile's GPUs: replicas or tensor parallel; null with one, and "
        "where other hardware stands in for them",
    ),
    Column("dtype", "text", "", "compute dtype requested for the profile"),
    Column("dtype_reason", "text", "", "why this dtype: named by the user, or chosen by `auto`"),
    Column("quantization", "text", "", "quantization of the base weights"),
    Column("concurrency", "integer", "1", "requests in flight; null in an open loop"),
    Column("rate_rps", "number", "1/s", "arrival rate; null in a closed loop"),
    Column("arrivals", "text", "", "how an open loop spaces its requests; null in a closed loop"),
    Column(
        "arrival_shape",
        "number",
        "1",
        "shape of the gaps of gamma arrivals, or size of the bursts",
    ),
    Column("max_tokens", "integer", "1", "longest answer, in tokens"),
    Column("instruction", "text", "", "system message before each question; null: none"),
)

OBSERVED = (
    Column(
        "basis",
        "text",
        "",
        "observed, emulated or predicted; always observed for an external server, whose hardware "
        "is declared",
    ),
    Column("basis_reason", "text", "", "why the basis is not observed"),
    Column("dtype_given", "text", "", "compute dtype that was used"),
    Column("cpus_given", "integer", "1", "cores that the engine was pinned to, or its quota"),
    Column("threads", "integer", "1", "threads that the engine computed with"),
    Column("engine_settings", "text", "", "settings that the engine chose, as JSON"),
    Column("hostname", "text", "", "machine"),
    Column("cpu_model", "text", "", "processor"),
    Column("cpu_quota", "number", "1", "cgroup limit, in cores"),
    Column(
        "cpu_throttled_periods",
        "integer",
        "1",
        "cgroup periods throttled since the deployment began",
    ),
    Column("governor", "text", "", "frequency governor"),
    Column("numa_nodes", "integer", "1", "NUMA nodes of the CPUs in use"),
    Column("device", "text", "", "GPUs found, or the processor"),
    Column("driver", "text", "", "GPU driver"),
    Column("cuda", "text", "", "CUDA version of the driver"),
    Column("versions", "text", "", "versions of the software that measured, as JSON"),
    Column("git_commit", "text", "", "commit of MedSweep, where it ran from a checkout"),
    Column("image_digest", "text", "", "container image, from MEDSWEEP_IMAGE_DIGEST"),
    Column("measured_at", "text", "", "UTC time at the end of the repeat"),
    Column(
        "batch",
        "text",
        "",
        "UTC time at which its batch of cells was deployed; between batches, drift of the machine "
        "adds to the difference",
    ),
)

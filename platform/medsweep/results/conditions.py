"""Columns on the conditions: engine, external server, client, framework, roofline, sensors."""

from __future__ import annotations

from medsweep.results.column import Column

SERVER = (
    Column("hardware", "text", "", "profile that an external server is declared to run on"),
    Column("server_url", "text", "", "address of an external server"),
    Column("server_software", "text", "", "name and version that an external server reports"),
    Column("served_model", "text", "", "name of the model that answered, at an external server"),
)

SERVING = (
    Column(
        "engine", "text", "", "what turns prompts into tokens; external: a server that runs already"
    ),
    Column("engine_reason", "text", "", "why this engine: named by the user, or chosen by `auto`"),
    Column(
        "adapters",
        "text",
        "",
        "how the adapter is served: live (beside the base) or merged (into a copy of it)",
    ),
    Column("adapters_reason", "text", "", "why the adapter is served this way"),
    Column(
        "merged_questions",
        "integer",
        "1",
        "questions that the merged model and the live adapter were both asked in transformers",
    ),
    Column(
        "merged_equal_share",
        "number",
        "1",
        "share of merged_questions with the same greedy answer, token by token",
    ),
    Column(
        "merged_logit_difference",
        "number",
        "1",
        "largest difference between two logits, over the tokens of the live adapter's answers",
    ),
    Column("merged_reason", "text", "", "why merged_questions and its two figures are null"),
)

CLIENT = (
    Column("load_shards", "integer", "1", "load generator processes that shared the load, from 1"),
    Column(
        "shard_clock_error_s",
        "number",
        "s",
        "greatest error of the shards' clocks against the driver's during the load, by time stamps "
        "exchanged before and after it; 0 on one machine, null with one shard",
    ),
    Column(
        "shard_start_spread_s",
        "number",
        "s",
        "time from the start of the first shard to that of the last, on the driver's clock and "
        "accurate to twice shard_clock_error_s; null with one shard",
    ),
    *(
        Column(
            f"client_{latency}_bias_s",
            "number",
            "s",
            f"what the client adds to mean {words}: larger of the calibrations before and after",
        )
        for latency, words in (
            ("ttft", "TTFT"),
            ("tpot", "TPOT"),
            ("itl", "ITL"),
            ("e2e", "end-to-end time"),
        )
    ),
    Column(
        "client_error_figures",
        "text",
        "",
        "columns of which more than a tenth is the client's own error, by calibration and "
        "dispatch delay",
    ),
    Column(
        "calibration_server_late_s",
        "number",
        "s",
        "mean lateness of the calibration server's first text, which is not the client's error",
    ),
    Column(
        "calibrations", "integer", "1", "calibrations at such a load: 2 if both before and after it"
    ),
    Column(
        "client_limited",
        "flag",
        "",
        "the client sent late or could not keep up with this load; null if that is not known",
    ),
    Column(
        "overhead_ttft_s",
        "number",
        "s",
        "mean TTFT of a null model behind the same server, at overhead_concurrency and the "
        "engine's pace",
    ),
    Column("overhead_tpot_s", "number", "s", "mean TPOT of the null model beyond that pace"),
    Column(
        "overhead_concurrency",
        "integer",
        "1",
        "concurrency of the null model: that of the load, or an open loop's mean in flight",
    ),
)

ROOFLINE = (
    Column(
        "predicted_ttft_s", "number", "s", "TTFT estimated by the roofline; null unless observed"
    ),
    Column(
        "predicted_tpot_s", "number", "s", "TPOT estimated by the roofline; null unless observed"
    ),
    Column("least_ttft_s", "number", "s", "TTFT at the datasheet's peaks, without launches"),
    Column("least_tpot_s", "number", "s", "TPOT at the datasheet's peaks, without launches"),
    Column("predicted_bound", "text", "", "what takes longest in a decode step, by the roofline"),
)

TELEMETRY = (
    Column("gpu_utilisation", "number", "1", "share of the window in which a kernel ran, by NVML"),
    Column(
        "gpu_memory_utilisation",
        "number",
        "1",
        "share of the window in which GPU memory was read or written",
    ),
    Column("gpu_memory_used_bytes", "integer", "B", "peak memory in use, all GPUs"),
    Column("gpu_power_w", "number", "W", "mean power, all GPUs"),
    Column("gpu_energy_j", "number", "J", "energy of the window, all GPUs"),
    Column("gpu_sm_clock_hz", "number", "Hz", "mean clock of the multiprocessors"),
    Column("gpu_sm_clock_max_hz", "number", "Hz", "maximum clock of the multiprocessors"),
    Column("gpu_throttled_share", "number", "1", "share of samples with clocks held back"),
    Column("gpu_throttle_reasons", "counts", "1", "samples by reason why clocks were held back"),
    Column("engine_cpu_cores", "number", "1", "CPU time of the engine's process over the window"),
    Column(
        "engine_thread_busy",
        "number",
        "1",
        "CPU time of the engine's busiest thread over the window",
    ),
    Column(
        "engine_step_launch_s",
        "number",
        "s",
        "mean time in which the engine's thread launches a decoding step; null without a GPU",
    ),
    Column(
        "engine_launch_share",
        "number",
        "1",
        "launching over launching and waiting for the GPU, in decoding steps; null without a GPU",
    ),
    Column("group_cpu_cores", "number", "1", "CPU time of the control group over the window"),
    Column("cpu_busy", "number", "1", "share of the whole machine's CPU time that was used"),
    Column("cpu_steal", "number", "1", "share of CPU time that the hypervisor gave to others"),
    Column("cpu_clock_hz", "number", "Hz", "mean clock of the CPUs"),
    Column("cpu_throttled_share", "number", "1", "share of cgroup periods that a quota cut short"),
    Column("cpu_throttled_s", "number", "s", "time for which a quota held the group back"),
    Column(
        "cpu_energy_j",
        "number",
        "J",
        "energy of the CPU packages and their DRAM in the window, by RAPL",
    ),
    Column("network_received_bytes", "number", "B", "bytes from other machines in the window"),
    Column("network_sent_bytes", "number", "B", "bytes to other machines in the window"),
    Column(
        "server_queue_mean",
        "number",
        "1",
        "waiting requests, by an external server's own metrics: mean over the window",
    ),
    Column("server_queue_max", "number", "1", "waiting requests of an external server: maximum"),
    Column(
        "server_running_mean",
        "number",
        "1",
        "running requests of an external server: mean over the window",
    ),
    Column("server_running_max", "number", "1", "running requests of an external server: maximum"),
    Column(
        "server_kv_use_mean", "number", "1", "share of an external server's KV cache in use: mean"
    ),
    Column(
        "server_kv_use_max",
        "number",
        "1",
        "share of an external server's KV cache in use: maximum",
    ),
    Column(
        "server_preemptions",
        "number",
        "1",
        "requests that an external server stopped in the window to make room, to restart later",
    ),
    Column(
        "server_requests_before",
        "number",
        "1",
        "requests that waited or ran before the load: above 0, others use the external server",
    ),
    Column("telemetry_samples", "integer", "1", "number of readings of the sensors"),
    Column(
        "telemetry_cpu_share", "number", "1", "CPU time of the readings over the time between them"
    ),
    Column("telemetry_missing", "text", "", "why sensors gave nothing, by group, as JSON"),
    Column("bound", "text", "", "what limited the measurement: gpu, cpu launch, queue and others"),
    Column(
        "bound_evidence", "text", "", "figures that show the bound, and those that rule out others"
    ),
)

COST = (
    Column("usd_per_hour", "number", "USD/h", "list price of the profile"),
    Column("price_source", "text", "", "source of the price, or why there is none"),
    Column("price_date", "text", "", "date of the price"),
    Column(
        "usd_per_answer",
        "number",
        "USD",
        "price over throughput; null unless observed, or if client_limited",
    ),
    Column("usd_per_1000_answers", "number", "USD", "price of 1,000 answers"),
    Column("usd_per_verified_answer", "number", "USD", "usd_per_answer over verified_share"),
    Column(
        "usd_per_verified_answer_low", "number", "USD", "usd_per_answer over verified_share_high"
    ),
    Column(
        "usd_per_verified_answer_high",
        "number",
        "USD",
        "usd_per_answer over verified_share_low; null where that is 0, without an upper bound",
    ),
    Column("energy_j_per_1000_answers", "number", "J", "energy of 1,000 answers: GPUs and CPUs"),
)

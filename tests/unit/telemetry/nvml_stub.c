/* A library with NVML's C interface (nvml.h, CUDA 12) as a V100 under a driver of the 525 series
 * answers: no name "event reasons" yet, no MIG, and here no power sensor. */
typedef struct { int unused; } *device_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned long long total, free, used; } memory_t;
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

static struct { int unused; } the_gpu;

int nvmlInitWithFlags(unsigned int flags) { return flags ? INVALID_ARGUMENT : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == NOT_SUPPORTED ? "Not Supported" : "other"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device_t *device) {
    *device = (device_t)&the_gpu;
    return index ? INVALID_ARGUMENT : SUCCESS;
}

static int copy(const char *from, char *to, unsigned int length) {
    unsigned int at = 0;
    for (; from[at] && at + 1 < length; at++) to[at] = from[at];
    to[at] = 0;
    return SUCCESS;
}

int nvmlDeviceGetUUID(device_t device, char *uuid, unsigned int length) {
    return device == (device_t)&the_gpu ? copy("GPU-0000", uuid, length) : INVALID_ARGUMENT;
}

int nvmlDeviceGetName(device_t device, char *name, unsigned int length) {
    return device == (device_t)&the_gpu ? copy("Tesla V100-SXM2-16GB", name, length) : INVALID_ARGUMENT;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    return copy("525.147.05", version, length);
}

int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12000; return SUCCESS; }

int nvmlDeviceGetCudaComputeCapability(device_t device, int *major, int *minor) {
    (void)device;
    *major = 7;
    *minor = 0;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device_t device, utilization_t *rates) {
    (void)device;
    rates->gpu = 21;
    rates->memory = 34;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(device_t device, memory_t *memory) {
    (void)device;
    memory->total = 16ULL << 30;
    memory->free = 7ULL << 30;
    memory->used = 9ULL << 30; /* does not fit into 32 bits */
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device_t device, unsigned int *milliwatts) {
    (void)device;
    (void)milliwatts;
    return NOT_SUPPORTED;
}

int nvmlDeviceGetTotalEnergyConsumption(device_t device, unsigned long long *millijoules) {
    (void)device;
    *millijoules = 9000000000ULL;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(device_t device, int type, unsigned int *megahertz) {
    (void)device;
    *megahertz = type == 1 ? 1380 : 877; /* NVML_CLOCK_SM, else memory */
    return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(device_t device, int type, unsigned int *megahertz) {
    (void)device;
    *megahertz = type == 1 ? 1530 : 877;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t device, unsigned long long *reasons) {
    (void)device;
    *reasons = 0x4 | 0x100;
    return SUCCESS;
}

// The parts of CUDA's runtime and driver that CuPy calls.
//
// CuPy's wheel contains the runtime inside one of its modules (cupy_backends.cuda.api.runtime). This library is
// therefore preloaded, and when that module is loaded, each of its runtime functions is redirected to the function
// of the same name here.
#include "device.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <link.h>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr int VERSION = 13000;

struct Stream {
  unsigned flags;
};

struct Event {
  std::chrono::steady_clock::time_point time;
};

struct Function {
  bool (*run)(const Launch *);
  std::string name;
};

struct Module {
  void *library;
  std::map<std::string, Function> functions;
};

struct PointerAttributes {
  int type, device;
  void *device_pointer, *host_pointer;
  long reserved[8];
};

constexpr size_t PROPERTIES = 1008;  // bytes of a cudaDeviceProp

const bool reversed = getenv("SIMULATED_CUDA_REVERSED") && !strcmp(getenv("SIMULATED_CUDA_REVERSED"), "1");
std::map<std::string, long> launches;  // the number of launches of each kernel
long products;
std::mutex counting;

Status load(const char *image, Module **module) {
  // nvrtc.cpp writes this format: a word, the size, and a shared library.
  uint64_t size;
  if (memcmp(image, "SIMUCUDA", 8) != 0) return INVALID_IMAGE;
  memcpy(&size, image + 8, 8);
  std::error_code none;
  std::string path = std::filesystem::temp_directory_path(none) / "kernelXXXXXX";
  int file = mkstemp(path.data());
  bool written = write(file, image + 16, size) == ssize_t(size);
  close(file);
  void *library = written ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  unlink(path.c_str());
  if (!library) {
    fprintf(stderr, "The simulated CUDA device cannot load a kernel from %s: %s\n", path.c_str(), dlerror());
    return INVALID_IMAGE;
  }
  *module = new Module{library, {}};
  return SUCCESS;
}

}  // namespace

extern "C" {

// Counts, for the tests and the benchmarks.
void simulated_count_product() {
  std::lock_guard<std::mutex> held(counting);
  products++;
}
long simulated_products() { return products; }
// Writes a line for each kernel, with its number of launches and its name, truncated to the size.
// Returns the length of all lines.
size_t simulated_launches(char *text, size_t size) {
  std::lock_guard<std::mutex> held(counting);
  std::string lines;
  for (auto &[name, count] : launches) lines += std::to_string(count) + " " + name + "\n";
  snprintf(text, size, "%s", lines.c_str());
  return lines.size();
}

void simulated_missing(const char *name) { fprintf(stderr, "The simulated CUDA device has no %s.\n", name); }

#define MUST(condition) if (!(condition)) return INVALID_VALUE

// Devices

Status cudaDriverGetVersion(int *version) { *version = VERSION; return SUCCESS; }
Status cudaRuntimeGetVersion(int *version) { *version = VERSION; return SUCCESS; }
Status cudaGetDeviceCount(int *count) { *count = device::COUNT; return SUCCESS; }
Status cudaGetDevice(int *device) { *device = device::current(); return SUCCESS; }
Status cudaSetDevice(int device) {
  if (device < 0 || device >= device::COUNT) return INVALID_DEVICE;
  device::set_current(device);
  return SUCCESS;
}
Status cudaDeviceSynchronize() { return SUCCESS; }
Status cudaDeviceGetAttribute(int *value, int attribute, int) {
  static const std::map<int, int> known = {
      {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},            // threads of a block, and along each axis
      {5, 2147483647}, {6, 65535}, {7, 65535},             // blocks along each axis
      {8, 49152}, {9, 65536}, {10, 32}, {11, 2147483647},  // shared and constant memory, warp, pitch
      {12, 65536}, {16, 4}, {39, 2048},                    // registers, multiprocessors and their threads
      {41, 1}, {75, 9}, {76, 0}, {97, 49152},              // one address space, compute capability 9.0
  };
  auto found = known.find(attribute);
  *value = found == known.end() ? 0 : found->second;
  return SUCCESS;
}
Status cudaGetDeviceProperties(char *properties, int device) {
  // Only fields that are used are set: the name at 0, the memory at 288, the warp size at 308, the capability at 360.
  MUST(device >= 0 && device < device::COUNT);
  const size_t memory = device::MEMORY;
  const int capability[] = {9, 0}, warp = 32;
  memset(properties, 0, PROPERTIES);
  strcpy(properties, "simulated device");
  memcpy(properties + 288, &memory, sizeof memory);
  memcpy(properties + 308, &warp, sizeof warp);
  memcpy(properties + 360, capability, sizeof capability);
  return SUCCESS;
}
Status cudaDeviceGetPCIBusId(char *id, int length, int device) {
  snprintf(id, length, "0000:%02x:00.0", device + 1);
  return SUCCESS;
}
Status cudaDeviceCanAccessPeer(int *can, int, int) { *can = 0; return SUCCESS; }

// Memory

Status cudaMemGetInfo(size_t *available, size_t *total) {
  *total = device::MEMORY;
  *available = device::MEMORY - device::used(device::current());
  return SUCCESS;
}
Status cudaMalloc(void **pointer, size_t size) { return device::allocate(size, pointer); }
Status cudaFree(void *pointer) { return device::release(pointer); }
Status cudaHostAlloc(void **pointer, size_t size, unsigned) {
  *pointer = malloc(size);
  if (!*pointer) return OUT_OF_MEMORY;
  memset(*pointer, device::NEVER_WRITTEN, size);
  return SUCCESS;
}
Status cudaFreeHost(void *pointer) { free(pointer); return SUCCESS; }
Status cudaPointerGetAttributes(PointerAttributes *attributes, const void *pointer) {
  *attributes = {};
  attributes->device = device::owner(pointer);
  if (attributes->device >= 0) {
    attributes->type = 2;  // device memory
    attributes->device_pointer = const_cast<void *>(pointer);
  }
  return SUCCESS;
}
// Copies with the given device as the current one; -1 keeps the current device of the thread.
static Status copy(int device, void *to, const void *from, size_t size) {
  struct Copy {
    void *to;
    const void *from;
    size_t size;
  } work{to, from, size};
  const int before = device::current();
  if (device >= 0) device::set_current(device);
  Status status = simulated_execute([](void *data) {
    auto *copy = static_cast<Copy *>(data);
    memmove(copy->to, copy->from, copy->size);
  }, &work);
  device::set_current(before);
  return status;
}
Status cudaMemcpy(void *to, const void *from, size_t size, int) {
  const int source = device::owner(from), target = device::owner(to);
  if (source < 0 || target < 0 || source == target) return copy(std::max(source, target), to, from, size);
  std::vector<char> host(size);  // devices cannot reach each other
  Status status = copy(source, host.data(), from, size);
  return status == SUCCESS ? copy(target, to, host.data(), size) : status;
}
Status cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, Stream *) {
  return cudaMemcpy(to, from, size, kind);
}
Status cudaMemset(void *pointer, int value, size_t size) {
  struct Fill {
    void *pointer;
    int value;
    size_t size;
  } work{pointer, value, size};
  return simulated_execute([](void *data) {
    auto *fill = static_cast<Fill *>(data);
    memset(fill->pointer, fill->value, fill->size);
  }, &work);
}
Status cudaMemsetAsync(void *pointer, int value, size_t size, Stream *) { return cudaMemset(pointer, value, size); }

// Streams and events: all work of a call is complete when it returns.

Status cudaStreamCreateWithFlags(Stream **stream, unsigned flags) { *stream = new Stream{flags}; return SUCCESS; }
Status cudaStreamCreate(Stream **stream) { return cudaStreamCreateWithFlags(stream, 0); }
Status cudaStreamCreateWithPriority(Stream **stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
Status cudaStreamDestroy(Stream *stream) { delete stream; return SUCCESS; }
Status cudaStreamSynchronize(Stream *) { return SUCCESS; }
Status cudaStreamQuery(Stream *) { return SUCCESS; }
Status cudaStreamWaitEvent(Stream *, Event *, unsigned) { return SUCCESS; }
Status cudaStreamIsCapturing(Stream *, int *status) { *status = 0; return SUCCESS; }
Status cudaEventCreateWithFlags(Event **event, unsigned) { *event = new Event{}; return SUCCESS; }
Status cudaEventCreate(Event **event) { return cudaEventCreateWithFlags(event, 0); }
Status cudaEventDestroy(Event *event) { delete event; return SUCCESS; }
Status cudaEventRecord(Event *event, Stream *) { event->time = std::chrono::steady_clock::now(); return SUCCESS; }
Status cudaEventQuery(Event *) { return SUCCESS; }
Status cudaEventSynchronize(Event *) { return SUCCESS; }
Status cudaEventElapsedTime(float *milliseconds, Event *start, Event *end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return SUCCESS;
}

// Errors

const char *cudaGetErrorName(Status status) {
  switch (status) {
    case SUCCESS: return "cudaSuccess";
    case INVALID_VALUE: return "cudaErrorInvalidValue";
    case OUT_OF_MEMORY: return "cudaErrorMemoryAllocation";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    case INVALID_IMAGE: return "cudaErrorInvalidKernelImage";
    case NOT_FOUND: return "cudaErrorSymbolNotFound";
    case ILLEGAL_ADDRESS: return "cudaErrorIllegalAddress";
    case LAUNCH_TIMEOUT: return "cudaErrorLaunchTimeout";
    case NOT_SUPPORTED: return "cudaErrorNotSupported";
  }
  return "cudaErrorUnknown";
}
const char *cudaGetErrorString(Status status) {
  return status == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "an error of the simulated device";
}
Status cudaGetLastError() { return SUCCESS; }
Status cudaPeekAtLastError() { return SUCCESS; }
Status cuGetErrorName(Status status, const char **name) { *name = cudaGetErrorName(status); return SUCCESS; }
Status cuGetErrorString(Status status, const char **text) { *text = cudaGetErrorString(status); return SUCCESS; }

// Modules and kernels

Status cuModuleLoadData(Module **module, const void *image) { return load(static_cast<const char *>(image), module); }
Status cuModuleUnload(Module *) { return SUCCESS; }
Status cuModuleGetFunction(Function **function, Module *module, const char *name) {
  auto found = module->functions.find(name);
  if (found == module->functions.end()) {
    void *run = dlsym(module->library, (std::string("simulated_run_") + name).c_str());
    if (!run) return NOT_FOUND;
    found = module->functions.emplace(name, Function{reinterpret_cast<bool (*)(const Launch *)>(run), name}).first;
  }
  *function = &found->second;
  return SUCCESS;
}
Status cuFuncGetAttribute(int *value, int, Function *) { *value = 0; return SUCCESS; }
Status cuFuncSetAttribute(Function *, int, int) { return SUCCESS; }
Status cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                      unsigned bz, unsigned shared_bytes, Stream *, void **parameters, void **extra) {
  MUST(!extra && gx && gy && gz && bx && by && bz && bx * by * bz <= 1024);
  {
    std::lock_guard<std::mutex> held(counting);
    launches[function->name]++;
  }
  struct Work {
    Function *function;
    Launch launch;
    bool ended;
  } work{function, {{gx, gy, gz}, {bx, by, bz}, parameters, shared_bytes, reversed,
                    device::run_threads, device::barrier}, false};
  Status status = simulated_execute([](void *data) {
    auto *work = static_cast<Work *>(data);
    work->ended = work->function->run(&work->launch);
  }, &work);
  if (!work.ended) device::forget_threads();
  return status != SUCCESS || work.ended ? status : LAUNCH_TIMEOUT;
}

}  // extern "C"

// Redirecting the functions of CuPy's modules

struct Redirection {
  const char *module;
  uintptr_t offset;
  void *replacement;
};
extern const Redirection simulated_redirections[];  // written by build.py; the last row has no module

static void redirect(void *library, const Redirection &redirection) {
  link_map *map;
  dlinfo(library, RTLD_DI_LINKMAP, &map);
  auto *code = reinterpret_cast<unsigned char *>(map->l_addr + redirection.offset);
  const uintptr_t page = sysconf(_SC_PAGESIZE);
  void *first = reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(code) / page * page);
  mprotect(first, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC);
  const unsigned char jump[] = {0xff, 0x25, 0, 0, 0, 0};  // x86-64: jump to the address that follows
  memcpy(code, jump, sizeof jump);
  memcpy(code + sizeof jump, &redirection.replacement, sizeof redirection.replacement);
  mprotect(first, 2 * page, PROT_READ | PROT_EXEC);
}

// Python loads modules with this function.
extern "C" void *dlopen(const char *path, int mode) {
  static auto *original = reinterpret_cast<void *(*)(const char *, int)>(dlsym(RTLD_NEXT, "dlopen"));
  void *library = original(path, mode);
  for (const Redirection *row = simulated_redirections; library && path && row->module; row++)
    if (strstr(path, row->module)) redirect(library, *row);
  return library;
}

// What the entry points of the driver and of cuBLAS share: memory, and how functions run on the device.
#pragma once

#include <cstddef>

// CUDA's numbers for what can go wrong.
enum Status {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_TIMEOUT = 702,  // threads wait at a barrier for ever
  NOT_SUPPORTED = 801,
};

// Of a launch: what a compiled kernel is given.
struct Launch {
  unsigned grid[3], block[3];
  void **parameters;
  unsigned shared_bytes;
  bool reversed;  // blocks and threads are run from the last to the first
  // Runs body(0), ..., body(n - 1), each up to its next barrier in turn, until all have ended;
  // false where some wait at a barrier that others never reach.
  bool (*run_threads)(unsigned n, bool reversed, void (*body)(unsigned, void *), void *data);
  void (*barrier)(bool of_block);  // or of its warp
};

extern "C" {
// Runs work(data), which may touch the memory of the thread's current device and of no other.
// An access outside it ends the work, and ILLEGAL_ADDRESS is returned.
Status simulated_execute(void (*work)(void *), void *data);
// Adds one to the matrix products that were started.
void simulated_count_product();
// Says on standard error that there is no such function.
void simulated_missing(const char *name);
}

namespace device {

constexpr int COUNT = 2;
constexpr unsigned char NEVER_WRITTEN = 0xff;  // each byte of new memory, which reads as nan
constexpr size_t MEMORY = size_t(4) << 30;  // bytes of each

int current();  // of this thread
void set_current(int device);

Status allocate(size_t size, void **pointer);
Status release(void *pointer);
size_t used(int device);
int of(const void *address);  // whose memory an address is in; -1 for the host's

bool run_threads(unsigned n, bool reversed, void (*body)(unsigned, void *), void *data);
void barrier(bool of_block);
// After a launch that left threads in the middle.
void forget_threads();

}  // namespace device

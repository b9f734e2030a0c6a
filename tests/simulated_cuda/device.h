// Declarations that the simulated libraries share: memory, threads, and functions that run on the device.
#pragma once

#include <cstddef>

// CUDA's error codes.
enum Status {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_TIMEOUT = 702,  // some threads wait at a barrier forever
  NOT_SUPPORTED = 801,
};

// The arguments of a launch, as a compiled kernel receives them.
struct Launch {
  unsigned grid[3], block[3];
  void **parameters;
  unsigned shared_bytes;
  bool reversed;  // blocks and threads are run from the last to the first
  // Runs body(0), ..., body(n - 1) in turn, each up to its next barrier, until all threads have ended.
  // Returns false if some threads wait at a barrier that others never reach.
  bool (*run_threads)(unsigned n, bool reversed, void (*body)(unsigned, void *), void *data);
  void (*barrier)(bool of_block);  // true: of the block; false: of the warp
};

extern "C" {
// Runs work(data), which may touch host memory and the memory of the thread's current device.
// An access to any other address ends the work, and ILLEGAL_ADDRESS is returned.
Status simulated_execute(void (*work)(void *), void *data);
// Adds one to the number of matrix products.
void simulated_count_product();
// Prints on standard error that the function is missing.
void simulated_missing(const char *name);
}

namespace device {

constexpr int COUNT = 2;
constexpr unsigned char NEVER_WRITTEN = 0xff;  // each byte of new memory, so that floating-point numbers read as nan
constexpr size_t MEMORY = size_t(4) << 30;  // bytes of each device

int current();  // the current device of this thread
void set_current(int device);

Status allocate(size_t size, void **pointer);
Status release(void *pointer);
size_t used(int device);
int owner(const void *address);  // the device whose memory contains the address; -1 for the host

bool run_threads(unsigned n, bool reversed, void (*body)(unsigned, void *), void *data);
void barrier(bool of_block);
// Abandons the threads of a launch that did not end.
void forget_threads();

}  // namespace device

// Device memory: pages that only code on the device can access.
//
// Each allocation is followed by a page that is never accessible, and is filled with a pattern that reads as nan.
// While no code runs on the device, no page can be read or written, so host code that uses a device pointer crashes.
// Code on the device faults at its first access to an allocation, which is then accessible until that code ends.
#include "device.h"

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

struct Allocation {
  size_t size;
  int device;
  char *pages;
  size_t pages_size;
  bool open;
};

const size_t PAGE = sysconf(_SC_PAGESIZE);
std::map<uintptr_t, Allocation> allocations;
std::recursive_mutex lock;
size_t used_bytes[device::COUNT];
thread_local int current_device = 0;

// The state of the code on the device, of which one piece runs at a time.
thread_local bool running;
thread_local sigjmp_buf illegal_access;
int running_device;
std::vector<Allocation *> opened;

std::map<uintptr_t, Allocation>::iterator find_allocation(uintptr_t address) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return allocations.end();
  auto found = std::prev(after);
  return address < found->first + found->second.size ? found : allocations.end();
}

void protect(const Allocation &allocation, int protection) {
  mprotect(allocation.pages, allocation.pages_size, protection);
}

struct sigaction before_segv, before_bus;

void on_fault(int signal, siginfo_t *info, void *) {
  if (!running) {  // host code accessed device memory: restore the previous handler, which ends it
    sigaction(signal, signal == SIGSEGV ? &before_segv : &before_bus, nullptr);
    return;
  }
  auto found = find_allocation(reinterpret_cast<uintptr_t>(info->si_addr));
  if (found == allocations.end() || found->second.device != running_device || found->second.open)
    siglongjmp(illegal_access, 1);
  found->second.open = true;
  protect(found->second, PROT_READ | PROT_WRITE);
  opened.push_back(&found->second);  // the space is reserved, because a signal handler must not allocate
}

}  // namespace

extern "C" Status simulated_execute(void (*work)(void *), void *data) {
  std::lock_guard<std::recursive_mutex> held(lock);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &before_segv);
  sigaction(SIGBUS, &action, &before_bus);
  Status status = SUCCESS;
  running_device = current_device;
  opened.reserve(allocations.size());
  if (sigsetjmp(illegal_access, 0) == 0) {
    running = true;
    work(data);
  } else {
    status = ILLEGAL_ADDRESS;
  }
  running = false;
  sigaction(SIGSEGV, &before_segv, nullptr);
  sigaction(SIGBUS, &before_bus, nullptr);
  for (Allocation *allocation : opened) {
    allocation->open = false;
    protect(*allocation, PROT_NONE);
  }
  opened.clear();
  return status;
}

namespace device {

int current() { return current_device; }
void set_current(int device) { current_device = device; }
size_t used(int device) { return used_bytes[device]; }

Status allocate(size_t size, void **pointer) {
  std::lock_guard<std::recursive_mutex> held(lock);
  if (size == 0) return INVALID_VALUE;
  if (used_bytes[current_device] + size > MEMORY) return OUT_OF_MEMORY;
  size_t pages_size = (size + PAGE - 1) / PAGE * PAGE;
  void *pages = mmap(nullptr, pages_size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return OUT_OF_MEMORY;
  Allocation allocation{size, current_device, static_cast<char *>(pages), pages_size, false};
  protect(allocation, PROT_READ | PROT_WRITE);
  memset(pages, NEVER_WRITTEN, pages_size);
  protect(allocation, PROT_NONE);
  *pointer = allocation.pages + pages_size - size;  // so that the first byte after the allocation is not accessible
  allocations.emplace(reinterpret_cast<uintptr_t>(*pointer), allocation);
  used_bytes[current_device] += size;
  return SUCCESS;
}

Status release(void *pointer) {
  std::lock_guard<std::recursive_mutex> held(lock);
  if (!pointer) return SUCCESS;
  auto found = allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (found == allocations.end()) return INVALID_VALUE;
  const Allocation allocation = found->second;
  allocations.erase(found);
  used_bytes[allocation.device] -= allocation.size;
  protect(allocation, PROT_READ);
  bool untouched = std::all_of(allocation.pages, static_cast<char *>(pointer),
                               [](char byte) { return static_cast<unsigned char>(byte) == device::NEVER_WRITTEN; });
  munmap(allocation.pages, allocation.pages_size + PAGE);
  return untouched ? SUCCESS : ILLEGAL_ADDRESS;
}

int owner(const void *address) {
  std::lock_guard<std::recursive_mutex> held(lock);
  auto found = find_allocation(reinterpret_cast<uintptr_t>(address));
  return found == allocations.end() ? -1 : found->second.device;
}

}  // namespace device

// The threads of a block, which run in turn, each on its own stack and up to its next barrier.
#include "device.h"

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

namespace {

constexpr size_t STACK = 1 << 16, GUARD = 1 << 12;  // below a stack is a page that is never accessible
constexpr unsigned WARP = 32;

enum State { READY, AT_WARP, AT_BLOCK, ENDED };

struct Thread {
  ucontext_t start;
  jmp_buf barrier;  // where the thread waits
  bool begun = false;
  State state = READY;
};

std::vector<Thread> threads;
jmp_buf scheduler;
ucontext_t beginning;
unsigned running;
bool active;
void (*thread_body)(unsigned, void *);
void *thread_data;

// Returns when the scheduler resumes this thread.
void wait(State state) {
  threads[running].state = state;
  if (!_setjmp(threads[running].barrier)) _longjmp(scheduler, 1);
}

// Stacks are reused by the threads of all kernels, because making a stack takes longer than most kernels.
void run_bodies() {
  for (;;) {
    thread_body(running, thread_data);
    wait(ENDED);
  }
}

void make_threads(unsigned n) {
  while (threads.size() < n) {
    Thread &thread = threads.emplace_back();
    getcontext(&thread.start);
    void *pages = mmap(nullptr, GUARD + STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    thread.start.uc_stack.ss_sp = static_cast<char *>(pages) + GUARD;
    mprotect(thread.start.uc_stack.ss_sp, STACK, PROT_READ | PROT_WRITE);
    thread.start.uc_stack.ss_size = STACK;
    makecontext(&thread.start, run_bodies, 0);
  }
}

void resume(unsigned i) {
  running = i;
  threads[i].state = READY;
  if (_setjmp(scheduler)) return;
  if (threads[i].begun) _longjmp(threads[i].barrier, 1);
  threads[i].begun = true;
  swapcontext(&beginning, &threads[i].start);
}

// Releases the threads of a range if each is at the barrier or has ended. Returns whether it released any.
bool release(unsigned first, unsigned end, State barrier) {
  bool any = false;
  for (unsigned i = first; i < end; i++) {
    if (threads[i].state != barrier && threads[i].state != ENDED) return false;
    any |= threads[i].state == barrier;
  }
  for (unsigned i = first; any && i < end; i++)
    if (threads[i].state == barrier) threads[i].state = READY;
  return any;
}

}  // namespace

namespace device {

void barrier(bool of_block) {
  if (!active) abort();  // nvrtc.cpp found no barrier in the kernel's source
  wait(of_block ? AT_BLOCK : AT_WARP);
}

bool run_threads(unsigned n, bool reversed, void (*body)(unsigned, void *), void *data) {
  threads.reserve(1024);  // a context must not move
  make_threads(n);
  thread_body = body;
  thread_data = data;
  for (unsigned i = 0; i < n; i++) threads[i].state = READY;
  active = true;
  for (bool going = true; going;) {
    for (unsigned i = 0; i < n; i++) {
      unsigned thread = reversed ? n - 1 - i : i;
      if (threads[thread].state == READY) resume(thread);
    }
    going = false;
    for (unsigned first = 0; first < n; first += WARP) going |= release(first, std::min(first + WARP, n), AT_WARP);
    if (!going) going = release(0, n, AT_BLOCK);
  }
  active = false;
  return std::all_of(threads.begin(), threads.begin() + n, [](auto &thread) { return thread.state == ENDED; });
}

void forget_threads() {
  active = false;
  for (Thread &thread : threads) thread.begun = false;
  for (Thread &thread : threads) makecontext(&thread.start, run_bodies, 0);
}

}  // namespace device

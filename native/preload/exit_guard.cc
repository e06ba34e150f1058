// Loaded into a worker before its program, which is Python: keeps an ended training from being told
// as an abort.
//
// A script that ends without destroy_process_group leaves threads of C++ behind. If one of them
// asks for the GIL while the interpreter finalizes, CPython before 3.14 ends that thread by
// pthread_exit, which unwinds its stack by force: a noexcept function on it, such as a destructor,
// turns that into std::terminate, and the whole process aborts. Here such a thread ends without
// unwinding, and gives way to those that wait for its locks until then. CPython 3.14 puts it to
// sleep for ever, which does the same, but that whoever joins it, as gloo's destructors do, then
// waits for ever as well. Source: CPython v3.13.0, Python/ceval_gil.c, take_gil;
// Python/thread_pthread.h, PyThread_exit_thread; v3.14.0, Python/pylifecycle.c,
// PyThread_hang_thread
//
// Its stack and its objects stay in place, as in 3.14. Every other pthread_exit is the C library's
// own.
//
// It needs no libc by name, as early.cc: what it calls is looked up when it's loaded, and may lack.
//
// Thread: any.

#include <link.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "preload/environment.h"
#include "preload/give_way.h"

using namespace regroup;

extern "C" {
/// CPython's, 3.13 and newer.
[[gnu::weak]] int Py_IsFinalizing();
/// 3.7 to 3.12.
[[gnu::weak]] int _Py_IsFinalizing();
/// The rest is glibc's. musl's pthread_exit unwinds nothing, and its joiners wait for more than the
/// thread's end: there nothing is guarded.
[[gnu::weak]] const char* gnu_get_libc_version();
[[gnu::weak]] void* dlsym(void*, const char*);
// dl_iterate_phdr is declared by link.h.
#pragma weak dl_iterate_phdr

/// Python's calls come here. No [[noreturn]], so that the C library's may be entered by a jump:
/// then none of our frames is on the stack that it unwinds.
[[gnu::visibility("default")]] void pthread_exit(void* value);
}

namespace {

constexpr char kOwnName[] = "/regroup_exit_guard.so";

using IsFinalizing = int (*)();
using Exit = void (*)(void*);

IsFinalizing finalizingQuestion() {
  if (&Py_IsFinalizing != nullptr) return Py_IsFinalizing;
  return &_Py_IsFinalizing != nullptr ? _Py_IsFinalizing : nullptr;
}

/// Two places in memory, and whether one library, or the program itself, holds both.
struct Together {
  uintptr_t a;
  uintptr_t b;
  bool found;
};

int visitLibrary(dl_phdr_info* library, size_t, void* raw) {
  auto& together = *static_cast<Together*>(raw);
  bool hasA = false;
  bool hasB = false;
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const auto& segment = library->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD) continue;
    const uintptr_t start = library->dlpi_addr + segment.p_vaddr;
    hasA = hasA || together.a - start < segment.p_memsz;
    hasB = hasB || together.b - start < segment.p_memsz;
  }
  together.found = hasA && hasB;
  return hasA || hasB;  // neither is in another one
}

/// Whether it's CPython itself that ends this thread, because it finalizes. Threads that end
/// themselves meanwhile mean it.
bool isEndedByFinalizing(const void* caller) {
  const IsFinalizing isFinalizing = finalizingQuestion();
  if (isFinalizing == nullptr || isFinalizing() == 0) return false;
  if (&gnu_get_libc_version == nullptr || &dl_iterate_phdr == nullptr) return false;
  if (rawCall(SYS_gettid) == rawCall(SYS_getpid)) return false;
  // A call that never returns may be its function's last instruction.
  Together together{reinterpret_cast<uintptr_t>(caller) - 1,
                    reinterpret_cast<uintptr_t>(isFinalizing), false};
  dl_iterate_phdr(visitLibrary, &together);
  return together.found;
}

/// The C library's, or that of whatever was preloaded behind us.
Exit nextExit() {
  if (&dlsym == nullptr) return nullptr;
  return reinterpret_cast<Exit>(dlsym(reinterpret_cast<void*>(-1L), "pthread_exit"));  // RTLD_NEXT
}

/// Looked up beforehand: dlsym waits for whoever loads a library, who may wait for the thread.
Exit known = nullptr;

[[gnu::constructor]] void begin(int, char**, char** entries) {
  known = nextExit();
  char** const list = environmentOf(entries);
  if (list != nullptr) removeTraces(list, kOwnName, nullptr);
}

}  // namespace

void pthread_exit(void* value) {
  if (isEndedByFinalizing(__builtin_return_address(0))) giveWayAndEnd();
  const Exit exit = known != nullptr ? known : nextExit();
  if (exit == nullptr) endThread();
  exit(value);
}

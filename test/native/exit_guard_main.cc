// A program that the exit guard takes for Python: it defines what tells that the interpreter
// finalizes. Its first argument says how a thread of it ends.
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

static bool finalizing = false;

// 3.13's name and the older one; the guard is to find whichever there is.
#ifdef REGROUP_NEW_PYTHON
extern "C" [[gnu::visibility("default")]] int Py_IsFinalizing() {
  return finalizing;
}
#else
extern "C" [[gnu::visibility("default")]] int _Py_IsFinalizing() {
  return finalizing;
}
#endif

static void say(const char* line) {
  (void)!::write(1, line, ::strlen(line));
}

struct Local {
  ~Local() { say("unwound\n"); }
};

static void* exitWithLocals(void* value) {
  const Local local;
  ::pthread_exit(value);
}

/// As a destructor that asks for the GIL.
static void exitWithin() noexcept {
  const Local local;
  ::pthread_exit(nullptr);
}

static void* exitWithinNoexcept(void*) {
  exitWithin();
  return nullptr;
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t heldTwice = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_barrier_t isHeld;

static void* exitWithLocks(void*) {
  (void)::pthread_mutex_lock(&held);
  (void)::pthread_mutex_lock(&heldTwice);
  (void)::pthread_mutex_lock(&heldTwice);
  (void)::pthread_barrier_wait(&isHeld);
  exitWithin();
  return nullptr;
}

static pthread_mutex_t robust;

static void* exitWithRobust(void*) {
  (void)::pthread_mutex_lock(&robust);
  (void)::pthread_barrier_wait(&isHeld);
  exitWithin();
  return nullptr;
}

static void* exitWithLock(void*) {
  (void)::pthread_mutex_lock(&held);
  (void)::pthread_barrier_wait(&isHeld);
  exitWithin();
  return nullptr;
}

static std::atomic<long> wanting = 0;
static std::atomic<bool> hasLock = false;

static void* wantLock(void*) {
  wanting = ::syscall(SYS_gettid);
  (void)::pthread_mutex_lock(&held);
  hasLock = true;
  return nullptr;
}

/// Whether it waits for the lock, or has had it.
static bool isAtLock() {
  char path[64];
  char text[16] = {};
  (void)::snprintf(path, sizeof path, "/proc/self/task/%ld/syscall", wanting.load());
  FILE* const file = ::fopen(path, "r");
  if (file == nullptr) return hasLock;
  (void)!::fread(text, 1, sizeof text - 1, file);
  (void)::fclose(file);
  return hasLock || ::atol(text) == SYS_futex;
}

/// Its caller is the C library.
static void* exitByItself(void* value) {
  using Start = void* (*)(void*);
  pthread_t thread;
  const auto start = reinterpret_cast<Start>(reinterpret_cast<void*>(::pthread_exit));
  if (::pthread_create(&thread, nullptr, start, value) != 0) ::abort();
  void* result = nullptr;
  (void)::pthread_join(thread, &result);
  return result;
}

int main(int argc, char** argv) {
  const char* const how = argc > 1 ? argv[1] : "";
  if (argc > 2) finalizing = ::strcmp(argv[2], "finalizing") == 0;
  say(::getenv("LD_PRELOAD") == nullptr ? "environment clean\n" : "environment not clean\n");

  void* (*run)(void*) = exitWithLocals;
  if (::strcmp(how, "noexcept") == 0) run = exitWithinNoexcept;
  if (::strcmp(how, "itself") == 0) run = exitByItself;
  if (::strcmp(how, "main") == 0) ::pthread_exit(nullptr);
  const bool locks = ::strcmp(how, "locks") == 0;
  if (locks) run = exitWithLocks;
  const bool robustly = ::strcmp(how, "robust") == 0;
  if (robustly) {
    pthread_mutexattr_t kind;
    (void)::pthread_mutexattr_init(&kind);
    (void)::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    (void)::pthread_mutex_init(&robust, &kind);
    run = exitWithRobust;
  }
  const bool beside = ::strcmp(how, "beside") == 0;
  if (beside) run = exitWithLock;
  (void)::pthread_barrier_init(&isHeld, nullptr, 2);
  pthread_t thread;
  if (::pthread_create(&thread, nullptr, run, reinterpret_cast<void*>(intptr_t{7})) != 0) return 1;
  if (locks) {
    (void)::pthread_barrier_wait(&isHeld);
    (void)::pthread_mutex_lock(&held);
    (void)::pthread_mutex_lock(&heldTwice);
    say("locked\n");
  }
  if (robustly) {
    (void)::pthread_barrier_wait(&isHeld);
    say(::pthread_mutex_lock(&robust) == EOWNERDEAD ? "owner dead\n" : "locked\n");
  }
  pthread_t bystander{};
  if (beside) {
    (void)::pthread_barrier_wait(&isHeld);
    if (::pthread_create(&bystander, nullptr, wantLock, nullptr) != 0) return 3;
    while (!isAtLock()) (void)::usleep(1000);
  }
  void* result = nullptr;
  if (::pthread_join(thread, &result) != 0) return 2;
  if (beside) (void)::pthread_join(bystander, nullptr);
  say(result == reinterpret_cast<void*>(intptr_t{7}) ? "joined with 7\n" : "joined\n");
  return 0;
}

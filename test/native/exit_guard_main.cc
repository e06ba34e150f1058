// A program that the exit guard takes for Python: it defines what tells that the interpreter
// finalizes. Its first argument says how a thread of it ends.
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
  (void)::pthread_barrier_init(&isHeld, nullptr, 2);
  pthread_t thread;
  if (::pthread_create(&thread, nullptr, run, reinterpret_cast<void*>(intptr_t{7})) != 0) return 1;
  if (locks) {
    (void)::pthread_barrier_wait(&isHeld);
    (void)::pthread_mutex_lock(&held);
    (void)::pthread_mutex_lock(&heldTwice);
    say("locked\n");
  }
  void* result = nullptr;
  if (::pthread_join(thread, &result) != 0) return 2;
  say(result == reinterpret_cast<void*>(intptr_t{7}) ? "joined with 7\n" : "joined\n");
  return 0;
}

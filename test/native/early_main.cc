// A worker of the early notice's tests: its first argument says how it ends. Unlike the other
// fixture it's dynamic, and exports the name by which an interpreter is told from a wrapper.
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

extern "C" [[gnu::visibility("default")]] void Py_Main() {}

extern char** environ;

static void say(const std::string& line) {
  const std::string whole = line + "\n";
  (void)!::write(1, whole.data(), whole.size());
}

/// Takes the kernel so long to free that the notice wins, if it's enough for this machine.
static void touchMemory(size_t megabytes) {
  const size_t size = megabytes << 20;
  if (size == 0) return;
  void* const bytes =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  (void)::madvise(bytes, size, MADV_NOHUGEPAGE);
  ::memset(bytes, 1, size);
}

static void* sleepForEver(void*) {
  while (true) ::pause();
}

static void* exitLater(void* code) {
  ::usleep(50'000);
  ::_exit(static_cast<int>(reinterpret_cast<intptr_t>(code)));
}

static void startThread(void* (*run)(void*), intptr_t argument = 0) {
  pthread_t thread;
  if (::pthread_create(&thread, nullptr, run, reinterpret_cast<void*>(argument)) != 0) ::abort();
}

/// The page that the library has mapped; null if it hasn't.
static uint32_t* page() {
  FILE* const maps = ::fopen("/proc/self/maps", "r");
  char line[512];
  uint32_t* found = nullptr;
  while (::fgets(line, sizeof line, maps) != nullptr) {
    if (::strstr(line, "memfd:regroup-early") != nullptr)
      found = reinterpret_cast<uint32_t*>(::strtoul(line, nullptr, 16));
  }
  ::fclose(maps);
  return found;
}

static void tell() {
  const bool clean = ::getenv("LD_PRELOAD") == nullptr && ::getenv("REGROUP_EARLY") == nullptr;
  say(std::string("environment ") + (clean ? "clean" : "not clean"));
  const char* const preload = ::getenv("LD_PRELOAD");
  say(std::string("preload ") + (preload != nullptr ? preload : "none"));
  say(std::string("descriptor 3 ") + (::fcntl(3, F_GETFD) >= 0 ? "open" : "closed"));
  say(std::string("page ") + (page() != nullptr ? "mapped" : "not mapped"));
}

static void scribble() {
  uint32_t* const word = page();
  for (uint32_t i = 0; i < 100'000; i++) {
    *reinterpret_cast<volatile uint32_t*>(word) = i * 2654435761u;
    ::syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
  ::memset(word, 0xff, 4096);
}

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  const int number = argc > 2 ? ::atoi(argv[2]) : 0;
  const size_t megabytes = argc > 3 ? ::strtoul(argv[3], nullptr, 10) : 0;
  if (how == "exit" || how == "threads") {
    touchMemory(megabytes);
    if (how == "threads")
      for (int i = 0; i < 8; i++) startThread(sleepForEver);
    ::_exit(number);
  }
  if (how == "die") {
    touchMemory(megabytes);
    const rlimit none{0, 0};
    (void)::setrlimit(RLIMIT_CORE, &none);
    ::kill(::getpid(), number);
    return 1;
  }
  if (how == "thread-exits") {
    touchMemory(megabytes);
    startThread(exitLater, number);
    sleepForEver(nullptr);
  }
  if (how == "dumps-core") {
    const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
    (void)::setrlimit(RLIMIT_CORE, &all);
    ::abort();
  }
  if (how == "execs") ::execl(argv[2], argv[2], argc > 3 ? argv[3] : nullptr, nullptr);
  if (how == "forks") {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(9);
    ::waitpid(child, nullptr, 0);
    return 0;
  }
  if (how == "spawns") {
    char* arguments[] = {argv[0], const_cast<char*>("tell"), nullptr};
    pid_t child;
    if (::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ) != 0)
      return 1;
    ::waitpid(child, nullptr, 0);
    return 0;
  }
  if (how == "first-thread-ends") {
    startThread(exitLater, 0);
    // As pthread_exit, but with a status that looks like a failure's.
    ::syscall(SYS_exit, number);
  }
  if (how == "tell") tell();
  if (how == "scribbles") scribble();
  return number;
}

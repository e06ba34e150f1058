#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

struct Ended {
  std::string said;
  int status;
};

/// The fixture, with the guard or without it.
Ended run(const char* fixture, const char* how, const char* state, bool guarded = true) {
  auto pipe = *makePipe();
  const std::string preload = std::string("LD_PRELOAD=") + REGROUP_EXIT_GUARD_LIBRARY;
  const pid_t child = ::fork();
  if (child == 0) {
    const char* const env[] = {guarded ? preload.c_str() : nullptr, nullptr};
    const rlimit none{0, 0};
    (void)::setrlimit(RLIMIT_CORE, &none);
    (void)::dup2(pipe.write.get(), 1);
    (void)::dup2(openFile("/dev/null", O_WRONLY)->get(), 2);
    ::execle(fixture, "fixture", how, state, nullptr, env);
    ::_exit(127);
  }
  pipe.write.reset();
  Ended ended{LineReader(std::move(pipe.read)).rest(), 0};
  (void)::waitpid(child, &ended.status, 0);
  return ended;
}

const char* const kPythons[] = {REGROUP_EXIT_GUARD_FIXTURE, REGROUP_EXIT_GUARD_OLD_FIXTURE};

/// With the guard it ends well, and says this.
void checkSays(const char* how, const char* state, const std::string& lines) {
  for (const char* python : kPythons) {
    const Ended ended = run(python, how, state);

    CHECK_EQ(ended.status, 0);
    CHECK_EQ(ended.said, "environment clean\n" + lines);
  }
}

}  // namespace

TEST("a thread that Python ends while it finalizes doesn't abort the process, and can be joined") {
  checkSays("noexcept", "finalizing", "joined\n");
}

TEST("nobody waits for ever for what it has locked, as gloo's destructor would") {
  checkSays("locks", "finalizing", "locked\njoined\n");
}

TEST("nor do others whom its joiner waits for next") {
  checkSays("beside", "finalizing", "joined\n");
}

TEST("a robust mutex of it has an owner that's dead") {
  checkSays("robust", "finalizing", "owner dead\njoined\n");
}

TEST("without the guard it does") {
  for (const char* python : kPythons) {
    const Ended ended = run(python, "noexcept", "finalizing", false);

    CHECK(WIFSIGNALED(ended.status));
    CHECK_EQ(WTERMSIG(ended.status), SIGABRT);
  }
}

TEST("as long as Python runs, pthread_exit is the C library's own") {
  checkSays("locals", "running", "unwound\njoined with 7\n");
}

TEST("a thread that ends itself while Python finalizes ends as ever") {
  checkSays("itself", "finalizing", "joined with 7\n");
}

TEST("so does the first thread") {
  checkSays("main", "finalizing", "");
}

TAP_MAIN

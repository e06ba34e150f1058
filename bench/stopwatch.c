// Runs one command and stamps its start and its end, so that no event loop of the harness stands
// between the command and the clock.
//
//   stopwatch FIFO COMMAND ARG…
//
// Writes `start - 0 PID NS` just before vfork and `end STATUS 0 PID NS` just after wait to FIFO; the
// fields are those of the workers' stamps (bench/lib.mjs, parseStamp). NS is CLOCK_MONOTONIC.
// STATUS is the exit code, or 128 + signal. Core dumps are off for all that it starts: writing one
// takes longer than what is measured here.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  int stamps = open(argv[1], O_WRONLY | O_CLOEXEC);
  if (stamps < 0) return 2;
  struct rlimit none = {0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);

  long long started = now();
  pid_t pid = vfork();
  if (pid < 0) return 2;
  if (pid == 0) {
    execvp(argv[2], argv + 2);
    _exit(127);
  }
  dprintf(stamps, "start - 0 %d %lld\n", (int)pid, started);

  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return 2;
  long long ended = now();
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  dprintf(stamps, "end %d 0 %d %lld\n", code, (int)pid, ended);
  return 0;
}

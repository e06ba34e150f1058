// The smallest worker: a static program that stamps its first instruction and waits.
// The same contract as bare.py, which is described there.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int stamps = -1;
static const char* rank = "0";
static const char* round_ = "0";

/// Async-signal-safe enough for us: the worker does nothing but wait when a handler runs.
static void stamp(const char* event, long long ns) {
  char line[96];
  int bytes = snprintf(line, sizeof line, "%s %s %s %d %lld\n", event, rank, round_, (int)getpid(), ns);
  if (write(stamps, line, (size_t)bytes) != bytes) _exit(99);
}

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void onTerm(int signal) {
  (void)signal;
  stamp("term", now());
  _exit(0);
}

static void onFail(int signal) {
  (void)signal;
  stamp("exit", now());
  _exit(3);
}

static void onFinish(int signal) {
  (void)signal;
  stamp("exit", now());
  _exit(0);
}

static const char* variable(const char* name) {
  const char* value = getenv(name);
  return value ? value : "0";
}

int main(void) {
  long long first = now();
  rank = variable("RANK");
  round_ = variable("TORCHELASTIC_RESTART_COUNT");
  const char* fifo = getenv("BENCH_STAMPS");
  if (!fifo || (stamps = open(fifo, O_WRONLY | O_CLOEXEC)) < 0) return 98;
  signal(SIGTERM, onTerm);
  signal(SIGUSR1, onFail);
  signal(SIGUSR2, onFinish);
  alarm(180);  // whatever becomes of launcher and harness, nothing is left
  stamp("start", first);
  for (;;) pause();
}

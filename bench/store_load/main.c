// store_load MODE HOST PORT [NAME=VALUE…]: one measurement against one server. Says `began`, then
// the result, a line of JSON, and leaves once stdin ends.
//
//   ops      `op` (get, set, add, read, mix) from each of `clients` for `ms`, `depth` deep
//   wake     one client sets a key that `clients` wait for, for `ms`
//   connect  `clients` connect, one after the other
//   meet     `clients` connect at once, and all wait until the last has arrived
//   storm    get by a quiet client, while `clients` - 1 others meet (op=meet), or read for `ms`
//   attack   get by a quiet client, while another does its worst for `ms` (op=nothing, lists, sets,
//            collide, values, waits)
//   replay   what `clients` ranks say in init_process_group("gloo")
//   idle     `clients` connect, and are there
//   fill     sets `keys` keys
//
// Ends with 1, and says why, on a wrong answer, and when `limit` seconds are over.
#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

struct Options options = {
    .op = "get", .clients = 1, .depth = 1, .ms = 200, .keys = 1, .value = 128};
int64_t began = 0, ended = 0;

static uint32_t* samples = NULL;  // ns
static size_t sampleCount = 0, sampleRoom = 0;
static uint64_t requests = 0;

void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "store_load %s: ", options.mode);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  _exit(1);
}

static void onAlarm(int signal) {
  (void)signal;
  static const char text[] = "store_load: not done within the limit\n";
  (void)!write(2, text, sizeof text - 1);
  _exit(1);
}

void record(int64_t ns) {
  if (sampleCount == sampleRoom) {
    sampleRoom = sampleRoom ? 2 * sampleRoom : 1 << 16;
    samples = realloc(samples, sampleRoom * sizeof *samples);
    if (!samples) abort();
  }
  samples[sampleCount++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

void countRequests(uint64_t count) {
  requests += count;
}

static int compare(const void* a, const void* b) {
  const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
  return (x > y) - (x < y);
}

static double percentileUs(double q) {
  size_t at = (size_t)(q * (double)sampleCount);
  if (at >= sampleCount) at = sampleCount - 1;
  return samples[at] / 1e3;
}

void begin(void) {
  printf("began\n");
  fflush(stdout);
  began = now();
}

void report(void) {
  if (ended == 0) ended = now();
  const double seconds = (double)(ended - began) / 1e9;
  const uint64_t count = requests ? requests : sampleCount;
  printf("{\"seconds\":%.6f,\"requests\":%llu", seconds, (unsigned long long)count);
  if (sampleCount > 0) {
    qsort(samples, sampleCount, sizeof *samples, compare);
    printf(",\"p50Us\":%.2f,\"p99Us\":%.2f,\"maxUs\":%.2f", percentileUs(0.5), percentileUs(0.99),
           percentileUs(1));
  }
  printf("}\n");
  fflush(stdout);

  alarm(0);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
}

// ---- Processes ---------------------------------------------------------------------------------

enum { kSpareDescriptors = 64 };

static uint32_t processes = 0;
static unsigned limitSeconds = 60;

struct Shared* spread(uint32_t first, uint32_t count, void (*body)(struct Shared*)) {
  struct Shared* shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) abort();
  struct rlimit descriptors;
  getrlimit(RLIMIT_NOFILE, &descriptors);
  const uint32_t room = (uint32_t)descriptors.rlim_cur - kSpareDescriptors;
  const uint32_t each = (count + (count - 1) / room) / (1 + (count - 1) / room);
  for (uint32_t at = 0; at < count; at += each) {
    processes++;
    const pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(limitSeconds);
    makeClients(first + at, count - at < each ? count - at : each);
    body(shared);
    shared->ends[processes - 1] = now();
    shared->done++;
    while (!shared->leave) usleep(1000);
    _exit(0);
  }
  while (shared->ready < processes) usleep(100);
  return shared;
}

void awaitDone(struct Shared* shared) {
  while (shared->done < processes) {
    if (waitpid(-1, NULL, WNOHANG) != 0) _exit(1);  // it has said why
    usleep(100);
  }
}

void join(struct Shared* shared) {
  shared->leave = true;
  while (wait(NULL) > 0) {
  }
}

// ---- Options -----------------------------------------------------------------------------------

static bool readOption(const char* text) {
  char name[16];
  int used = 0;
  if (sscanf(text, "%15[a-z]=%n", name, &used) != 1 || used == 0) return false;
  const char* value = text + used;
  const uint32_t number = (uint32_t)strtoul(value, NULL, 10);
  if (!strcmp(name, "op"))
    options.op = value;
  else if (!strcmp(name, "clients"))
    options.clients = number;
  else if (!strcmp(name, "depth"))
    options.depth = number;
  else if (!strcmp(name, "ms"))
    options.ms = number;
  else if (!strcmp(name, "round"))
    options.round = number;
  else if (!strcmp(name, "keys"))
    options.keys = number;
  else if (!strcmp(name, "value"))
    options.value = number;
  else if (!strcmp(name, "limit"))
    limitSeconds = number;
  else if (!strcmp(name, "dialect") && !strcmp(value, "A"))
    dialect = kDialectA;
  else if (!strcmp(name, "dialect") && !strcmp(value, "D"))
    dialect = kDialectD;
  else if (!strcmp(name, "dialect") && !strcmp(value, "echo"))
    dialect = kEcho;
  else
    return false;
  return true;
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(void);
  } modes[] = {{"ops", runOps},   {"wake", runWake},   {"connect", runConnect},
               {"meet", runMeet}, {"storm", runStorm}, {"attack", runAttack},
               {"replay", runReplay}, {"idle", runIdle}, {"fill", runFill}};
  if (argc < 4) return 2;
  options.mode = argv[1];
  options.host = argv[2];
  options.port = (uint32_t)atoi(argv[3]);
  for (int i = 4; i < argc; i++)
    if (!readOption(argv[i])) fail("%s?", argv[i]);

  signal(SIGALRM, onAlarm);
  alarm(limitSeconds);
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    if (strcmp(modes[i].name, options.mode)) continue;
    modes[i].run();
    return 0;
  }
  return 2;
}

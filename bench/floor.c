// The floor launcher: what the machine takes to start, end and start again N workers if the launcher
// does nothing but vfork, exec and wait. No rendezvous, no store, no logs, no report.
//
//   floor -n WORKERS [-r RESTARTS] [-p PORT] -- COMMAND ARG…
//
// A worker that fails ends the others by SIGTERM; once the last is reaped, all start again while
// RESTARTS last. SIGTERM is forwarded, and waited for. Exits when the last worker has: with 0 if all
// did so, with 1 after a failure, with 143 after a SIGTERM.
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

enum { kMaxWorkers = 1024, kOwnVariables = 8, kVariableBytes = 48 };

static pid_t pids[kMaxWorkers];  // 0: reaped
static int workers = 0;
static int alive = 0;
static int port = 29500;

/// The inherited environment with this worker's variables in front: getenv takes the first.
static char** environmentOf(int rank, int round) {
  static char variables[kOwnVariables][kVariableBytes];
  static char** block = NULL;
  int inherited = 0;
  while (environ[inherited]) inherited++;
  if (!block) {
    block = malloc((size_t)(inherited + kOwnVariables + 1) * sizeof *block);
    if (!block) abort();
    for (int i = 0; i < kOwnVariables; i++) block[i] = variables[i];
    memcpy(block + kOwnVariables, environ, (size_t)(inherited + 1) * sizeof *block);
  }

  snprintf(variables[0], kVariableBytes, "RANK=%d", rank);
  snprintf(variables[1], kVariableBytes, "LOCAL_RANK=%d", rank);
  snprintf(variables[2], kVariableBytes, "WORLD_SIZE=%d", workers);
  snprintf(variables[3], kVariableBytes, "LOCAL_WORLD_SIZE=%d", workers);
  snprintf(variables[4], kVariableBytes, "TORCHELASTIC_RESTART_COUNT=%d", round);
  snprintf(variables[5], kVariableBytes, "MASTER_ADDR=127.0.0.1");
  // A port of its own for each round: rank 0 serves the store here, and the last one's may linger.
  snprintf(variables[6], kVariableBytes, "MASTER_PORT=%d", port + round);
  snprintf(variables[7], kVariableBytes, "FLOOR=1");
  return block;
}

/// Of its own, and never inlined: what vfork's child shares is then this frame alone.
__attribute__((noinline)) static pid_t startOne(char** command, char** env,
                                                const sigset_t* workerMask) {
  pid_t pid = vfork();
  if (pid == 0) {
    // As all launchers do. It also puts each worker into a scheduling group of its own (autogroup), so
    // that on a busy machine theirs and ours get the same share.
    setsid();
    sigprocmask(SIG_SETMASK, workerMask, NULL);
    execvpe(command[0], command, env);
    _exit(127);
  }
  if (pid < 0) abort();
  return pid;
}

static void startAll(char** command, int round, const sigset_t* workerMask) {
  for (int rank = 0; rank < workers; rank++)
    pids[rank] = startOne(command, environmentOf(rank, round), workerMask);
  alive = workers;
}

static void signalAll(int signal) {
  for (int rank = 0; rank < workers; rank++)
    if (pids[rank] > 0) kill(pids[rank], signal);
}

int main(int argc, char** argv) {
  int restarts = 0;
  for (int option; (option = getopt(argc, argv, "+n:r:p:")) != -1;) {
    if (option == 'n') workers = atoi(optarg);
    else if (option == 'r') restarts = atoi(optarg);
    else if (option == 'p') port = atoi(optarg);
    else return 2;
  }
  if (workers < 1 || workers > kMaxWorkers || optind == argc) return 2;

  sigset_t awaited, before;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGCHLD);
  sigaddset(&awaited, SIGTERM);
  sigprocmask(SIG_BLOCK, &awaited, &before);

  int round = 0;
  bool failed = false, told = false;
  startAll(argv + optind, round, &before);
  while (alive > 0) {
    int signal = sigwaitinfo(&awaited, NULL);
    if (signal == SIGTERM) {
      told = true;
      signalAll(SIGTERM);
      continue;
    }

    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      for (int rank = 0; rank < workers; rank++)
        if (pids[rank] == pid) pids[rank] = 0;
      alive--;
      if (status == 0 || failed || told) continue;
      failed = true;
      signalAll(SIGTERM);
    }
    if (alive == 0 && failed && !told && round < restarts) {
      failed = false;
      startAll(argv + optind, ++round, &before);
    }
  }
  return told ? 143 : failed ? 1 : 0;
}

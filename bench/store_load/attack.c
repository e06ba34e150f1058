// A quiet client's gets, while another does its worst with few bytes. Each attack is within the
// limits of PyTorch's server, so that both meet the same: 131,072 keys a request, values of 8 MiB.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

enum { kSet = 1, kGet = 3, kWait = 6, kDelete = 8, kAppend = 9, kMultiSet = 11, kListKeys = 17 };
enum { kKeys = 131072, kCollisions = 60000, kPiece = 8 << 20, kPieces = 30 };

static struct Client attacker;

static void add(const void* data, size_t size) {
  if (out.size + size > out.room) {
    out.room = 2 * (out.size + size);
    out.data = realloc(out.data, out.room);
    if (!out.data) abort();
  }
  memcpy(out.data + out.size, data, size);
  out.size += size;
}

static void addOp(uint8_t op) {
  add(&op, 1);
}

static void addNumber(uint64_t number) {
  add(&number, sizeof number);
}

static void addString(const void* data, size_t size) {
  addNumber(size);
  add(data, size);
}

/// Sends what's there, however long the server takes to read it.
static void flood(void) {
  for (size_t at = 0; at < out.size;) {
    const ssize_t sent = send(attacker.fd, out.data + at, out.size - at, MSG_NOSIGNAL);
    if (sent < 0) fail("the attacker was closed");
    at += (size_t)sent;
  }
  out.size = 0;
}

/// Keys whose hashes are one in libstdc++, as unordered_map<std::string> has it: its mixing can be
/// undone, and has one seed for all.
static void addColliding(uint64_t i) {
  const uint64_t mul = (0xc6a4a793ull << 32) + 0x5bd1e995;
  uint64_t inverse = mul;
  for (int step = 0; step < 6; step++) inverse *= 2 - mul * inverse;
  uint64_t mixed = i * mul;
  mixed = (mixed ^ mixed >> 47) * mul;
  const uint64_t first = ((0xc70f6907 ^ 16 * mul) ^ mixed) * mul;
  uint64_t second = (first ^ 0x1234567812345678) * inverse;
  second = (second ^ second >> 47) * inverse;
  const uint64_t key[] = {i, second};
  addString(key, sizeof key);
}

static void addManyKeys(uint8_t op, bool distinct) {
  addOp(op);
  addNumber(kKeys);
  char name[24];
  for (uint32_t i = 0; i < kKeys; i++) {
    const int size = snprintf(name, sizeof name, "/a%u", distinct ? i : 0);
    addString(name, (size_t)size);
    if (op == kMultiSet) addString("v", 1);
  }
}

// Each is prepared once, and then done again and again.

static void prepareLists(void) {
  addManyKeys(kMultiSet, true);
}
static void lists(void) {
  for (int i = 0; i < 64; i++) addOp(kListKeys);
}

static void sets(void) {
  addManyKeys(kMultiSet, true);
}

static void collide(void) {
  addOp(kMultiSet);
  addNumber(kCollisions);
  for (uint64_t i = 0; i < kCollisions; i++) {
    addColliding(i);
    addString("v", 1);
  }
}

static void prepareValues(void) {
  char* piece = calloc(1, kPiece);
  for (int i = 0; i < kPieces; i++) {
    addOp(kAppend);
    addString("/value", 6);
    addString(piece, kPiece);
  }
  free(piece);
}
static void values(void) {
  addOp(kGet);
  addString("/value", 6);
}

/// Waits for one key, very often, and has it come and go.
static void waits(void) {
  addManyKeys(kWait, false);
  for (int i = 0; i < 64; i++) {
    addOp(kDelete);
    addString("/a0", 3);
    addOp(kSet);
    addString("/a0", 3);
    addString("v", 1);
  }
}

/// What a get takes beside nobody.
static void nothing(void) {
  pause();
}

/// Reads whatever comes, so that the server needn't keep it.
static void* drain(void* nothing) {
  static char bytes[1 << 20];
  while (recv(attacker.fd, bytes, sizeof bytes, 0) > 0) {
  }
  return nothing;
}

static const struct Attack {
  const char* name;
  void (*prepare)(void);
  void (*attack)(void);
} attacks[] = {
    {"nothing", NULL, nothing}, {"lists", prepareLists, lists},    {"sets", NULL, sets},
    {"collide", NULL, collide}, {"values", prepareValues, values}, {"waits", NULL, waits},
};

static void attack(const struct Attack* how, int ready) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  attacker = (struct Client){0};
  connectAlone(&attacker);
  if (how->prepare) {
    how->prepare();
    flood();
    // Nothing follows before all that is applied.
    putPing(&out);
    sendRequest(&attacker, (struct Replies){kNonce, 1, 0});
    awaitReply(&attacker);
  }
  if (write(ready, "", 1) != 1) _exit(1);
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    drain(NULL);
    _exit(0);
  }
  for (;;) {
    how->attack();
    flood();
  }
}

static void get(struct Client* client, const char* key) {
  putWait(&out, key);
  sendRequest(client, (struct Replies){kStatus, 1, 0});
  awaitReply(client);
  putGet(&out, key);
  sendRequest(client, (struct Replies){kValue, 1, options.value});
  awaitReply(client);
}

void runAttack(void) {
  const struct Attack* how = NULL;
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
    if (!strcmp(attacks[i].name, options.op)) how = &attacks[i];
  if (!how || dialect != kDialectD) fail("no such attack: %s", options.op);

  static const char key[] = "/quiet/key";
  struct Client quiet = {0};
  char* value = calloc(1, options.value);
  connectAlone(&quiet);
  putSet(&out, key, value, options.value);
  sendSilent(&quiet);
  get(&quiet, key);

  int ready[2];
  if (pipe(ready) < 0) abort();
  const pid_t pid = fork();
  if (pid == 0) attack(how, ready[1]);
  close(ready[1]);
  char byte;
  if (read(ready[0], &byte, 1) != 1) fail("the attacker has ended");
  begin();
  // Whatever it takes: a server that stands still for longer is asked once.
  while (now() - began < options.ms * 1000000LL) {
    usleep(500 + (useconds_t)(random() % 1000));
    const int64_t at = now();
    get(&quiet, key);
    record(now() - at);
  }
  ended = now();
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  report();
  close(quiet.fd);
}

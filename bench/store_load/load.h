// The store's load generator: clients of a TCPStore in one epoll loop, and what drives them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- wire.c: requests and replies --------------------------------------------------------------

/// What a client's bytes look like. Echo is D for the floor, whose answers are of the right size
/// and mean nothing.
enum Dialect { kDialectA, kDialectD, kEcho };
extern enum Dialect dialect;

enum { kKeyBytes = 80 };

/// Requests, until they're sent.
struct Bytes {
  char* data;
  size_t size, room;
};
void putValidate(struct Bytes* out);
void putPing(struct Bytes* out);
void putSet(struct Bytes* out, const char* key, const char* value, size_t valueBytes);
void putGet(struct Bytes* out, const char* key);
void putAdd(struct Bytes* out, const char* key, int64_t delta);
void putCheck(struct Bytes* out, const char* key);
void putWait(struct Bytes* out, const char* key);
void putCountKeys(struct Bytes* out);

enum Shape { kStatus, kAbsent, kNonce, kNumber, kValue };

/// `count` replies of one shape; each is checked.
struct Replies {
  enum Shape shape;
  uint32_t count;
  uint64_t valueBytes;
};

/// Where a client is in the replies that it awaits.
struct Reader {
  struct Replies left;
  char head[8];  // status, nonce, number, or a value's length
  uint32_t headBytes;
  uint64_t body;   // of a value, still to come
  int64_t number;  // the last of its shape
};
/// Takes from `data` what belongs to the next reply; how much that was.
size_t readReply(struct Reader* reader, const char* data, size_t size);

// ---- loop.c: clients ---------------------------------------------------------------------------

struct Client {
  int fd;
  uint32_t id;  // among those of all processes
  bool connecting;
  struct Reader reader;
  uint32_t step, round;  // the mode's
  int64_t since;         // the mode's, ns
};
extern struct Client* clients;
extern uint32_t clientCount;

/// What is being built, and sent by the next send…().
extern struct Bytes out;

/// Makes room for `count` clients, whose ids begin with `first`.
void makeClients(uint32_t first, uint32_t count);
/// Begins to connect; `onReply` is called once it has.
void connectClient(struct Client* client);
void closeClients(void);
/// Sends `out`, and awaits `replies`.
void sendRequest(struct Client* client, struct Replies replies);
/// Sends `out`, which has no reply.
void sendSilent(struct Client* client);
/// Sends the hello as a client of the dialect does; what it awaits then. False: there's none.
bool sendHello(struct Client* client);

/// Called when a client has connected, or has what it awaited.
extern void (*onReply)(struct Client* client);
/// Until stopLoop().
void runLoop(void);
void stopLoop(void);
/// Calls `onReply` in 10 ms.
void callLater(struct Client* client);
/// Blocks until `client`, which isn't in the loop, has what it awaits.
void awaitReply(struct Client* client);
/// Connects and says hello, blocking; the client stays out of the loop.
void connectAlone(struct Client* client);
/// Connects clients with their hellos, in the loop, at most `atOnce` at a time. @param addInit adds
/// 1 to `init/` as well, as a client that knows its world size does
void gather(uint32_t atOnce, bool addInit);

int64_t now(void);
_Noreturn void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ---- main.c: options and results ---------------------------------------------------------------

struct Options {
  const char *mode, *host, *op;
  uint32_t port, clients, depth, ms, keys, value;
  uint32_t round;  // of this server; keys that are used once differ by it
};
extern struct Options options;
extern int64_t began, ended;  // of what's timed

/// What's timed begins now.
void begin(void);

/// One sample of latency.
void record(int64_t ns);
/// Requests answered, where that isn't the number of samples.
void countRequests(uint64_t count);
/// Prints what was counted, and waits for stdin's end, so that nobody is measured while we leave.
void report(void);

enum { kMaxProcesses = 64 };
/// What processes share, so that 10,000 clients needn't fit into one's descriptors.
struct Shared {
  _Atomic uint32_t ready, done;
  _Atomic bool go, stop, leave;
  int64_t ends[kMaxProcesses];  // when they were done
};
/// Forks as many as `count` clients take, and runs `body` in each; returns at once.
struct Shared* spread(uint32_t first, uint32_t count, void (*body)(struct Shared*));
/// Waits until the processes of spread() are done, and are as they should be.
void awaitDone(struct Shared* shared);
/// Lets them end.
void join(struct Shared* shared);

// ---- The modes ---------------------------------------------------------------------------------

/// Where `meetingSize` clients come together: a body for spread().
void meet(struct Shared* shared);
extern uint32_t meetingSize;

void runOps(void);      // ops.c
void runWake(void);     // wake.c
void runConnect(void);  // meet.c
void runMeet(void);     // meet.c
void runStorm(void);    // storm.c
void runAttack(void);   // attack.c
void runReplay(void);   // replay.c
void runIdle(void);     // hold.c
void runFill(void);     // hold.c

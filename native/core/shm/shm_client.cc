#include "core/shm/shm_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "core/shm/futex.h"
#include "core/shm/shm_handover.h"

using namespace regroup::shm;

/// Invariant: how far both rings were read and written is kept here.
struct regroup_shm_client {
  regroup_shm_reader* reader;
  std::byte* memory;
  Lane* lane;
  int bell;
  pid_t pid;  // whose it is
  bool broken;
  bool gone;  // the server
  uint32_t requestHead;
  uint32_t replyTail;
  uint32_t spins;
};

namespace {

/// TCPStore's opcodes; @source torch/csrc/distributed/c10d/TCPStoreBackend.hpp, v2.13.0
constexpr uint8_t kOpValidate = 0;
constexpr uint8_t kOpSet = 1;
constexpr uint8_t kOpAdd = 4;
constexpr uint32_t kMagicOfValidate = 0x3C85F7CE;

/// Looks at the words before it sleeps: a server that's awake answers in a few microseconds.
constexpr uint32_t kSpins = 300;
/// While it sleeps: how often it looks whether the server still lives, which only the socket tells
/// if it was killed.
constexpr uint32_t kLookMs = 1000;

/// A server that was killed has closed nothing, but its socket is.
void lookAfterServer(regroup_shm_client& client) {
  char byte;
  const ssize_t size = ::recv(client.bell, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  client.gone = size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

bool isGone(const regroup_shm_client& client) {
  return client.gone || load(client.lane->closed);
}

int mayUse(const regroup_shm_client* client) {
  if (!client) return REGROUP_SHM_EARGUMENT;
  if (client->pid != ::getpid()) return REGROUP_SHM_EFORKED;
  return client->broken ? REGROUP_SHM_EBROKEN : REGROUP_SHM_OK;
}

/// Spins a little, then sleeps, until `ready()`.
template <typename Ready>
int sleepUntil(regroup_shm_client& client, const timespec& deadline, Ready ready) {
  for (uint32_t spin = client.spins; spin > 0; spin--) {
    if (ready()) return REGROUP_SHM_OK;
    relax();
  }
  Lane& lane = *client.lane;
  int answer = REGROUP_SHM_OK;
  lane.clientSleeps.store(1, std::memory_order_seq_cst);
  for (;;) {
    // Before the look: whatever the server does behind it moves the word.
    const uint32_t event = lane.event.load(std::memory_order_seq_cst);
    if (ready()) break;
    if (isGone(client)) {
      // It may have answered before it went.
      answer = ready() ? REGROUP_SHM_OK : REGROUP_SHM_ECLOSED;
      break;
    }
    if (isPast(deadline)) {
      answer = REGROUP_SHM_TIMED_OUT;
      break;
    }
    timespec look = monotonicIn(kLookMs);
    if (deadline.tv_sec < look.tv_sec ||
        (deadline.tv_sec == look.tv_sec && deadline.tv_nsec < look.tv_nsec))
      look = deadline;
    const int error = futexWait(lane.event, event, look);
    // Signals that come often enough would put it off for ever.
    if (error == ETIMEDOUT || error == EINTR) lookAfterServer(client);
    if (error == EINTR) {
      answer = ready() ? REGROUP_SHM_OK : REGROUP_SHM_INTERRUPTED;
      break;
    }
    if (error != 0 && error != EAGAIN && error != ETIMEDOUT) {
      answer = REGROUP_SHM_ESYSTEM;
      break;
    }
  }
  lane.clientSleeps.store(0, std::memory_order_relaxed);
  return answer;
}

void ring(regroup_shm_client& client) {
  const ssize_t sent = ::send(client.bell, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  // Full: it was rung often enough.
  if (sent < 0 && errno != EAGAIN) client.gone = true;
}

uint32_t room(const regroup_shm_client& client) {
  const uint32_t used = client.requestHead - load(client.lane->requestTail);
  return used > kRingBytes ? 0 : kRingBytes - used;
}

uint32_t replies(const regroup_shm_client& client) {
  const uint32_t waiting = load(client.lane->replyHead) - client.replyTail;
  return waiting > kRingBytes ? 0 : waiting;
}

void publishRequests(regroup_shm_client& client) {
  client.lane->requestHead.store(client.requestHead, std::memory_order_seq_cst);
  if (client.lane->serverSleeps.load(std::memory_order_seq_cst)) ring(client);
}

int writeBytes(regroup_shm_client& client, const void* from, size_t bytes, size_t& done,
               const timespec& deadline) {
  const auto* at = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    const int answer = sleepUntil(client, deadline, [&] { return room(client) > 0; });
    if (answer != REGROUP_SHM_OK) return answer;
    // What's written to a closed lane is lost.
    if (isGone(client)) return REGROUP_SHM_ECLOSED;
    // Looked at once: it may have grown by the next look.
    const size_t size = std::min<size_t>(room(client), bytes);
    copyToRing(client.memory + kRequestOffset, client.requestHead, at, size);
    client.requestHead += static_cast<uint32_t>(size);
    publishRequests(client);
    at += size;
    bytes -= size;
    done += size;
  }
  return REGROUP_SHM_OK;
}

int readBytes(regroup_shm_client& client, void* to, size_t bytes, size_t& done,
              const timespec& deadline) {
  auto* at = static_cast<std::byte*>(to);
  while (bytes > 0) {
    const int answer = sleepUntil(client, deadline, [&] { return replies(client) > 0; });
    if (answer != REGROUP_SHM_OK) return answer;
    const size_t size = std::min<size_t>(replies(client), bytes);
    copyFromRing(client.memory + kReplyOffset, client.replyTail, at, size);
    client.replyTail += static_cast<uint32_t>(size);
    client.lane->replyTail.store(client.replyTail, std::memory_order_seq_cst);
    if (client.lane->serverBlocked.load(std::memory_order_seq_cst)) ring(client);
    at += size;
    bytes -= size;
    done += size;
  }
  return REGROUP_SHM_OK;
}

/// A request as it grows: in one piece if it's short, so that the server is told once.
struct Message {
  regroup_shm_client& client;
  const timespec& deadline;
  std::byte held[512];
  size_t size = 0;
  bool begun = false;  // some of it is the server's already
  int answer = REGROUP_SHM_OK;

  void add(const void* bytes, size_t count) {
    if (answer != REGROUP_SHM_OK) return;
    if (count > sizeof held - size) flush();
    if (count > sizeof held - size) return put(bytes, count);
    if (count > 0) ::memcpy(held + size, bytes, count);
    size += count;
  }
  void byte(uint8_t value) { add(&value, 1); }
  void number(int64_t value) { add(&value, sizeof value); }
  void string(const void* bytes, size_t count) {
    number(static_cast<int64_t>(count));
    add(bytes, count);
  }
  int flush() {
    if (answer == REGROUP_SHM_OK && size > 0) put(held, size);
    size = 0;
    return answer;
  }

 private:
  void put(const void* bytes, size_t count) {
    size_t done = 0;
    do {
      answer = writeBytes(client, static_cast<const std::byte*>(bytes) + done, count - done, done,
                          deadline);
    } while (answer == REGROUP_SHM_INTERRUPTED);
    begun = begun || done > 0;
    // Half a request, and no way back.
    if (answer != REGROUP_SHM_OK && begun) client.broken = true;
  }
};

/// The reply to what was sent, which breaks the client if it doesn't come whole.
int readReply(regroup_shm_client& client, void* to, size_t bytes, const timespec& deadline) {
  size_t done = 0;
  int answer = REGROUP_SHM_INTERRUPTED;
  while (answer == REGROUP_SHM_INTERRUPTED)
    answer = readBytes(client, static_cast<std::byte*>(to) + done, bytes - done, done, deadline);
  if (answer != REGROUP_SHM_OK) client.broken = true;
  return answer;
}

int settle(regroup_shm_client& client, const timespec& deadline) {
  return sleepUntil(client, deadline,
                    [&] { return load(client.lane->applied) == client.requestHead; });
}

uint32_t msUntil(const timespec& deadline) {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t ms = (deadline.tv_sec - now.tv_sec) * 1000 +
                     (deadline.tv_nsec - now.tv_nsec + 999'999) / 1'000'000;
  return ms < 0 ? 0 : static_cast<uint32_t>(ms);
}

int sayHello(regroup_shm_client& client, uint32_t timeoutMs) {
  const timespec deadline = monotonicIn(timeoutMs);
  Message hello{client, deadline, {}};
  hello.byte(kOpValidate);
  hello.add(&kMagicOfValidate, sizeof kMagicOfValidate);
  return hello.flush();
}

}  // namespace

int regroup_shm_connect(const char* name, uint32_t timeout_ms, regroup_shm_client** client) {
  if (!name || !client) return REGROUP_SHM_EARGUMENT;
  *client = nullptr;
  Handed handed;
  int answer = takeHandover(name, timeout_ms, handed);
  if (answer != REGROUP_SHM_OK) return answer;

  regroup_shm_client made{};
  answer = mapLane(handed.lane, &made.memory);
  if (answer != REGROUP_SHM_OK) return answer;
  made.lane = reinterpret_cast<Lane*>(made.memory);
  made.pid = ::getpid();
  made.spins = ::sysconf(_SC_NPROCESSORS_ONLN) > 1 ? kSpins : 0;
  made.bell = -1;
  answer = ::regroup_shm_open(handed.segment, &made.reader);
  auto* const kept = static_cast<regroup_shm_client*>(::malloc(sizeof made));
  if (answer == REGROUP_SHM_OK && !kept) answer = REGROUP_SHM_ESYSTEM;
  if (answer != REGROUP_SHM_OK) {
    ::free(kept);
    ::regroup_shm_close(made.reader);
    ::munmap(made.memory, kLaneBytes);
    return answer;
  }
  made.bell = handed.socket;
  handed.socket = -1;
  ::memcpy(kept, &made, sizeof made);
  answer = sayHello(*kept, timeout_ms);
  if (answer != REGROUP_SHM_OK) {
    ::regroup_shm_disconnect(kept);
    return answer;
  }
  *client = kept;
  return REGROUP_SHM_OK;
}

void regroup_shm_disconnect(regroup_shm_client* client) {
  if (!client) return;
  ::close(client->bell);
  ::munmap(client->memory, kLaneBytes);
  ::regroup_shm_close(client->reader);
  ::free(client);
}

const regroup_shm_reader* regroup_shm_client_reader(const regroup_shm_client* client) {
  return client->reader;
}

int regroup_shm_client_get(regroup_shm_client* client, const void* key, size_t key_bytes,
                           void* value, size_t capacity, size_t* value_bytes, uint32_t timeout_ms) {
  if (!client) return REGROUP_SHM_EARGUMENT;
  // Before we ask whose client it is, which is a system call: the reader works for everybody.
  if (load(client->lane->applied) == client->requestHead) {
    const int found =
        ::regroup_shm_get(client->reader, key, key_bytes, value, capacity, value_bytes);
    if (found != REGROUP_SHM_NOT_FOUND) return found;
  }
  int answer = mayUse(client);
  if (answer != REGROUP_SHM_OK) return answer;
  const timespec deadline = monotonicIn(timeout_ms);
  answer = settle(*client, deadline);
  while (answer == REGROUP_SHM_OK) {
    const uint32_t left = msUntil(deadline);
    answer = ::regroup_shm_wait(client->reader, key, key_bytes, value, capacity, value_bytes,
                                left < kLookMs ? left : kLookMs);
    if (answer != REGROUP_SHM_TIMED_OUT && answer != REGROUP_SHM_INTERRUPTED) return answer;
    lookAfterServer(*client);
    if (isGone(*client)) return REGROUP_SHM_ECLOSED;
    if (answer == REGROUP_SHM_INTERRUPTED) return answer;
    if (left > kLookMs) answer = REGROUP_SHM_OK;
  }
  return answer;
}

int regroup_shm_set(regroup_shm_client* client, const void* key, size_t key_bytes,
                    const void* value, size_t value_bytes, uint32_t timeout_ms) {
  if (const int answer = mayUse(client); answer != REGROUP_SHM_OK) return answer;
  if ((!key && key_bytes) || (!value && value_bytes)) return REGROUP_SHM_EARGUMENT;
  const timespec deadline = monotonicIn(timeout_ms);
  Message request{*client, deadline, {}};
  request.byte(kOpSet);
  request.string(key, key_bytes);
  request.string(value, value_bytes);
  return request.flush();
}

int regroup_shm_add(regroup_shm_client* client, const void* key, size_t key_bytes, int64_t delta,
                    int64_t* sum, uint32_t timeout_ms) {
  if (const int answer = mayUse(client); answer != REGROUP_SHM_OK) return answer;
  if ((!key && key_bytes) || !sum) return REGROUP_SHM_EARGUMENT;
  const timespec deadline = monotonicIn(timeout_ms);
  Message request{*client, deadline, {}};
  request.byte(kOpAdd);
  request.string(key, key_bytes);
  request.number(delta);
  if (request.flush() != REGROUP_SHM_OK) return request.answer;
  return readReply(*client, sum, sizeof *sum, deadline);
}

int regroup_shm_settle(regroup_shm_client* client, uint32_t timeout_ms) {
  const int answer = mayUse(client);
  return answer == REGROUP_SHM_OK ? settle(*client, monotonicIn(timeout_ms)) : answer;
}

int regroup_shm_write(regroup_shm_client* client, const void* from, size_t bytes, size_t* done,
                      uint32_t timeout_ms) {
  if (const int answer = mayUse(client); answer != REGROUP_SHM_OK) return answer;
  if (!from || !done) return REGROUP_SHM_EARGUMENT;
  return writeBytes(*client, from, bytes, *done, monotonicIn(timeout_ms));
}

int regroup_shm_read(regroup_shm_client* client, void* to, size_t bytes, size_t* done,
                     uint32_t timeout_ms) {
  if (const int answer = mayUse(client); answer != REGROUP_SHM_OK) return answer;
  if (!to || !done) return REGROUP_SHM_EARGUMENT;
  return readBytes(*client, to, bytes, *done, monotonicIn(timeout_ms));
}

void regroup_shm_beat(regroup_shm_client* client, uint32_t rank, uint64_t step, uint32_t phase) {
  if (!client) return;
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  Slot& slot = client->lane->slot;
  slot.rank.store(rank, std::memory_order_relaxed);
  slot.step.store(step, std::memory_order_relaxed);
  slot.phase.store(phase, std::memory_order_relaxed);
  slot.beatNs.store(
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec),
      std::memory_order_relaxed);
  slot.beats.fetch_add(1, std::memory_order_release);
}

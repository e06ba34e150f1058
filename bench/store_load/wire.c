// TCPStore on the wire, as a client writes and reads it.
// @source pytorch v1.13.1, v2.13.0: torch/csrc/distributed/c10d/TCPStore*.{hpp,cpp}
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum Dialect dialect = kDialectD;

enum Op { kValidate, kSet, kGet, kAdd, kCheck, kWait, kCountKeys, kPing };
static const uint8_t numbers[][8] = {
    [kDialectA] = {0, 0, 2, 3, 4, 5, 6, 0},  // 1.13 has neither VALIDATE nor PING
    [kDialectD] = {0, 1, 3, 4, 5, 6, 7, 13},
    [kEcho] = {0, 1, 3, 4, 5, 6, 7, 13},
};
static const uint32_t magic = 0x3C85F7CE;
static const uint32_t nonce = 0x71e7;

static void put(struct Bytes* out, const void* data, size_t size) {
  if (out->size + size > out->room) {
    out->room = 2 * (out->size + size);
    out->data = realloc(out->data, out->room);
    if (!out->data) abort();
  }
  memcpy(out->data + out->size, data, size);
  out->size += size;
}

static void putOp(struct Bytes* out, enum Op op) {
  put(out, &numbers[dialect][op], 1);
}

static void putNumber(struct Bytes* out, int64_t number) {
  put(out, &number, sizeof number);
}

static void putString(struct Bytes* out, const char* data, size_t size) {
  putNumber(out, (int64_t)size);
  put(out, data, size);
}

static void putKey(struct Bytes* out, const char* key) {
  putString(out, key, strlen(key));
}

void putValidate(struct Bytes* out) {
  putOp(out, kValidate);
  put(out, &magic, sizeof magic);
}

void putPing(struct Bytes* out) {
  putOp(out, kPing);
  put(out, &nonce, sizeof nonce);
}

void putSet(struct Bytes* out, const char* key, const char* value, size_t valueBytes) {
  putOp(out, kSet);
  putKey(out, key);
  putString(out, value, valueBytes);
}

void putGet(struct Bytes* out, const char* key) {
  putOp(out, kGet);
  putKey(out, key);
}

void putAdd(struct Bytes* out, const char* key, int64_t delta) {
  putOp(out, kAdd);
  putKey(out, key);
  putNumber(out, delta);
}

void putCheck(struct Bytes* out, const char* key) {
  putOp(out, kCheck);
  putNumber(out, 1);
  putKey(out, key);
}

void putWait(struct Bytes* out, const char* key) {
  putOp(out, kWait);
  putNumber(out, 1);
  putKey(out, key);
}

void putCountKeys(struct Bytes* out) {
  putOp(out, kCountKeys);
}

static size_t headBytes(enum Shape shape) {
  return shape == kStatus || shape == kAbsent ? 1 : shape == kNonce ? sizeof nonce : 8;
}

static void checkHead(struct Reader* reader) {
  if (dialect == kEcho) {
    reader->body = reader->left.shape == kValue ? reader->left.valueBytes : 0;
    return;
  }
  uint32_t word;
  memcpy(&word, reader->head, sizeof word);
  switch (reader->left.shape) {
    case kStatus:
      if (reader->head[0] != 0) fail("status %d", reader->head[0]);
      break;
    case kAbsent:
      if (reader->head[0] != 1) fail("status %d of an absent key", reader->head[0]);
      break;
    case kNonce:
      if (word != nonce) fail("PING answered by %x", word);
      break;
    case kNumber:
      memcpy(&reader->number, reader->head, sizeof reader->number);
      break;
    case kValue:
      memcpy(&reader->body, reader->head, sizeof reader->body);
      if (reader->body != reader->left.valueBytes)
        fail("a value of %llu bytes, expected %llu", (unsigned long long)reader->body,
             (unsigned long long)reader->left.valueBytes);
  }
}

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

size_t readReply(struct Reader* reader, const char* data, size_t size) {
  if (reader->left.count == 0) fail("%zu bytes that nobody asked for", size);
  const size_t head = headBytes(reader->left.shape);
  size_t taken = 0;
  if (reader->headBytes < head) {
    taken = least(head - reader->headBytes, size);
    memcpy(reader->head + reader->headBytes, data, taken);
    reader->headBytes += (uint32_t)taken;
    if (reader->headBytes < head) return taken;
    checkHead(reader);
  }
  const size_t body = least(reader->body, size - taken);
  reader->body -= body;
  if (reader->body == 0) {
    reader->headBytes = 0;
    reader->left.count--;
  }
  return taken + body;
}

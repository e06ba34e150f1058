// What ranks say to the store in init_process_group("gloo"), as 4 ranks of 2.13.0 and of 1.13 said
// it through a proxy that kept a record. Gloo's addresses are of 154 + 8N bytes and of 136(N - 1)
// bytes, as seen at N = 2, 4 and 8.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum What { kSet, kGet, kWait, kAdd, kPoll };
/// Whom a block is about; it's said once for each, in rank order.
enum Peers { kNone, kEarlier, kOthers, kAll, kIfFirst, kIfNotFirst };

struct Line {
  enum What what;
  const char* key;     // `%u` is the rank that it's about; this one's, where the block has no peers
  uint32_t bytes;      // of the value
  uint32_t bytesEach;  // and for each other rank
};
struct Block {
  enum Peers peers;
  struct Line lines[4];
};

static const struct Block blocks213[] = {
    {kNone, {{kAdd, "init/"}}},
    {kNone, {{kSet, "/default_pg/0//cpu//0/%u", 162, 8}}},
    {kAll,
     {{kWait, "/default_pg/0//cpu//0/%u"},
      {kWait, "/default_pg/0//cpu//0/%u"},
      {kGet, "/default_pg/0//cpu//0/%u", 162, 8}}},
};

#define GROUP "//worker/attempt_0/default_pg/"
static const struct Block blocks113[] = {
    {kNone, {{kAdd, "init/"}}},
    {kNone, {{kSet, GROUP "0/0/rank_%u", 2}}},  // the host's name
    {kEarlier, {{kWait, GROUP "0/0/rank_%u"}, {kGet, GROUP "0/0/rank_%u", 2}}},
    {kNone, {{kSet, GROUP "0/0/%u", 0, 136}}},
    {kOthers, {{kWait, GROUP "0/0/%u"}, {kWait, GROUP "0/0/%u"}, {kGet, GROUP "0/0/%u", 0, 136}}},
    {kNone,
     {{kAdd, GROUP "store_based_barrier_key:1"}, {kPoll, GROUP "store_based_barrier_key:1"}}},
    {kIfFirst, {{kSet, GROUP "0/SEQ_NUM_STORE_KEY", 8}}},
    {kIfNotFirst,
     {{kWait, GROUP "0/SEQ_NUM_STORE_KEY"},
      {kWait, GROUP "0/SEQ_NUM_STORE_KEY"},
      {kGet, GROUP "0/SEQ_NUM_STORE_KEY", 8}}},
};
#undef GROUP

static const struct Block* blocks;
static uint32_t blockCount;
static char* value;
static uint32_t left;

/// Where a rank is in its conversation.
static struct Place {
  bool greeted, rested;
  uint32_t block, peer, line;
} * places;

/// Whether the block is about `peer`, for `rank`.
static bool concerns(enum Peers peers, uint32_t peer, uint32_t rank) {
  switch (peers) {
    case kNone:
      return peer == rank;
    case kEarlier:
      return peer < rank;
    case kOthers:
      return peer != rank;
    case kAll:
      return true;
    case kIfFirst:
      return peer == 0 && rank == 0;
    case kIfNotFirst:
      return peer == 0 && rank > 0;
  }
  return false;
}

/// The line that's due, past those that concern others. NULL: all is said.
static const struct Line* due(struct Place* place, uint32_t rank) {
  for (; place->block < blockCount; place->block++, place->peer = 0) {
    const struct Block* block = &blocks[place->block];
    for (; place->peer < options.clients; place->peer++, place->line = 0) {
      if (!concerns(block->peers, place->peer, rank)) continue;
      if (place->line < 4 && block->lines[place->line].key) return &block->lines[place->line];
    }
  }
  return NULL;
}

static uint64_t bytesOf(const struct Line* line) {
  return line->bytes + (uint64_t)line->bytesEach * (options.clients - 1);
}

static void ask(struct Client* client, const struct Line* line, const char* key) {
  struct Replies replies = {kStatus, 1, bytesOf(line)};
  if (line->what == kWait) {
    putWait(&out, key);
  } else if (line->what == kGet) {
    putGet(&out, key);
    replies.shape = kValue;
  } else {
    putAdd(&out, key, 1);
    replies.shape = kNumber;
  }
  sendRequest(client, replies);
}

static void onTurn(struct Client* client) {
  struct Place* place = &places[client->id];
  if (!place->greeted) {
    place->greeted = true;
    if (sendHello(client)) return;
  }
  for (const struct Line* line; (line = due(place, client->id)) != NULL;) {
    char key[kKeyBytes];
    snprintf(key, sizeof key, line->key, place->peer);
    if (line->what == kPoll && client->reader.number < options.clients) {
      // It looks again every 10 ms, until all have come.
      place->rested = !place->rested;
      if (place->rested) return callLater(client);
      putAdd(&out, key, 0);
      countRequests(1);
      return sendRequest(client, (struct Replies){kNumber, 1, 0});
    }
    place->line++;
    if (line->what == kPoll) continue;
    countRequests(1);
    if (line->what == kSet) {
      putSet(&out, key, value, bytesOf(line));
      sendSilent(client);
      continue;
    }
    return ask(client, line, key);
  }
  if (--left == 0) stopLoop();
}

void runReplay(void) {
  blocks = dialect == kDialectA ? blocks113 : blocks213;
  blockCount = dialect == kDialectA ? sizeof blocks113 / sizeof *blocks113
                                    : sizeof blocks213 / sizeof *blocks213;
  left = options.clients;
  places = calloc(options.clients, sizeof *places);
  value = calloc(1, 136 * (size_t)options.clients + 1024);
  makeClients(0, options.clients);
  onReply = onTurn;
  begin();
  for (uint32_t i = 0; i < clientCount; i++) connectClient(&clients[i]);
  runLoop();
  report();
  closeClients();
}

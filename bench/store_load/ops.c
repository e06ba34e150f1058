// Operations, each client's next once its last is answered.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum { kAtOnce = 256 };

static uint32_t idle = 0;
static int64_t until;
static char* value;

/// One round trip, `depth` requests deep. @return its replies
static struct Replies putGets(const char* key) {
  for (uint32_t i = 0; i < options.depth; i++) putGet(&out, key);
  return (struct Replies){kValue, options.depth, options.value};
}

static struct Replies putWaits(const char* key) {
  for (uint32_t i = 0; i < options.depth; i++) putWait(&out, key);
  return (struct Replies){kStatus, options.depth, 0};
}

/// SET has no answer, so its end is what CHECK tells.
static struct Replies putSets(const char* key) {
  for (uint32_t i = 0; i < options.depth; i++) {
    putSet(&out, key, value, options.value);
    putCheck(&out, key);
  }
  return (struct Replies){kStatus, options.depth, 0};
}

static struct Replies putAdds(const char* key) {
  for (uint32_t i = 0; i < options.depth; i++) putAdd(&out, key, 1);
  return (struct Replies){kNumber, options.depth, 0};
}

/// Of a key that nobody sets, as clients poll for one.
static struct Replies putChecks(const char* key) {
  (void)key;
  for (uint32_t i = 0; i < options.depth; i++) putCheck(&out, "/absent");
  return (struct Replies){kAbsent, options.depth, 0};
}

/// ADD of 0: how 1.13's barrier asks whether all are there.
static struct Replies putPolls(const char* key) {
  for (uint32_t i = 0; i < options.depth; i++) putAdd(&out, key, 0);
  return (struct Replies){kNumber, options.depth, 0};
}

/// An operation is the round trips of a row; torch's client gets in two.
static const struct Operation {
  const char* name;
  struct Replies (*trips[4])(const char* key);
} known[] = {
    {"get", {putWaits, putGets}},
    {"set", {putSets}},
    {"add", {putAdds}},
    {"read", {putGets}},
    {"check", {putChecks}},
    {"poll", {putPolls}},
    {"mix", {putWaits, putGets, putSets, putAdds}},
};
static const struct Operation* operation = NULL;

static void askNext(struct Client* client, int64_t at) {
  if (client->step == 0) client->since = at;
  struct Replies (*const trip)(const char*) = operation->trips[client->step++];
  char key[kKeyBytes];
  snprintf(key, sizeof key, trip == putAdds ? "/count/%08u" : "/bench/%08u", client->id);
  if (trip == putPolls) snprintf(key, sizeof key, "/count/all");
  sendRequest(client, trip(key));
}

static void onAnswer(struct Client* client) {
  const int64_t at = now();
  countRequests(options.depth);
  if (client->step < 4 && operation->trips[client->step]) return askNext(client, at);
  client->step = 0;
  record(at - client->since);
  if (at < until) return askNext(client, at);
  if (++idle == clientCount) stopLoop();
}

static void onKeySet(struct Client* client) {
  (void)client;
  if (++idle == clientCount) stopLoop();
}

void runOps(void) {
  value = calloc(1, options.value);
  makeClients(0, options.clients);
  gather(kAtOnce, false);

  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(known[i].name, options.op)) operation = &known[i];
  if (!operation) fail("op=%s?", options.op);

  if (dialect != kEcho) {
    onReply = onKeySet;
    for (uint32_t i = 0; i < clientCount; i++) {
      char key[kKeyBytes];
      snprintf(key, sizeof key, "/bench/%08u", clients[i].id);
      putSet(&out, key, value, options.value);
      putCheck(&out, key);
      sendRequest(&clients[i], (struct Replies){kStatus, 1, 0});
    }
    runLoop();
    idle = 0;
  }

  onReply = onAnswer;
  begin();
  until = began + options.ms * 1000000LL;
  for (uint32_t i = 0; i < clientCount; i++) askNext(&clients[i], now());
  runLoop();
  report();
  closeClients();
}

// Clients that connect: one after the other, or at once and until all have met.
#include <stdio.h>
#include <unistd.h>

#include "load.h"

void runConnect(void) {
  makeClients(0, options.clients);
  begin();
  for (uint32_t i = 0; i < clientCount; i++) {
    const int64_t at = now();
    connectAlone(&clients[i]);
    putAdd(&out, "init/", 1);
    sendRequest(&clients[i], (struct Replies){kNumber, 1, 0});
    awaitReply(&clients[i]);
    record(now() - at);
  }
  report();
  closeClients();
}

// ---- meet --------------------------------------------------------------------------------------

uint32_t meetingSize = 0;
static uint32_t met = 0;

/// As a worker with a world size comes, and torch's store-based barrier: BARRIER is too new
/// for 1.13.
static void onMeeting(struct Client* client) {
  enum { kConnected, kHello, kInit, kCount, kWaits };
  char key[kKeyBytes];
  switch (client->step) {
    case kConnected:
      client->step = kHello;
      if (sendHello(client)) return;
      // fall through
    case kHello:
      client->step = kInit;
      putAdd(&out, "init/", 1);
      return sendRequest(client, (struct Replies){kNumber, 1, 0});
    case kInit:
      client->step = kCount;
      snprintf(key, sizeof key, "/barrier/%08u", options.round);
      putAdd(&out, key, 1);
      return sendRequest(client, (struct Replies){kNumber, 1, 0});
    case kCount:
      client->step = kWaits;
      snprintf(key, sizeof key, "/barrier/%08u:last_worker", options.round);
      if (client->reader.number == meetingSize) {
        putSet(&out, key, "1", 1);
        sendSilent(client);
      }
      putWait(&out, key);
      return sendRequest(client, (struct Replies){kStatus, 1, 0});
  }
  if (++met == clientCount) stopLoop();
}

void meet(struct Shared* shared) {
  onReply = onMeeting;
  shared->ready++;
  while (!shared->go) usleep(100);
  for (uint32_t i = 0; i < clientCount; i++) connectClient(&clients[i]);
  runLoop();
}

void runMeet(void) {
  meetingSize = options.clients;
  struct Shared* all = spread(0, options.clients, meet);
  begin();
  all->go = true;
  awaitDone(all);
  for (uint32_t i = 0; i < all->done; i++)
    if (all->ends[i] > ended) ended = all->ends[i];
  countRequests(options.clients);
  report();
  join(all);
}

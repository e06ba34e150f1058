// From a SET until the clients that wait for its key have been told.
#include <stdio.h>
#include <unistd.h>

#include "load.h"

enum { kAtOnce = 256 };

static uint32_t told = 0;
static int64_t setAt;

static void onTold(struct Client* client) {
  (void)client;
  record(now() - setAt);
  if (++told == clientCount) stopLoop();
}

void runWake(void) {
  makeClients(0, options.clients);
  struct Client setter = {.id = options.clients};
  gather(kAtOnce, false);
  connectAlone(&setter);

  onReply = onTold;
  char key[kKeyBytes];
  begin();
  for (uint32_t round = 0; now() - began < options.ms * 1000000LL; round++) {
    snprintf(key, sizeof key, "/wake/%u/%u/%u", options.clients, options.round, round);
    told = 0;
    for (uint32_t i = 0; i < clientCount; i++) {
      putWait(&out, key);
      sendRequest(&clients[i], (struct Replies){kStatus, 1, 0});
    }
    // Nothing answers a WAIT that's heard. What was sent before this is likely served before it,
    // and the pause makes it certain enough: a server with a queue of waiting clients sleeps by
    // then.
    putAdd(&out, "/wake/rounds", 1);
    sendRequest(&setter, (struct Replies){kNumber, 1, 0});
    awaitReply(&setter);
    usleep(200 + 2 * clientCount);

    putSet(&out, key, "1", 1);
    setAt = now();
    sendSilent(&setter);
    runLoop();
  }
  report();
  close(setter.fd);
  closeClients();
}

// What a server is given to keep: clients that are connected, and keys.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "load.h"

enum { kAtOnce = 256, kBatch = 64 };

void runIdle(void) {
  makeClients(0, options.clients);
  begin();
  gather(kAtOnce, true);
  countRequests(options.clients);
  report();
  closeClients();
}

void runFill(void) {
  struct Client client = {0};
  char* value = calloc(1, options.value);
  char key[kKeyBytes];
  connectAlone(&client);
  begin();
  for (uint32_t i = 0; i < options.keys; i++) {
    snprintf(key, sizeof key, "/default_pg/0//cpu//0/%08u", i);
    putSet(&out, key, value, options.value);
    if (i % kBatch && i + 1 < options.keys) continue;
    // So that no more than a batch is on its way.
    putCheck(&out, key);
    sendRequest(&client, (struct Replies){kStatus, 1, 0});
    awaitReply(&client);
  }
  putCountKeys(&out);
  sendRequest(&client, (struct Replies){kNumber, 1, 0});
  awaitReply(&client);
  if (client.reader.number < options.keys) fail("%lld keys", (long long)client.reader.number);
  countRequests(options.keys);
  report();
  close(client.fd);
}

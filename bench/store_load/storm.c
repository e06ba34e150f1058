// A quiet client's gets, while all others storm: they come all at once and meet, or they're there
// and ask as fast as they're answered.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "load.h"

enum { kAtOnce = 256 };

static struct Shared* shared;
static uint32_t idle = 0;
static const char key[] = "/storm/key";

static void ask(struct Client* client) {
  putGet(&out, key);
  sendRequest(client, (struct Replies){kValue, 1, options.value});
}

static void onAnswer(struct Client* client) {
  if (!shared->stop) return ask(client);
  if (++idle == clientCount) stopLoop();
}

static void storm(struct Shared* all) {
  shared = all;
  gather(kAtOnce, false);
  shared->ready++;
  while (!shared->go) usleep(100);
  onReply = onAnswer;
  for (uint32_t i = 0; i < clientCount; i++) ask(&clients[i]);
  runLoop();
}

static void get(struct Client* client) {
  putWait(&out, key);
  sendRequest(client, (struct Replies){kStatus, 1, 0});
  awaitReply(client);
  putGet(&out, key);
  sendRequest(client, (struct Replies){kValue, 1, options.value});
  awaitReply(client);
}

void runStorm(void) {
  struct Client quiet = {0};
  char* value = calloc(1, options.value);
  connectAlone(&quiet);
  putSet(&out, key, value, options.value);
  sendSilent(&quiet);
  get(&quiet);

  const bool comes = options.op[0] == 'm';
  meetingSize = options.clients - 1;
  struct Shared* all = spread(1, options.clients - 1, comes ? meet : storm);
  begin();
  all->go = true;
  while (comes ? all->done < all->ready : now() - began < options.ms * 1000000LL) {
    usleep(500 + (useconds_t)(random() % 1000));
    const int64_t at = now();
    get(&quiet);
    record(now() - at);
  }
  ended = now();
  all->stop = true;
  awaitDone(all);
  report();
  join(all);
  close(quiet.fd);
}

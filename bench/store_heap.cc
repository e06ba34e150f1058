// Our store without Node, for what its heap holds: `heap BYTES` for each line at stdin, whose end
// ends it.
#include <malloc.h>
#include <stdio.h>

#include "core/store/server.h"

int main() {
  using namespace regroup::store;
  auto server = StoreServer::create(ServerOptions{});
  if (!server) return 1;
  const std::string hosts[] = {"127.0.0.1"};
  auto table = (*server)->openTable(hosts, 0);
  if (!table) return 1;
  ::printf("ready 127.0.0.1:%d\n", table->port);
  ::fflush(stdout);

  for (int byte; (byte = ::getchar()) != EOF;) {
    if (byte != '\n') continue;
    const struct mallinfo2 info = ::mallinfo2();  // of all arenas
    ::printf("heap %zu\n", info.uordblks + info.hblkhd);
    ::fflush(stdout);
  }
  return 0;
}

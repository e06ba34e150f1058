// Serves one table until stdin closes: `store_main [port]`. Says `ready HOST:PORT` once it listens.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/store/server.h"

int main(int argc, char** argv) {
  using namespace regroup::store;
  ServerOptions options;
  options.onLog = [](std::string_view line) {
    ::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  };
  auto server = StoreServer::create(std::move(options));
  if (!server) return 1;
  const std::string hosts[] = {"::"};
  auto table = (*server)->openTable(hosts, static_cast<uint16_t>(argc > 1 ? ::atoi(argv[1]) : 0));
  if (!table) {
    ::fprintf(stderr, "%s: errno %d\n", table.error().op, table.error().code);
    return 1;
  }
  ::printf("ready 127.0.0.1:%d\n", table->port);
  ::fflush(stdout);

  char byte;
  while (::read(0, &byte, 1) > 0) {
  }
  const TableStats stats = (*server)->stats(table->table);
  ::printf("clients=%lu keys=%lu accepted=%lu faults=%lu in=%lu out=%lu\n", stats.clients,
           stats.keys, stats.accepted, stats.faults, stats.bytesIn, stats.bytesOut);
  for (size_t op = 0; op < kOpCount; op++) {
    if (stats.requests[op] > 0)
      ::printf("%s=%lu ", nameOf(static_cast<Op>(op)), stats.requests[op]);
  }
  ::printf("\n");
  return 0;
}

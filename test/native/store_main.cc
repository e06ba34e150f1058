// Serves one table, and coordination beside it, until stdin closes: `store_main [port [bytes of
// changes that are kept [token]]]`. Says `ready HOST:PORT @NAME` once it
// listens; the name is that of its socket for shared memory. Each line at stdin is a command, and
// is answered by a line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memory>

#include "core/coordination/service.h"
#include "core/store/server.h"

namespace {

using namespace regroup::store;

void printStats(StoreServer& server, uint32_t table) {
  const TableStats stats = server.stats(table);
  ::printf(
      "clients=%lu lanes=%lu keys=%lu waiters=%lu accepted=%lu refused=%lu faults=%lu in=%lu "
      "out=%lu",
      stats.clients, stats.lanes, stats.keys, stats.waiters, stats.accepted, stats.refused,
      stats.faults, stats.bytesIn, stats.bytesOut);
  for (size_t op = 0; op < kOpCount; op++) {
    if (stats.requests[op] > 0)
      ::printf(" %s=%lu", nameOf(static_cast<Op>(op)), stats.requests[op]);
  }
  ::printf("\n");
}

void printSlots(StoreServer& server, uint32_t table) {
  ::printf("slots");
  for (const SlotView& slot : server.slots(table))
    ::printf(" rank=%u,beats=%lu,step=%lu,phase=%u", slot.rank, slot.beats, slot.step, slot.phase);
  ::printf("\n");
}

void obey(StoreServer& server, uint32_t table, const char* line) {
  unsigned notice = 0;
  if (::strcmp(line, "stats\n") == 0) return printStats(server, table);
  if (::strcmp(line, "slots\n") == 0) return printSlots(server, table);
  if (::strcmp(line, "reset\n") == 0)
    server.resetTable(table);
  else if (::sscanf(line, "notice %u", &notice) == 1)
    server.setNotice(table, notice);
  else
    ::printf("not ");
  ::printf("done\n");
}

}  // namespace

int main(int argc, char** argv) {
  ServerOptions options;
  options.sharedMemory.offered = true;
  options.onLog = [](std::string_view line) {
    ::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  };
  regroup::coordination::Service::Options coordination;
  if (argc > 2) coordination.limits.historyBytes = static_cast<size_t>(::atoll(argv[2]));
  if (argc > 3) coordination.token = argv[3];
  options.protocols.push_back(regroup::coordination::serviceFactory(coordination));
  auto server = StoreServer::create(std::move(options));
  if (!server) return 1;
  const std::string hosts[] = {"::"};
  auto table = (*server)->openTable(hosts, static_cast<uint16_t>(argc > 1 ? ::atoi(argv[1]) : 0));
  if (!table) {
    ::fprintf(stderr, "%s: errno %d\n", table.error().op, table.error().code);
    return 1;
  }
  ::setvbuf(stdout, nullptr, _IOLBF, 0);
  ::printf("ready 127.0.0.1:%d %s\n", table->port, table->local.c_str());

  char line[64];
  while (::fgets(line, sizeof line, stdin)) obey(**server, table->table, line);
  printStats(**server, table->table);
  return 0;
}

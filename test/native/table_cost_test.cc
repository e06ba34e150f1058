#include <stdlib.h>

#include <new>

#include "core/store/table.h"
#include "test/native/tap.h"

using namespace regroup::store;

namespace {

size_t allocations = 0;

}  // namespace

void* operator new(size_t size) {
  allocations++;
  void* const memory = ::malloc(size);
  if (memory == nullptr) ::abort();
  return memory;
}
void operator delete(void* memory) noexcept {
  ::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  ::free(memory);
}

TEST("T-100 a WAIT for present keys and their GET allocate nothing beside the reply") {
  TableCounts counts;
  Table table({}, counts);
  Table::Client client;
  const auto apply = [&](const Request& request, Reply& reply) {
    return std::holds_alternative<Table::Done>(table.apply(client, request, reply));
  };
  Reply reply;
  reply.append(std::string(4096, 'x'));  // as a reply before it has left it
  reply.clear();
  const std::string value(1000, 'v');
  std::string keys;
  for (const char* key : {"//worker/the-first-of-two-keys", "//worker/the-second-of-two-keys"}) {
    appendString(keys, key);
    CHECK(apply({.op = Op::Set, .key = key, .value = value}, reply));
  }

  const size_t before = allocations;
  CHECK(apply({.op = Op::Wait, .list = {keys, 2}}, reply));
  for (const std::string_view key : Strings(keys, 2))
    CHECK(apply({.op = Op::Get, .key = key}, reply));
  const size_t made = allocations - before;

  CHECK_EQ(made, 0u);
  CHECK_EQ(reply.size(), 1 + 2 * (8 + value.size()));
}

TAP_MAIN

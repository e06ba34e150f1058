// T-086: TCPStore's parser and table, as the server puts them together. The first byte chooses what
// headerless connections are, the second how the bytes are cut; the rest is what clients send.
#include <stdlib.h>

#include <memory>
#include <string>
#include <utility>

#include "core/store/tcpstore.h"

using namespace regroup::store;

namespace {

void expect(bool truth) {
  if (!truth) ::abort();
}

/// Small, so that the fuzzer finds them.
const TcpStore::Options kOptions{
    .limits = {.keyBytes = 64, .valueBytes = 256, .listKeys = 32, .requestBytes = 1024}};
constexpr TableLimits kTableLimits{.bytes = 16 << 10, .keys = 40, .replyBytes = 4 << 10};

/// A connection without a socket: keeps what isn't consumed, as the server's do.
class Client final : public Peer {
 public:
  explicit Client(TcpStore& store) : session_(store.open(*this)) {}

  void send(std::string_view bytes) override { received += bytes; }
  void close() override {}

  void feed(std::string_view bytes, size_t requestsPerTurn) {
    if (closed) return;
    unserved_ += bytes;
    for (bool more = true; more;) {
      // In a block of its own, so that a look past its end is seen.
      const auto input = std::make_unique<char[]>(unserved_.size());
      unserved_.copy(input.get(), unserved_.size());
      Reply reply;
      const Session::Turn turn{requestsPerTurn, 1 << 10, std::chrono::hours(1)};
      const auto progress = session_->onInput({input.get(), unserved_.size()}, turn, reply);
      received += reply.flat();
      expect(progress.consumed <= unserved_.size());
      unserved_.erase(0, progress.consumed);
      if (progress.fault) {
        received += "closed: " + *progress.fault;
        closed = true;
        session_.reset();
        return;
      }
      more = !progress.hungry && !unserved_.empty();
    }
  }

  std::string received;
  bool closed = false;

 private:
  std::unique_ptr<Session> session_;
  std::string unserved_;
};

/// All to one client, in pieces of 1 to `piece` bytes.
std::string converse(Headerless headerless, std::string_view input, size_t piece,
                     size_t requestsPerTurn) {
  TableCounts tableCounts;
  Table table(kTableLimits, tableCounts, {1, 2});
  TcpStore::Options options = kOptions;
  options.headerless = headerless;
  ClientCounts counts;
  TcpStore store(table, options, counts);
  Client client(store);
  std::string hello;
  appendHello(hello, Dialect::D);
  const bool saysHello = input.starts_with(hello);
  size_t next = 1;
  while (!input.empty()) {
    const size_t size = std::min(input.size(), next);
    client.feed(input.substr(0, size), requestsPerTurn);
    input.remove_prefix(size);
    next = next >= piece ? 1 : next + 1;
    if (piece > 64) next = piece;
  }
  if (headerless == Headerless::Refused && !saysHello) expect(table.keys() == 0);
  return std::move(client.received);
}

/// Each piece to one of three clients, told by its first byte; they come and go.
void gather(Headerless headerless, std::string_view input) {
  TableCounts tableCounts;
  Table table(kTableLimits, tableCounts, {1, 2});
  TcpStore::Options options = kOptions;
  options.headerless = headerless;
  {
    ClientCounts counts;
    TcpStore store(table, options, counts);
    std::unique_ptr<Client> clients[3];
    while (!input.empty()) {
      const auto head = static_cast<uint8_t>(input[0]);
      input.remove_prefix(1);
      auto& client = clients[head % 3];
      if (!client || client->closed) {
        client.reset();
        client = std::make_unique<Client>(store);
      }
      const size_t size = std::min<size_t>(input.size(), head / 3);
      client->feed(input.substr(0, size), SIZE_MAX);
      input.remove_prefix(size);
      if (head >= 252) client.reset();
      expect(table.bytes() <= kTableLimits.bytes);
    }
  }
  expect(table.waiters() == 0);

  // What's counted is what's there.
  Table::Client last;
  const auto ask = [&](const Request& request) {
    Reply reply;
    while (std::holds_alternative<Table::More>(table.apply(last, request, reply))) continue;
    return reply.flat();
  };
  const std::string reply = ask({.op = Op::ListKeys});
  int64_t keys;
  std::memcpy(&keys, reply.data(), sizeof keys);
  expect(static_cast<uint64_t>(keys) == table.keys());
  const Strings list(std::string_view(reply).substr(8), static_cast<uint64_t>(keys));
  for (const std::string_view key : list) expect(ask({.op = Op::DeleteKey, .key = key})[0] == 1);
  expect(table.keys() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto headerless = static_cast<Headerless>(data[0] % 4);
  const std::string_view input(reinterpret_cast<const char*>(data) + 2, size - 2);

  const std::string whole = converse(headerless, input, SIZE_MAX, SIZE_MAX);
  expect(whole == converse(headerless, input, 1 + data[1] % 32, SIZE_MAX));
  expect(whole == converse(headerless, input, SIZE_MAX, 1));
  gather(headerless, input);
  return 0;
}

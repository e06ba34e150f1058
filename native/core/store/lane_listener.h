#pragma once

#include <string>

#include "core/store/listener.h"

namespace regroup::store {

struct LocalSocket {
  Fd fd;
  std::string name;  // `@…`: in the abstract namespace, which has no files
};
/// Listens at a name that nobody can guess.
Result<LocalSocket> listenLocally();

/// Gives lanes, and the table's segment, to processes of the same user.
///
/// Owner: Served. Thread: store.
class LaneListener final : public Listener {
 public:
  using Listener::Listener;

 private:
  void take(Fd fd, const SocketAddress& address, bool isEarly) override;
};

}  // namespace regroup::store

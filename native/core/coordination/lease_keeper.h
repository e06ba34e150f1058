#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/base/fd.h"
#include "core/base/last_notice.h"
#include "core/base/result.h"
#include "core/base/thread.h"
#include "core/coordination/lease_step.h"

namespace regroup::coordination {

/// Keeps a lease at our server, on a thread and a connection of its own, so that it's renewed
/// however busy the rest of the process is. lease_step.h decides; this does it.
///
/// Thread: any.
class LeaseKeeper {
 public:
  enum class Event : uint8_t {
    Lost,     // the server knows of no such lease
    Stalled,  // nobody has beaten in time
    Moved,    // another server has taken its place, and the fence hasn't passed
    Gone,     // nobody has taken its place in time
  };
  struct Options {
    std::string host;  // numeric
    uint16_t port = 0;
    LeaseStep::Options lease;  // `server` is set by this
    /// With the end of the lease, as far as it's known, less the margin. Thread: the keeper's, as
    /// for the next one.
    std::function<void(BootTime)> onFence;
    /// At most once; nothing is renewed from then on.
    std::function<void(Event)> onEvent;
  };
  enum class Farewell : uint8_t {
    Goodbye,  // the lease has the rest of its time
    None,     // the server ends it soon
  };

  /// @returns EINVAL where the host isn't numeric
  static Result<std::unique_ptr<LeaseKeeper>> start(Options options);
  ~LeaseKeeper();

  /// What ends the lease at once, to be told for us should we be killed.
  LastNotice lastNotice() const;
  /// Whoever is to be there still is.
  void beat();
  /// Ends the thread, which waits for nobody. Idempotent.
  void close(Farewell farewell);

 private:
  struct Shared;
  LeaseKeeper(std::shared_ptr<Shared> shared, Thread thread);

  const std::shared_ptr<Shared> shared_;
  Thread thread_;
};

}  // namespace regroup::coordination

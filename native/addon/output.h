#pragma once

#include <napi.h>

#include <memory>
#include <mutex>

#include "core/output/pump.h"

namespace regroup {

/// The output thread of one environment, shared by its supervisors and its own words: so lines are
/// whole on a console, whoever they are of. It's started when somebody needs it, and ends with the
/// last one who does.
///
/// Thread: any.
class SharedPump {
 public:
  Result<std::shared_ptr<Pump>> need();
  /// Null: nobody needs it by now.
  std::shared_ptr<Pump> running();

 private:
  std::mutex mutex_;
  std::weak_ptr<Pump> pump_;  // guarded by mutex_
};

/// Adds openConsole to the addon's exports.
void initOutput(Napi::Object exports, std::shared_ptr<SharedPump> pump);

}  // namespace regroup

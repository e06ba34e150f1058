#pragma once

#include <cstdint>

#include "core/base/result.h"

namespace regroup {

/// Seconds that clocks on the wall are ahead of UTC at that moment, as TZ or /etc/localtime say.
/// EOVERFLOW for a moment in a year that no int holds.
///
/// Thread: the one that may change the environment, since TZ is read anew.
Result<long> utcOffset(int64_t unixSeconds);

}  // namespace regroup

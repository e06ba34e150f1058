#include "core/base/local_time.h"

#include <errno.h>
#include <time.h>

namespace regroup {

Result<long> utcOffset(int64_t unixSeconds) {
  // localtime_r needn't do it.
  ::tzset();
  const time_t moment = unixSeconds;
  tm local{};
  if (::localtime_r(&moment, &local) == nullptr) return Error{"localtime_r", errno};
  return local.tm_gmtoff;
}

}  // namespace regroup

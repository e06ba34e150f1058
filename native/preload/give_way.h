#pragma once

namespace regroup {

/// Ends the calling thread without unwinding, as late as can be: when somebody joins it, or with
/// the process. Meanwhile it unlocks each mutex of its own that another thread comes to wait for,
/// as unwinding would have.
///
/// Where the kernel doesn't show what threads wait for, it ends at once, and what it holds stays
/// locked.
///
/// Thread: any but the first.
[[noreturn]] void giveWayAndEnd();

/// Ends the calling thread at once. Joiners are told by the kernel, as ever.
[[noreturn]] void endThread();

}  // namespace regroup

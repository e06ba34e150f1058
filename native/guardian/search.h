#pragma once

namespace guardian {

/// Looks through /proc for whoever is left of the groups that cgroups don't hold, and kills them.
///
/// Looking at a process may wait for it without bound, so another process of ours does it: one that
/// doesn't get on is left behind, and the next one passes over whom it hangs at.
/// @returns whether anybody was left
bool killLeft();

/// The same, and kills nobody.
bool anyLeft();

/// Whether the last search could look at each process, so that whom it hasn't found isn't there.
bool sawAll();

}  // namespace guardian

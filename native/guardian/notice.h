#pragma once

#include <cstddef>
#include <cstdint>

/// What a server is told once nobody of any group is left, so that nobody waits for them in vain.
namespace guardian {

/// @param text the server's sockaddr and the message, as hexadecimal digits with a space between;
///   anything else: there's none
void setNotice(const char* text, size_t bytes);

/// Tells it, if there's any, and waits until the server closes; a second in all at most.
void giveNotice();

}  // namespace guardian

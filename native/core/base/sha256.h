#pragma once

#include <string>
#include <string_view>

namespace regroup {

/// SHA-256 of a text that lies in memory as a whole: 32 bytes.
/// @source NIST FIPS 180-4, §5.1.1, §5.3.3 and §6.2
std::string sha256(std::string_view bytes);

/// HMAC-SHA-256: 32 bytes that nobody can tell for other bytes who doesn't know the key.
/// @source RFC 2104, §2
std::string hmacSha256(std::string_view key, std::string_view bytes);

/// Takes as long wherever two texts of one length differ, so that nobody learns from it how much of
/// a guess is right.
bool isSameSecret(std::string_view one, std::string_view other);

}  // namespace regroup

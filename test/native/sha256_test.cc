#include "core/base/sha256.h"

#include <string>

#include "test/native/tap.h"

using namespace regroup;

namespace {

std::string hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string shown;
  for (const char byte : bytes) {
    shown += kDigits[static_cast<uint8_t>(byte) >> 4];
    shown += kDigits[static_cast<uint8_t>(byte) & 15];
  }
  return shown;
}

}  // namespace

TEST("SHA-256 gives what the standard gives") {
  // @source NIST CSRC, Cryptographic Standards and Guidelines, Examples with Intermediate Values,
  // SHA256.pdf; SHA256ShortMsg.rsp of the CAVP for no message; FIPS 180-2, B.3 for the long one
  CHECK_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQ(hex(sha256(std::string(1'000'000, 'a'))),
           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST("HMAC-SHA-256 gives what the standard gives") {
  // @source RFC 4231, §4.2 to §4.8, without the truncated one
  struct {
    std::string key;
    std::string data;
    const char* hash;
  } const cases[] = {
      {std::string(20, '\x0b'), "Hi There",
       "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {"Jefe", "what do ya want for nothing?",
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {std::string(20, '\xaa'), std::string(50, '\xdd'),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16"
       "\x17\x18\x19",
       std::string(50, '\xcd'), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {std::string(131, '\xaa'),
       "This is a test using a larger than block-size key and a larger than block-size data. The "
       "key needs to be hashed before being used by the HMAC algorithm.",
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const auto& each : cases) CHECK_EQ(hex(hmacSha256(each.key, each.data)), each.hash);
}

TEST("secrets are the same in all bytes or not at all") {
  CHECK(isSameSecret("", ""));
  CHECK(isSameSecret("secret", "secret"));
  CHECK(!isSameSecret("secret", "secreT"));
  CHECK(!isSameSecret("secret", "Secret"));
  CHECK(!isSameSecret("secret", "secre"));
  CHECK(!isSameSecret("", "s"));
  CHECK(!isSameSecret(std::string_view("\0", 1), std::string_view("\x80", 1)));
}

TAP_MAIN

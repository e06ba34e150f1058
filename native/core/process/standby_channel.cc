#include "core/process/standby_channel.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>
#include <vector>

namespace regroup {

namespace {

constexpr size_t kLengthBytes = 4;
/// More would be descriptors of whom nobody knows: three streams.
constexpr size_t kMaxFds = 3;

uint32_t lengthAt(std::string_view bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; i++)
    length |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 8 * i;
  return length;
}

/// Takes what stands behind its length off the front, once it's whole.
std::optional<std::string_view> takeText(std::string_view& bytes) {
  if (bytes.size() < kLengthBytes) return std::nullopt;
  const size_t length = lengthAt(bytes);
  if (bytes.size() - kLengthBytes < length) return std::nullopt;
  const std::string_view text = bytes.substr(kLengthBytes, length);
  bytes.remove_prefix(kLengthBytes + length);
  return text;
}

}  // namespace

std::string_view typeOfMessage(std::string_view message) {
  if (takeText(message) != "type") return {};
  return takeText(message).value_or(std::string_view());
}

Result<StandbyChannel::Made> StandbyChannel::make(Loop& loop, OnMessage onMessage) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return Error{"socketpair", errno};
  Made made{nullptr, Fd(ends[1])};
  made.ours.reset(new StandbyChannel(Fd(ends[0]), loop, std::move(onMessage)));
  auto watched = loop.add(ends[0], EPOLLIN, made.ours.get());
  if (!watched) {
    made.ours->isOver_ = true;
    return watched.error();
  }
  return made;
}

StandbyChannel::~StandbyChannel() {
  *alive_ = false;
  if (!isOver_) loop_.remove(socket_.get(), this);
}

Result<size_t> StandbyChannel::write(std::string_view bytes, std::span<const int> fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fds.size() > kMaxFds) return Error{"sendmsg", EINVAL};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    ::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  while (true) {
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno != EINTR) return Error{"sendmsg", errno};
  }
}

Result<void> StandbyChannel::send(std::string_view bytes, std::span<const int> fds) {
  if (isOver_) return Error{"sendmsg", EPIPE};
  if (!unsent_.empty()) {
    if (!fds.empty()) return Error{"sendmsg", EAGAIN};
    unsent_ += bytes;
    return {};
  }
  auto sent = write(bytes, fds);
  if (!sent) return sent.error();
  unsent_ = bytes.substr(*sent);
  if (unsent_.empty()) return {};
  return loop_.modify(socket_.get(), EPOLLIN | EPOLLOUT, this);
}

Result<void> StandbyChannel::flush() {
  if (unsent_.empty()) return {};
  auto sent = write(unsent_, {});
  if (!sent && sent.error().code == EAGAIN) return {};
  if (!sent) return sent.error();
  unsent_.erase(0, *sent);
  if (!unsent_.empty()) return {};
  return loop_.modify(socket_.get(), EPOLLIN, this);
}

/// @returns whether more may come
bool StandbyChannel::receive() {
  char bytes[16 * 1024];
  while (true) {
    const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0) {
      received_.append(bytes, static_cast<size_t>(got));
      if (received_.size() > kLengthBytes + kMaxMessageBytes) return false;
    } else if (got == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
}

void StandbyChannel::onReady(uint32_t) {
  const bool goesOn = receive();
  if (!flush() || !goesOn) {
    isOver_ = true;
    loop_.remove(socket_.get(), this);
  }
  handOut();
}

void StandbyChannel::drain() {
  if (!isOver_) onReady(0);
}

void StandbyChannel::handOut() {
  std::vector<std::string> messages;
  std::string_view rest = received_;
  bool isMalformed = false;
  while (rest.size() >= kLengthBytes) {
    isMalformed = lengthAt(rest) > kMaxMessageBytes;
    if (isMalformed) break;
    const auto message = takeText(rest);
    if (!message) break;
    messages.emplace_back(*message);
  }
  received_.erase(0, received_.size() - rest.size());
  if (isMalformed && !std::exchange(isOver_, true)) loop_.remove(socket_.get(), this);

  // Whoever is told may destroy us, and with us what tells them.
  const auto alive = alive_;
  const OnMessage tell = onMessage_;
  for (std::string& message : messages) {
    if (*alive) tell(std::move(message));
  }
  if (*alive && isOver_) tell(std::nullopt);
}

}  // namespace regroup

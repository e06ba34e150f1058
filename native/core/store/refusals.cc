#include "core/store/refusals.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/base/thread.h"
#include "core/store/proc_sockets.h"

namespace regroup::store {

namespace {

/// @source Linux, include/net/tcp_states.h
constexpr uint8_t kTcpClose = 7;

/// Whoever tries for so long isn't just a little early.
constexpr std::chrono::milliseconds kSuspect{1500};
/// Between two looks who it is. PyTorch's pauses are longer.
constexpr std::chrono::milliseconds kBetweenLooks{300};
constexpr int kLooks = 20;
constexpr size_t kAddresses = 64;
/// Some scan, or a machine with many such connections: it isn't ours to follow.
constexpr int kMessages = 10'000;
/// Jobs meet at their start.
constexpr std::chrono::minutes kWatchFor{10};

/// Lets pass what's about sockets of this user that had a peer.
Result<void> filterMessages(const Fd& socket) {
  constexpr uint32_t kMessage = sizeof(nlmsghdr);
  constexpr uint32_t kPeerPort =
      offsetof(inet_diag_msg, id) + offsetof(inet_diag_sockid, idiag_dport);
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kMessage + offsetof(inet_diag_msg, idiag_state)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kTcpClose, 0, 5),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kMessage + kPeerPort),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kMessage + offsetof(inet_diag_msg, idiag_uid)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(::geteuid()), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program{std::size(code), code};
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
    return Error{"setsockopt", errno};
  return {};
}

Result<Fd> openMessages() {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket) return Error{"socket", errno};
  if (auto filtered = filterMessages(socket); !filtered) return filtered.error();
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1u << (SKNLGRP_INET_TCP_DESTROY - 1) | 1u << (SKNLGRP_INET6_TCP_DESTROY - 1);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return Error{"bind", errno};
  return socket;
}

/// Whether an address is one of this machine's: then a socket can be bound to it.
bool isHere(SocketAddress address) {
  address.setPort(0);
  const Fd probe(::socket(address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return probe && ::bind(probe.get(), &address.any, address.size()) == 0;
}

}  // namespace

std::optional<GoneSocket> parseGoneSocket(std::string_view message) {
  nlmsghdr header;
  inet_diag_msg gone;
  if (message.size() < NLMSG_HDRLEN + sizeof gone) return std::nullopt;
  std::memcpy(&header, message.data(), sizeof header);
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || header.nlmsg_len > message.size())
    return std::nullopt;
  std::memcpy(&gone, message.data() + NLMSG_HDRLEN, sizeof gone);
  if (gone.idiag_state != kTcpClose || gone.id.idiag_dport == 0) return std::nullopt;

  GoneSocket found{};
  found.cookie = uint64_t{gone.id.idiag_cookie[1]} << 32 | gone.id.idiag_cookie[0];
  if (gone.idiag_family == AF_INET) {
    found.peer.v4.sin_family = AF_INET;
    found.peer.v4.sin_port = gone.id.idiag_dport;
    std::memcpy(&found.peer.v4.sin_addr, gone.id.idiag_dst, sizeof found.peer.v4.sin_addr);
  } else if (gone.idiag_family == AF_INET6) {
    found.peer.v6.sin6_family = AF_INET6;
    found.peer.v6.sin6_port = gone.id.idiag_dport;
    std::memcpy(&found.peer.v6.sin6_addr, gone.id.idiag_dst, sizeof found.peer.v6.sin6_addr);
  } else {
    return std::nullopt;
  }

  auto rest = message.substr(0, header.nlmsg_len).substr(NLMSG_HDRLEN + sizeof gone);
  nlattr attribute;
  while (rest.size() >= sizeof attribute) {
    std::memcpy(&attribute, rest.data(), sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > rest.size()) break;
    const auto value = rest.substr(NLA_HDRLEN, attribute.nla_len - NLA_HDRLEN);
    // Before Linux 4.2 it ends before what we ask.
    constexpr size_t kNeeded = offsetof(tcp_info, tcpi_segs_in) + sizeof(tcp_info::tcpi_segs_in);
    if (attribute.nla_type == INET_DIAG_INFO && value.size() >= kNeeded) {
      tcp_info info{};
      std::memcpy(&info, value.data(), kNeeded);
      found.wasRefused =
          info.tcpi_bytes_acked == 0 && info.tcpi_segs_in <= 1 && info.tcpi_segs_out > 0;
    }
    rest.remove_prefix(std::min<size_t>(NLA_ALIGN(attribute.nla_len), rest.size()));
  }
  return found;
}

RefusalTally::Verdict RefusalTally::note(const std::string& address, TimePoint at) {
  const auto found = addresses_.find(address);
  if (found == addresses_.end()) {
    if (addresses_.size() < kAddresses) addresses_.emplace(address, Address{at});
    return Verdict::Nothing;
  }
  Address& known = found->second;
  if (known.settled || at - known.first < kSuspect) return Verdict::Nothing;
  if (at - known.looked < kBetweenLooks) return Verdict::Suspect;
  known.looked = at;
  // Whoever it is, it's none of ours.
  if (++known.looks > kLooks) known.settled = true;
  return known.settled ? Verdict::Nothing : Verdict::Look;
}

void RefusalTally::putOff(const std::string& address) {
  const auto found = addresses_.find(address);
  if (found != addresses_.end()) found->second.looks--;
}

void RefusalTally::settle(const std::string& address) {
  const auto found = addresses_.find(address);
  if (found != addresses_.end()) found->second.settled = true;
}

/// What a look's thread still has when we're gone.
struct RefusalWatch::Mailbox {
  std::mutex watchMutex;
  RefusalWatch* watch;  // null: nobody's interested any more

  void deliver(const std::shared_ptr<Mailbox>& self, Owners owners) {
    const std::lock_guard lock(watchMutex);
    if (watch == nullptr) return;
    watch->loop_.post([self, owners = std::move(owners)]() mutable {
      // On the store's thread, which alone sets it to null.
      if (self->watch == nullptr) return;
      self->watch->looking_ = false;
      self->watch->owners_ = std::move(owners);
    });
  }
};

Result<std::unique_ptr<RefusalWatch>> RefusalWatch::create(Loop& loop, std::vector<pid_t> pids,
                                                           OnFound onFound) {
  if (auto told = probeCookies(); !told) return told.error();
  auto socket = openMessages();
  if (!socket) return socket.error();
  auto watch = std::unique_ptr<RefusalWatch>(
      new RefusalWatch(loop, *std::move(socket), std::move(pids), std::move(onFound)));
  if (auto added = loop.add(watch->socket_.get(), EPOLLIN, watch.get()); !added)
    return added.error();
  return watch;
}

RefusalWatch::RefusalWatch(Loop& loop, Fd socket, std::vector<pid_t> pids, OnFound onFound)
    : loop_(loop),
      socket_(std::move(socket)),
      pids_(std::move(pids)),
      onFound_(std::move(onFound)),
      mailbox_(std::make_shared<Mailbox>()) {
  mailbox_->watch = this;
  end_ = loop_.setTimer(loop_.now() + kWatchFor, [this] {
    end_ = 0;
    stop();
  });
}

RefusalWatch::~RefusalWatch() {
  stop();
  const std::lock_guard lock(mailbox_->watchMutex);
  mailbox_->watch = nullptr;
}

void RefusalWatch::stop() {
  loop_.cancelTimer(std::exchange(end_, 0));
  if (!socket_) return;
  loop_.remove(socket_.get(), this);
  socket_.reset();
}

void RefusalWatch::onReady(uint32_t) {
  for (int i = 0; i < 64; i++) {
    alignas(nlmsghdr) char buffer[2048];
    const ssize_t size = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    // ENOBUFS: some are lost, which come again.
    if (size < 0) return;
    if (++messages_ == kMessages) return stop();
    const auto gone = parseGoneSocket({buffer, static_cast<size_t>(size)});
    if (gone && gone->wasRefused) onRefused(*gone);
  }
}

void RefusalWatch::onRefused(const GoneSocket& gone) {
  const std::string address = PeerName(gone.peer).text();
  const auto verdict = tally_.note(address, loop_.now());
  if (verdict == RefusalTally::Verdict::Nothing) return;
  const auto owner = owners_.find(gone.cookie);
  if (owner == owners_.end() && verdict != RefusalTally::Verdict::Look) return;
  if (!isHere(gone.peer)) return tally_.settle(address);
  if (owner == owners_.end()) return looking_ ? tally_.putOff(address) : look();
  tally_.settle(address);
  onFound_(owner->second, address);
}

void RefusalWatch::look() {
  auto thread = Thread::start(
      [mailbox = mailbox_, pids = pids_] { mailbox->deliver(mailbox, findOwners(pids)); });
  if (!thread) return;
  looking_ = true;
  thread->leave();
}

}  // namespace regroup::store

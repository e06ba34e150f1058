// Preloaded into PyTorch's server: peers get no names, only numbers.
//
// Its libuv server asks for the name of each peer, on the thread that serves (socket.cpp of c10d,
// v2.13.0). What that takes is the machine's DNS server, which isn't what we measure.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>

int getnameinfo(const struct sockaddr* address, socklen_t size, char* host, socklen_t hostSize,
                char* service, socklen_t serviceSize, int flags) {
  static int (*real)(const struct sockaddr*, socklen_t, char*, socklen_t, char*, socklen_t, int);
  if (!real) *(void**)&real = dlsym(RTLD_NEXT, "getnameinfo");
  if (!real) abort();
  return real(address, size, host, hostSize, service, serviceSize, flags | NI_NUMERICHOST);
}

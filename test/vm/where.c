// Where a process runs and where its memory is, told by the kernel.
//
//   where NAME MIB         touches MIB, then prints a line: NAME, rank, CPUs, memory policy, pages by node
//   where hog MIB COMMAND  touches MIB and gives them back lazily, so that they are free for whoever insists; then
//                          runs COMMAND and ends with it
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { maxNodes = 64, pageBytes = 4096 };

static char* touch(size_t bytes) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) exit(3);
  // A huge page is put as one; what's asked here is where single pages go.
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  for (size_t at = 0; at < bytes; at += pageBytes) memory[at] = 1;
  return memory;
}

/// move_pages without a target tells where pages are.
static void countPages(char* memory, size_t bytes, long* byNode) {
  const size_t pages = bytes / pageBytes;
  void** addresses = malloc(pages * sizeof(void*));
  int* nodes = malloc(pages * sizeof(int));
  for (size_t i = 0; i < pages; i++) addresses[i] = memory + i * pageBytes;
  if (syscall(SYS_move_pages, 0, pages, addresses, NULL, nodes, 0) != 0) exit(4);
  for (size_t i = 0; i < pages; i++)
    if (nodes[i] >= 0 && nodes[i] < maxNodes) byNode[nodes[i]]++;
}

static void printCpus(void) {
  char line[4096];
  FILE* status = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, status))
    if (strncmp(line, "Cpus_allowed_list:\t", 19) == 0) printf(" cpus=%.*s", (int)strcspn(line + 19, "\n"), line + 19);
  fclose(status);
}

static void printPolicy(void) {
  static const char* const modes[] = {"default", "preferred", "bind", "interleave", "local", "preferred"};
  int mode = 0;
  unsigned long mask[16] = {0};
  if (syscall(SYS_get_mempolicy, &mode, mask, sizeof mask * 8, NULL, 0) != 0) exit(5);
  printf(" memory=%s", mode >= 0 && mode < 6 ? modes[mode] : "?");
  const char* separator = ":";
  for (int node = 0; node < maxNodes; node++) {
    if (!(mask[0] >> node & 1)) continue;
    printf("%s%d", separator, node);
    separator = ",";
  }
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const size_t bytes = (size_t)atol(argv[2]) << 20;
  char* memory = touch(bytes);
  if (strcmp(argv[1], "hog") == 0) {
    if (madvise(memory, bytes, MADV_FREE) != 0) return 6;
    return argc > 3 ? system(argv[3]) != 0 : 0;
  }

  long byNode[maxNodes] = {0};
  countPages(memory, bytes, byNode);
  const char* rank = getenv("RANK");
  printf("%s rank=%s", argv[1], rank ? rank : "-");
  printCpus();
  printPolicy();
  printf(" pages=");
  const char* separator = "";
  for (int node = 0; node < maxNodes; node++) {
    if (byNode[node] == 0) continue;
    printf("%s%d:%ld", separator, node, byNode[node]);
    separator = ",";
  }
  printf("\n");
  return 0;
}

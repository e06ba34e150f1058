// Stands in for libFuzzer where there's no clang: feeds each file of the named folders, once,
// to the target, so that every input that ever failed is tried again everywhere.
#include <dirent.h>
#include <stdio.h>

#include <cstdint>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

static bool replay(const std::string& path) {
  FILE* file = ::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  std::vector<uint8_t> bytes;
  uint8_t buffer[65536];
  for (size_t n; (n = ::fread(buffer, 1, sizeof buffer, file)) > 0;)
    bytes.insert(bytes.end(), buffer, buffer + n);
  ::fclose(file);
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  return true;
}

int main(int argc, char** argv) {
  int replayed = 0;
  for (int i = 1; i < argc; i++) {
    DIR* folder = ::opendir(argv[i]);
    if (folder == nullptr) {
      replayed += replay(argv[i]);
      continue;
    }
    while (const dirent* entry = ::readdir(folder)) {
      if (entry->d_name[0] == '.') continue;
      replayed += replay(std::string(argv[i]) + "/" + entry->d_name);
    }
    ::closedir(folder);
  }
  ::printf("%s 1 - the corpus replays without a crash (%d inputs)\n1..1\n",
           replayed > 0 ? "ok" : "not ok", replayed);
  return replayed > 0 ? 0 : 1;
}

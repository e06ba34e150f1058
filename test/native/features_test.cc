#include "core/base/features.h"

#include <sys/wait.h>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;

TEST("a feature named in disable is off, and nothing else is") {
  const Features all = probeFeatures();
  for (const FeatureName& feature : featureNames()) {
    const std::string disabled[] = {std::string(feature.name)};

    const Features rest = probeFeatures(disabled);

    CHECK(!(rest.*feature.flag));
    for (const FeatureName& other : featureNames()) {
      const bool follows = feature.name == "pidfd" && other.name.starts_with("pidfd");
      const bool with = feature.name == "clone3" &&
                        (other.name == "clear-sighand" || other.name == "clone-into-cgroup");
      if (other.name == feature.name || follows || with) continue;
      CHECK_EQ(rest.*other.flag, all.*other.flag);
    }
  }
}

TEST("unknown names in disable mean nothing") {
  const std::string disabled[] = {"warp-drive", ""};

  const Features features = probeFeatures(disabled);

  for (const FeatureName& feature : featureNames())
    CHECK_EQ(features.*feature.flag, probeFeatures().*feature.flag);
}

TEST("probing leaves no child and no descriptor behind") {
  const size_t before = support::openDescriptors();

  (void)probeFeatures();

  CHECK_EQ(support::openDescriptors(), before);
  CHECK_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  CHECK_EQ(errno, ECHILD);
}

TAP_MAIN

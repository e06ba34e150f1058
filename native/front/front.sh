#!/bin/sh
# `npm install` puts the front program here. Where it runs no install scripts, or is another package manager, this finds
# and starts it. docs/starting.md tells what it's for.
regroup_command=$0
if [ -L "$0" ]; then
  # Where npm's links lead, as a rule; to ask readlink takes a process.
  for regroup_command in "${0%/*}/../regroup/dist/bin/${0##*/}" \
    "${0%/*}/../lib/node_modules/regroup/dist/bin/${0##*/}" ''; do
    [ ! "$0" -ef "$regroup_command" ] || break
  done
  [ -n "$regroup_command" ] || regroup_command=$(readlink -f -- "$0") || exit
fi
for regroup_front in build/Release prebuilds/linux-x64 prebuilds/linux-arm64; do
  regroup_front=${regroup_command%/*}/../../$regroup_front/regroup_front
  [ -x "$regroup_front" ] || continue
  # Fails for another machine's.
  regroup_changed=$("$regroup_front" --changed $$ 2>/dev/null) || continue
  exec "$regroup_front" "$regroup_command" "$regroup_changed" "$@"
done
# It's missing as the addon is, then, and the command will say so.
exec node "$regroup_command.cjs" "$@"

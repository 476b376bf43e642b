# Sourced by the scripts of this folder: a step's headline, colour only on a terminal.
# shellcheck shell=bash

if [ -t 1 ]; then bold=$'\033[1m'; plain=$'\033[0m'; else bold=''; plain=''; fi

# step TEXT: says what comes next and how long the script has run.
step() { printf '%s[%3dm%02ds] %s%s\n' "$bold" $((SECONDS / 60)) $((SECONDS % 60)) "$*" "$plain"; }

# The tools that scripts/setup installed; an installed Foundry comes first, because `cordon` prefers it too.
npm_bin() { printf '%s/scripts/npm/node_modules/%s' "$PWD" "$1"; }

# foundry TOOL: path of anvil, cast or forge.
foundry() {
  local platform
  if command -v "$1" >/dev/null 2>&1; then command -v "$1"; return; fi
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-amd64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    Darwin-x86_64) platform=darwin-amd64 ;;
    Darwin-arm64) platform=darwin-arm64 ;;
    *) echo "no $1 for this platform; install Foundry" >&2; return 1 ;;
  esac
  npm_bin "@foundry-rs/$1-$platform/bin/$1"
}

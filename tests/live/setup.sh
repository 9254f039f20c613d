#!/usr/bin/env bash
# Installs the real programs that the live tests hold vend against, each from its language's package registry:
#
#   ollama  a real Ollama server (Go)              relay   nostr-rs-relay (Rust)
#   llama   llama.cpp's own HTTP server (Python)   lnbits  LNbits with play money (Python)
#   node    nostr-tools for the buyer, @getalby/sdk for a wallet behind Nostr Wallet Connect (npm)
#   spark   the official Spark SDK (npm)            lnd     LND, and btcd for a chain of its own (Go)
#   openai  OpenAI's own clients (Python, npm)     khatru  a Go relay with its limits on (Go)
#   litellm, llm, nostrdvm (Python): two programs that buy through the gateway, and a seller
#
#   setup.sh [NAME...]       only these; all without a name
#
# They go to $VEND_LIVE_TOOLS (default: target/live-tools of this repository). Beyond that folder and the package clients'
# caches nothing changes, except that as root on Debian the few missing build packages are installed. A tool that is
# already there in the right version is left alone; one that can't be had costs one line, and the rest is installed. So
# the script always ends with 0, and its last lines are one "NAME: ok" or "NAME: missing WHY" per tool.
# Ollama, the relay and LND are compiled: some minutes each. VEND_LIVE_JOBS (default 1) says on how many cores.
set -uo pipefail

OLLAMA=0.24.0 # the last version line that carries its CPU engine in the Go module; later ones start a separate program
RELAY=0.8.12
LNBITS=1.6.2
XLLAMACPP=2026.10.11549
OPENAI_PY=3.57.0
OPENAI_JS=6.49.0
LITELLM=1.110.2
LLM=0.36
NOSTRDVM=1.1.8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${VEND_LIVE_TOOLS:-$(cd "$here/../.." && pwd)/target/live-tools}
jobs=${VEND_LIVE_JOBS:-1}
mkdir -p "$tools/bin" "$tools/log" "$tools/build" || exit 1
tools=$(cd "$tools" && pwd)

why=""
# Runs a command with its output in the tool's log; the log is where a failure is explained.
logged() { nice -n 19 "$@" >>"$tools/log/$name.log" 2>&1; }
missing() { why=$1; return 1; }
has() { command -v "$1" >/dev/null 2>&1; }
# A stamp holds what was installed. Without it a folder is half done and is made anew.
installed() { [ "$(cat "$tools/$name.stamp" 2>/dev/null)" = "$1" ] && [ -e "$tools/$2" ]; }
stamp() { echo "$1" >"$tools/$name.stamp"; }

apt_fresh=""
# Debian packages, as root only: anybody else is told the name.
debian() {
  has apt-get && [ "$(id -u)" = 0 ] || return 1
  [ -n "$apt_fresh" ] || { logged apt-get update; apt_fresh=yes; }
  logged env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

header() { echo "#include <$1>" | c++ -E -x c++ - >/dev/null 2>&1; }

ollama() {
  installed "$OLLAMA-1" bin/ollama && return
  has go || { missing "no go"; return; }
  { has cc && has c++; } || { missing "no C and C++ compiler"; return; }
  # The Go module has all of Ollama's engine but one folder: modules are packed without folders named "vendor", and its
  # C++ code takes three header-only libraries from such a one. Two are Debian packages.
  header nlohmann/json.hpp || debian nlohmann-json3-dev || { missing "no header nlohmann/json.hpp"; return; }
  header stb/stb_image.h || debian libstb-dev || { missing "no header stb/stb_image.h"; return; }
  # The third, miniaudio, reads sound files for models that hear. A text model never gets there: every call says no.
  mkdir -p "$tools/build/include/miniaudio"
  cat >"$tools/build/include/miniaudio/miniaudio.h" <<'H'
// Stands in for miniaudio: an Ollama built with it refuses sound input and is otherwise whole.
#pragma once
#include <cstddef>
#include <cstdint>
typedef int ma_result;
typedef uint32_t ma_uint32;
typedef uint64_t ma_uint64;
enum { MA_SUCCESS = 0, MA_NOT_IMPLEMENTED = -29 };
enum ma_format { ma_format_f32 = 5 };
struct ma_decoder_config {};
struct ma_decoder {};
static inline ma_decoder_config ma_decoder_config_init(ma_format, ma_uint32, ma_uint32) { return {}; }
static inline ma_result ma_decoder_init_memory(const void *, size_t, const ma_decoder_config *, ma_decoder *) { return MA_NOT_IMPLEMENTED; }
static inline ma_result ma_decoder_get_length_in_pcm_frames(ma_decoder *, ma_uint64 *) { return MA_NOT_IMPLEMENTED; }
static inline ma_result ma_decoder_read_pcm_frames(ma_decoder *, void *, ma_uint64, ma_uint64 *) { return MA_NOT_IMPLEMENTED; }
static inline ma_result ma_decoder_uninit(ma_decoder *) { return MA_SUCCESS; }
H
  # CPATH shows the compiler the stand-in without touching the module. The ggml CPU engine is compiled into the binary:
  # no shared library beside it is needed. The version is a link-time word, "0.0.0" otherwise, and clients read it.
  logged env GOBIN="$tools/bin" GOFLAGS="-p=$jobs -buildvcs=false" CGO_ENABLED=1 \
    CPATH="$tools/build/include${CPATH:+:$CPATH}" \
    go install -ldflags "-s -w -X github.com/ollama/ollama/version.Version=$OLLAMA" \
    "github.com/ollama/ollama@v$OLLAMA" || { missing "the build failed"; return; }
  stamp "$OLLAMA-1"
}

relay() {
  installed "$RELAY" bin/nostr-rs-relay && return
  has cargo || { missing "no cargo"; return; }
  has protoc || debian protobuf-compiler || { missing "no protoc"; return; }
  # Not --locked: the lock file it was published with holds a version of "time" that Rust 1.80 and later refuse.
  logged env CARGO_TARGET_DIR="$tools/build/relay" \
    cargo install nostr-rs-relay --version "$RELAY" --jobs "$jobs" --bin nostr-rs-relay --root "$tools" --force \
    || { missing "the build failed"; return; }
  rm -rf "$tools/build/relay"
  stamp "$RELAY"
}

# venv FOLDER REQUIREMENT...: a Python environment of its own, so that no tool meets another's versions.
venv() {
  local python=${PYTHON:-python3} folder="$tools/$1"
  shift
  has "$python" || { missing "no $python"; return; }
  rm -rf "$folder"
  logged "$python" -m venv "$folder" || { missing "python can't make a venv"; return; }
  logged "$folder/bin/python" -m pip install --disable-pip-version-check "$@" || missing "pip could not install it"
}

llama() {
  installed "$XLLAMACPP" llama/bin/python && return
  venv llama "xllamacpp==$XLLAMACPP" || return
  logged "$tools/llama/bin/python" -c 'import xllamacpp; xllamacpp.Server' || { missing "it does not load"; return; }
  stamp "$XLLAMACPP"
}

lnbits() {
  installed "$LNBITS" lnbits/bin/lnbits && return
  # LNbits asks for "bitstring" without an upper bound, and the newest one breaks its import.
  venv lnbits "lnbits==$LNBITS" 'bitstring<4.4' || return
  logged "$tools/lnbits/bin/python" -c 'import bolt11' || { missing "it does not load"; return; }
  stamp "$LNBITS"
}

# OpenAI's own clients, for Python and for Node, in one folder.
openai() {
  installed "$OPENAI_PY-$OPENAI_JS" openai/node_modules/openai && return
  has npm || { missing "no npm"; return; }
  venv openai "openai==$OPENAI_PY" || return
  (cd "$tools/openai" && logged npm install --ignore-scripts --no-audit --no-fund --no-save "openai@$OPENAI_JS") || { missing "npm could not install it"; return; }
  stamp "$OPENAI_PY-$OPENAI_JS"
}

node() {
  local want
  want=$(cksum <"$here/node/package-lock.json")
  installed "$want" node/node_modules/@getalby/sdk && return
  has npm || { missing "no npm"; return; }
  mkdir -p "$tools/node"
  cp "$here/node/package.json" "$here/node/package-lock.json" "$tools/node/"
  (cd "$tools/node" && logged npm ci --ignore-scripts --no-audit --no-fund) || { missing "npm could not install it"; return; }
  stamp "$want"
}

# As `vend spark install` does it, from the same lock file. The local Spark of the tests speaks with the SDK's own parts, and
# vend's own installation then finds everything in npm's cache.
spark() {
  local want lock="$here/../../src/wallet/spark/helper"
  want=$(cksum <"$lock/package-lock.json")
  installed "$want" spark/node_modules/@buildonspark/spark-sdk && return
  has npm || { missing "no npm"; return; }
  mkdir -p "$tools/spark"
  cp "$lock/package.json" "$lock/package-lock.json" "$tools/spark/"
  (cd "$tools/spark" && logged npm ci --omit=dev --ignore-scripts --no-audit --no-fund) || { missing "npm could not install it"; return; }
  stamp "$want"
}

lnd() {
  local want
  want=$(cat "$here/lnd/go.mod" "$here/lnd/go.sum" | cksum)
  installed "$want" bin/lnd && [ -e "$tools/bin/btcd" ] && return
  has go || { missing "no go"; return; }
  # The tags are those of LND's releases that bring a part of its REST interface. Neither program needs C.
  logged env GOFLAGS="-p=$jobs -buildvcs=false -mod=readonly" CGO_ENABLED=0 \
    go build -C "$here/lnd" -o "$tools/bin/" -trimpath -ldflags "-s -w" \
    -tags "autopilotrpc signrpc walletrpc chainrpc invoicesrpc peersrpc" \
    github.com/btcsuite/btcd github.com/lightningnetwork/lnd/cmd/lnd || { missing "the build failed"; return; }
  stamp "$want"
}

litellm() {
  installed "$LITELLM" litellm/bin/python && return
  venv litellm "litellm==$LITELLM" || return
  stamp "$LITELLM"
}

llm() {
  installed "$LLM" llm/bin/llm && return
  venv llm "llm==$LLM" || return
  stamp "$LLM"
}

nostrdvm() {
  installed "$NOSTRDVM" nostrdvm/bin/python && return
  venv nostrdvm "nostr-dvm==$NOSTRDVM" || return
  stamp "$NOSTRDVM"
}

khatru() {
  local want
  want=$(cat "$here"/khatru/* | cksum)
  installed "$want" bin/khatru && return
  has go || { missing "no go"; return; }
  logged env GOFLAGS="-p=$jobs -buildvcs=false -mod=readonly" CGO_ENABLED=0 \
    go build -C "$here/khatru" -o "$tools/bin/khatru" -trimpath -ldflags "-s -w" . || { missing "the build failed"; return; }
  stamp "$want"
}

ALL="node spark openai litellm llm nostrdvm khatru llama lnbits ollama relay lnd"
sheet=""
for name in ${*:-$ALL}; do
  case " $ALL " in *" $name "*) ;; *) sheet+="$name: missing no such tool"$'\n'; continue ;; esac
  : >"$tools/log/$name.log"
  why=""
  echo "$name …" >&2
  if "$name"; then
    sheet+="$name: ok"$'\n'
  else
    [ -s "$tools/log/$name.log" ] && why+=" (log: $tools/log/$name.log)"
    sheet+="$name: missing $why"$'\n'
    echo "$name can't be had: $why" >&2
  fi
done
printf '%s' "$sheet"
exit 0

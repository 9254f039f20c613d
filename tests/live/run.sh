#!/usr/bin/env bash
# Starts one of the live tests' servers in the foreground, on loopback:
#
#   run.sh ollama|lnbits PORT DIR
#   run.sh relay PORT DIR [LONGEST_EVENT]                nostr-rs-relay
#   run.sh ws PORT DIR LONGEST_MESSAGE [told]            a relay on Node's `ws` server
#   run.sh khatru PORT DIR LONGEST_MESSAGE               a Go relay
#   run.sh llama PORT DIR MODEL.gguf [OPTION...]
#   run.sh btcd PORT DIR [ADDRESS]                       a regtest chain; what is mined goes to ADDRESS
#   run.sh lnd PORT DIR GRPC_PORT PEER_PORT CHAIN_PORT CHAIN_DIR ALIAS
#
# DIR takes everything the server writes; a fresh one gives a fresh server. The script becomes the server (exec), so
# that its process id is the server's: the test that started it can end it, and nothing else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${VEND_LIVE_TOOLS:-$(cd "$here/../.." && pwd)/target/live-tools}
usage() { echo "usage: run.sh ollama|relay|ws|khatru|lnbits|llama|btcd|lnd PORT DIR [MORE...]" >&2; exit 2; }
[ $# -ge 3 ] || usage
name=$1 port=$2
case $port in '' | *[!0-9]*) usage ;; esac
mkdir -p "$3"
dir=$(cd "$3" && pwd)
# Relative tool folders must survive the change of directory below.
tools=$(cd "$tools" 2>/dev/null && pwd) || { echo "run.sh: no tools folder: run setup.sh first" >&2; exit 1; }
need() { [ -x "$tools/$1" ] || { echo "run.sh: $1 is missing: run setup.sh first" >&2; exit 1; }; }

case $name in
ollama)
  need bin/ollama
  # HOME: Ollama writes a key pair into it. NO_CLOUD: without it the server asks its maker's site for news at every start.
  # OLLAMA_LIBRARY_PATH: no GPU library of an installed Ollama may slip in; the built-in CPU code is all that is wanted.
  exec env HOME="$dir" OLLAMA_HOST="127.0.0.1:$port" OLLAMA_MODELS="$dir/models" OLLAMA_NO_CLOUD=1 \
    OLLAMA_LIBRARY_PATH="$dir" "$tools/bin/ollama" serve
  ;;
relay)
  need bin/nostr-rs-relay
  cat >"$dir/config.toml" <<TOML
[info]
relay_url = "ws://127.0.0.1:$port/"
name = "vend live tests"

[database]
data_directory = "$dir"

[network]
address = "127.0.0.1"
port = $port

[options]
reject_future_seconds = 1800

[limits]
# A test sends in bursts, and what it tests is not this relay's throttle.
messages_per_sec = 0
subscriptions_per_min = 0
max_event_bytes = ${4:-262144}
max_ws_message_bytes = 524288
max_ws_frame_bytes = 524288
TOML
  exec "$tools/bin/nostr-rs-relay" --config "$dir/config.toml" --db "$dir"
  ;;
ws)
  [ $# -ge 4 ] || usage
  exec env VEND_LIVE_TOOLS="$tools" node "$here/ws_relay.mjs" "$port" "${@:4}"
  ;;
khatru)
  need bin/khatru
  [ $# = 4 ] || usage
  exec "$tools/bin/khatru" "$port" "$4"
  ;;
lnbits)
  need lnbits/bin/python
  # LNbits looks for its own files relative to the working directory.
  cd "$("$tools/lnbits/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  mkdir -p "$dir/logs" "$dir/extensions"
  # Its own start command puts the server into a child process, which would outlive a kill of the parent: the same
  # application is given to uvicorn directly. The empty lists and the price settings keep it from asking the internet.
  exec env \
    LNBITS_BACKEND_WALLET_CLASS=FakeWallet FAKE_WALLET_SECRET=vend-live \
    LNBITS_DATA_FOLDER="$dir" LNBITS_EXTENSIONS_PATH="$dir" \
    LNBITS_ADMIN_UI=true AUTH_SECRET_KEY=vend-live-tests-play-money-only-0123456789 FIRST_INSTALL_TOKEN="${LNBITS_TOKEN:-vend-live}" \
    LNBITS_BASEURL="http://127.0.0.1:$port/" \
    LNBITS_EXTENSIONS_MANIFESTS='[]' LNBITS_WASM_EXTENSIONS_MANIFESTS='[]' \
    LNBITS_PRICE_AGGREGATOR_ENABLED=false LNBITS_EXCHANGE_RATE_PROVIDERS='[]' \
    "$tools/lnbits/bin/python" -m uvicorn lnbits.__main__:app --host 127.0.0.1 --port "$port"
  ;;
llama)
  need llama/bin/python
  [ $# -ge 4 ] || usage
  exec "$tools/llama/bin/python" "$here/llama_server.py" --port "$port" --model "$4" "${@:5}"
  ;;
btcd)
  need bin/btcd
  # One node that nobody connects to. Nothing is secret: lnd.py writes the same login.
  cat >"$dir/btcd.conf" <<CONF
[Application Options]
regtest=1
datadir=$dir/data
logdir=$dir/logs
nolisten=1
rpclisten=127.0.0.1:$port
rpccert=$dir/rpc.cert
rpckey=$dir/rpc.key
rpcuser=vend
rpcpass=vend
txindex=1
${4:+miningaddr=$4}
CONF
  exec "$tools/bin/btcd" --configfile="$dir/btcd.conf"
  ;;
lnd)
  need bin/lnd
  [ $# = 8 ] || usage
  # The nodes are alone in their chain, so they need not wait to gather news, nor look for others.
  cat >"$dir/lnd.conf" <<CONF
[Application Options]
alias=$8
restlisten=127.0.0.1:$port
rpclisten=127.0.0.1:$4
listen=127.0.0.1:$5
noseedbackup=1
nobootstrap=1
trickledelay=50
[Bitcoin]
bitcoin.regtest=1
bitcoin.node=btcd
[Btcd]
btcd.rpchost=127.0.0.1:$6
btcd.rpcuser=vend
btcd.rpcpass=vend
btcd.rpccert=$7/rpc.cert
CONF
  exec "$tools/bin/lnd" --lnddir="$dir"
  ;;
*) usage ;;
esac

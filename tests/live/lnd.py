#!/usr/bin/env python3
"""Small client for the live tests' chain and Lightning nodes: mines, funds, opens channels, and pays as the buyer.

    lnd.py address NODE                   an address of the node's own coins; the chain need not be synced
    lnd.py mine    CHAIN BLOCKS           CHAIN must have been started with an address to mine to
    lnd.py route   CHAIN NODE NODE…       funds the nodes and opens a channel from each to the next; the last one is private
    lnd.py bake    NODE ENTITY:ACTION…    a macaroon with these permissions, hex
    lnd.py decode  NODE BOLT11            how the node reads an invoice
    lnd.py pay     NODE BOLT11            pays it; returns when the payment has succeeded or failed, with its money back
    lnd.py balance NODE                   what the node's channels hold, msat

CHAIN and NODE are the PORT:FOLDER of a btcd and an lnd that run.sh started. Every command prints one JSON line; any
failure is a plain line on stderr and exit 1. Python's own library is enough. The coins are those of a regtest chain.
"""
import base64
import json
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.request

# Nothing is secret here: the chain lives for one test, on loopback, and run.sh writes the same words.
CHAIN_LOGIN = base64.b64encode(b"vend:vend").decode()
# The longest wait for what the nodes do by themselves, seconds: where other work shares the machine, making a wallet alone
# (scrypt) can take a minute.
PATIENCE = 300
# Confirmations that a channel's announcement takes (BOLT 7).
ANNOUNCED = 6
# Sats of one funding, and of one channel: far more than all tests sell.
COINS, CHANNEL = 10_000_000, 1_000_000


class Refused(Exception):
    """The server answered with an error; the text is its own."""


def post(url, certificate, headers, body, method):
    # The servers sign their own certificates. A proxy of the environment would catch even loopback addresses.
    context = ssl.create_default_context(cafile=certificate)
    http = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with http.open(request, timeout=PATIENCE) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        raise Refused(f"{url}: {e.code} {e.read().decode(errors='replace')[:300]}") from None


def until(what, look):
    """Asks again and again; a server that is still starting refuses, or is not there yet."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = None
        try:
            if seen := look():
                return seen
        except (Refused, OSError, ValueError) as e:
            seen = e
        if time.monotonic() > end:
            sys.exit(f"lnd: waited {PATIENCE} s for {what}: {seen}")
        time.sleep(0.3)


class Chain:
    def __init__(self, word):
        port, self.folder = word.split(":", 1)
        self.url = f"https://127.0.0.1:{port}"

    def call(self, method, *params):
        body = {"jsonrpc": "1.0", "id": 1, "method": method, "params": params}
        headers = {"Authorization": "Basic " + CHAIN_LOGIN}
        answer = post(self.url, f"{self.folder}/rpc.cert", headers, body, "POST")
        if answer["error"]:
            raise Refused(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, blocks):
        until("the chain", lambda: self.call("getinfo"))
        # A few at a time, as nodes that watch must keep up.
        for at in range(0, blocks, 50):
            self.call("generate", min(50, blocks - at))
        return self.call("getblockcount")


class Node:
    def __init__(self, word):
        port, self.folder = word.split(":", 1)
        self.url = f"https://127.0.0.1:{port}"

    def call(self, path, body=None):
        admin = pathlib.Path(self.folder, "data/chain/bitcoin/regtest/admin.macaroon").read_bytes()
        headers = {"Grpc-Metadata-macaroon": admin.hex()}
        return post(self.url + path, f"{self.folder}/tls.cert", headers, body, "GET" if body is None else "POST")

    def info(self):
        return self.call("/v1/getinfo")

    def address(self):
        return until("an address", lambda: self.call("/v1/newaddress?type=WITNESS_PUBKEY_HASH"))["address"]

    def synced(self, height):
        def look():
            info = self.info()
            return info["synced_to_chain"] and info["block_height"] >= height and info
        return until(f"a node at block {height}", look)

    def coins(self):
        return int(self.call("/v1/balance/blockchain")["confirmed_balance"])

    def channels(self):
        return self.call("/v1/channels?active_only=true")["channels"]

    def graph(self):
        """How many announced channels it knows with both ends' terms."""
        edges = self.call("/v1/graph")["edges"]
        return sum(bool(edge["node1_policy"] and edge["node2_policy"]) for edge in edges)

    def listens_at(self):
        """Where other nodes reach it; run.sh has written it down."""
        lines = pathlib.Path(self.folder, "lnd.conf").read_text().splitlines()
        return next(line.removeprefix("listen=") for line in lines if line.startswith("listen="))


def address(node):
    return {"address": Node(node).address()}


def mine(chain, blocks):
    return {"height": Chain(chain).mine(int(blocks))}


def route(chain, *words):
    chain, nodes = Chain(chain), [Node(word) for word in words]
    # What was mined first can be spent, and the rules that channels rest on are in force.
    height = chain.call("getblockcount")
    keys = [node.synced(height)["identity_pubkey"] for node in nodes]
    # The first node has what was mined.
    for node in nodes[1:]:
        nodes[0].call("/v1/transactions", {"addr": node.address(), "amount": str(COINS), "target_conf": 1})
    confirm(chain, nodes, 1)
    for node in nodes:
        until("coins", node.coins)
    for at, (one, next_one) in enumerate(zip(nodes, nodes[1:])):
        peer = {"pubkey": keys[at + 1], "host": next_one.listens_at()}
        until("a connection", lambda: one.call("/v1/peers", {"addr": peer, "timeout": "10"}) or True)
        new = {
            "node_pubkey": base64.b64encode(bytes.fromhex(keys[at + 1])).decode(),
            "local_funding_amount": str(CHANNEL),
            "private": at + 2 == len(nodes),
        }
        # A peer that has just seen a block may ask for a moment before it takes a channel.
        until("a channel", lambda: one.call("/v1/channels", new))
        confirm(chain, nodes, ANNOUNCED)
    for at, node in enumerate(nodes):
        ends = (at > 0) + (at + 1 < len(nodes))
        until("channels", lambda: len(node.channels()) == ends)
    # All must have heard of the announced channels: a node gives hints to known nodes alone.
    for node in nodes:
        until("the graph", lambda: node.graph() == len(nodes) - 2)
    return {"nodes": keys}


def confirm(chain, nodes, blocks):
    """Waits for what was sent, mines it, and lets the nodes see it."""
    until("a transaction", lambda: chain.call("getrawmempool"))
    height = chain.mine(blocks)
    for node in nodes:
        node.synced(height)


def bake(node, *permissions):
    pairs = [dict(zip(("entity", "action"), word.split(":", 1))) for word in permissions]
    return {"macaroon": Node(node).call("/v1/macaroon", {"permissions": pairs})["macaroon"]}


def decode(node, bolt11):
    return Node(node).call(f"/v1/payreq/{bolt11}")


def pay(node, bolt11):
    # The answer is a stream; without the updates in between it is the one line that ends it.
    body = {"payment_request": bolt11, "timeout_seconds": 60, "fee_limit_sat": "100", "no_inflight_updates": True}
    done = Node(node).call("/v2/router/send", body)["result"]
    return {
        "status": done["status"],
        "failure": done["failure_reason"],
        "payment_hash": done["payment_hash"],
        "preimage": done["payment_preimage"],
        "amount_msat": int(done["value_msat"]),
        "fee_msat": int(done["fee_msat"]),
    }


def balance(node):
    seen = Node(node).call("/v1/balance/channels")
    named = ("local_balance", "remote_balance", "unsettled_local_balance", "unsettled_remote_balance")
    return {name: int((seen[name] or {}).get("msat", "0")) for name in named}


def main():
    commands = {run.__name__: run for run in (address, mine, route, bake, decode, pay, balance)}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    try:
        print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])), flush=True)
    except (Refused, OSError, ValueError, KeyError) as e:
        sys.exit(f"lnd: {sys.argv[1]}: {type(e).__name__}: {e}")


if __name__ == "__main__":
    main()

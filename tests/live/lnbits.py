#!/usr/bin/env python3
"""Small client for the live tests' LNbits server: sets it up through REST and pays invoices as the buyer.

    lnbits.py setup  --url http://127.0.0.1:5000 [--fund SATS]      first user, a seller and a funded buyer wallet
    lnbits.py invoice --url URL --key INKEY --sats N [--memo TEXT] [--expiry S]
    lnbits.py pay    --url URL --key ADMINKEY BOLT11
    lnbits.py lookup --url URL [--key INKEY] PAYMENT_HASH
    lnbits.py balance --url URL --key KEY
    lnbits.py rename --url URL --key ADMINKEY NAME

Every command prints one JSON line; any failure is a plain line on stderr and exit 1. Python's own library is enough.
The money is LNbits' FakeWallet: payments are entries in its own books, and no Lightning node is behind them.
"""
import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Nothing is secret here: the server lives for one test, on loopback, with play money.
USER, PASSWORD = "tester", "tester-password"
# http_proxy in the environment would otherwise catch even loopback addresses.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(o, method, path, body=None, **headers):
    """One REST call; the JSON answer, or the end of the program with what the server said."""
    headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(o.url.rstrip("/") + path, data, headers, method=method)
    try:
        with HTTP.open(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        sys.exit(f"lnbits: {method} {path.split('?')[0]}: {e.code} {e.read().decode(errors='replace')[:300]}")
    except (OSError, ValueError) as e:
        sys.exit(f"lnbits: {method} {path.split('?')[0]}: {e}")


def wait_until_up(o):
    end = time.monotonic() + o.wait
    while True:
        try:
            HTTP.open(o.url.rstrip("/") + "/api/v1/health", timeout=2).close()
            return
        except (OSError, ValueError) as e:
            if time.monotonic() > end:
                sys.exit(f"lnbits: {o.url} did not come up within {o.wait} s: {e}")
            time.sleep(0.2)


def setup(o):
    wait_until_up(o)
    user = {"username": USER, "password": PASSWORD}
    call(o, "PUT", "/api/v1/auth/first_install",
         {**user, "password_repeat": PASSWORD, "first_install_token": o.token})
    bearer = "Bearer " + call(o, "POST", "/api/v1/auth", user)["access_token"]
    # An account each: two wallets of one account could hide a mix-up of keys.
    seller = call(o, "POST", "/api/v1/account", {"name": "seller"})
    buyer = call(o, "POST", "/api/v1/account", {"name": "buyer"})
    call(o, "PUT", "/users/api/v1/balance", {"id": buyer["id"], "amount": o.fund}, Authorization=bearer)
    return {
        "url": o.url.rstrip("/"),
        "seller_inkey": seller["inkey"],
        "seller_adminkey": seller["adminkey"],
        "buyer_inkey": buyer["inkey"],
        "buyer_adminkey": buyer["adminkey"],
        "buyer_sats": o.fund,
    }


def invoice(o):
    body = {"out": False, "amount": o.sats, "unit": "sat", "memo": o.memo, "expiry": o.expiry}
    p = call(o, "POST", "/api/v1/payments", body, **{"X-Api-Key": o.key})
    return {"bolt11": p["bolt11"], "payment_hash": p["payment_hash"], "status": p["status"]}


def pay(o):
    p = call(o, "POST", "/api/v1/payments", {"out": True, "bolt11": o.bolt11}, **{"X-Api-Key": o.key})
    return {"payment_hash": p["payment_hash"], "status": p.get("status"), "amount_msat": -p["amount"]}


def lookup(o):
    headers = {"X-Api-Key": o.key} if o.key else {}
    p = call(o, "GET", "/api/v1/payments/" + urllib.parse.quote(o.payment_hash), **headers)
    details = p.get("details") or {}
    # A paid invoice's answer has its status in the details alone, a pending one's beside them too.
    return {"paid": p["paid"], "status": p.get("status") or details.get("status"), "amount_msat": details.get("amount")}


def balance(o):
    w = call(o, "GET", "/api/v1/wallet", **{"X-Api-Key": o.key})
    return {"name": w["name"], "balance_msat": w["balance"]}


def rename(o):
    w = call(o, "PUT", "/api/v1/wallet/" + urllib.parse.quote(o.name), **{"X-Api-Key": o.key})
    return {"name": w["name"]}


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = a.add_subparsers(required=True)
    for run in (setup, invoice, pay, lookup, balance, rename):
        c = commands.add_parser(run.__name__)
        c.set_defaults(run=run)
        c.add_argument("--url", required=True)
        if run is setup:
            c.add_argument("--fund", type=int, default=100000, help="sats for the buyer")
            c.add_argument("--token", default="vend-live", help="the server's FIRST_INSTALL_TOKEN")
            c.add_argument("--wait", type=float, default=60, help="seconds to wait for the server")
        else:
            c.add_argument("--key", required=run is not lookup, default="")
        if run is invoice:
            c.add_argument("--sats", type=int, required=True)
            c.add_argument("--memo", default="vend live test")
            c.add_argument("--expiry", type=int, default=600)
        if run is pay:
            c.add_argument("bolt11")
        if run is rename:
            c.add_argument("name")
        if run is lookup:
            c.add_argument("payment_hash")
    o = a.parse_args()
    print(json.dumps(o.run(o)), flush=True)


if __name__ == "__main__":
    main()

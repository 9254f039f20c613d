#!/usr/bin/env python3
"""LNbits' own wallet adapters as an independent client of vend's fake nodes: a judge of the fakes, written by others.

    adapters.py lnd|cln|phoenixd URL SECRET [CERTIFICATE.pem]

One command a line on stdin, one JSON answer a line on stdout:

    status                      {"error": null, "balance_msat": 7000000}
    create SATS SECONDS MEMO    {"ok": true, "hash": "…", "bolt11": "…", "error": null}
    look HASH                   {"paid": true|false|null}           null: pending
    hold SATS HASH              as create (lnd)
    settle PREIMAGE             {"ok": true, "error": null} (lnd)
    cancel HASH                 the same (lnd)

It runs in LNbits' environment, and uses nothing of LNbits but the adapter classes.
"""
import asyncio
import json
import os
import sys
import tempfile

# This folder has an lnbits.py of its own, which is not the one that is meant.
sys.path.pop(0)
# LNbits reads settings files and writes logs: into a folder that goes away.
FOLDER = tempfile.TemporaryDirectory()
os.environ.update(LNBITS_DATA_FOLDER=FOLDER.name, NO_PROXY="*", DEBUG="false")

from loguru import logger  # noqa: E402

logger.remove()
logger.add(sys.stderr, level="WARNING")

from lnbits.settings import settings  # noqa: E402


def wallet(kind, url, secret, certificate=None):
    if kind == "lnd":
        settings.lnd_rest_endpoint = url
        settings.lnd_rest_macaroon = secret
        settings.lnd_rest_cert = certificate
        from lnbits.wallets.lndrest import LndRestWallet

        return LndRestWallet()
    if kind == "cln":
        settings.clnrest_url = url
        settings.clnrest_readonly_rune = secret
        settings.clnrest_invoice_rune = secret
        settings.clnrest_ca = certificate
        from lnbits.wallets.clnrest import CLNRestWallet

        return CLNRestWallet()
    if kind == "phoenixd":
        settings.phoenixd_api_endpoint = url
        settings.phoenixd_api_password = secret
        from lnbits.wallets.phoenixd import PhoenixdWallet

        return PhoenixdWallet()
    sys.exit(f"no adapter for {kind}")


def made(answer):
    return {
        "ok": answer.ok,
        "hash": answer.checking_id,
        "bolt11": answer.payment_request,
        "error": answer.error_message,
    }


async def run(adapter, words):
    match words:
        case ["status"]:
            status = await adapter.status()
            return {"error": status.error_message, "balance_msat": status.balance_msat}
        case ["create", sats, seconds, *memo]:
            return made(await adapter.create_invoice(int(sats), " ".join(memo), expiry=int(seconds)))
        case ["look", payment_hash]:
            return {"paid": (await adapter.get_invoice_status(payment_hash)).paid}
        case ["hold", sats, payment_hash]:
            return made(await adapter.create_hold_invoice(int(sats), payment_hash, "a held job"))
        case ["settle", preimage]:
            answer = await adapter.settle_hold_invoice(preimage)
            return {"ok": answer.ok, "error": answer.error_message}
        case ["cancel", payment_hash]:
            answer = await adapter.cancel_hold_invoice(payment_hash)
            return {"ok": answer.ok, "error": answer.error_message}
    sys.exit(f"no such command: {words}")


async def main(*arguments):
    adapter = wallet(*arguments)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await run(adapter, line.split())), flush=True)
    await adapter.cleanup()


asyncio.run(main(*sys.argv[1:]))

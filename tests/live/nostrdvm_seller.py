"""A seller on nostrdvm, the DVM framework that others use: RELAY LNBITS_URL INVOICE_KEY SATS. Asks for its money first, by an
invoice of LNbits, and answers with the prompt turned round. Its first line says its key; it ends when it is killed."""
import json
import os
import sys
from pathlib import Path

relay, url, key, sats = sys.argv[1:5]
# What it writes goes to where it runs, and what it would read from there is given here.
Path("db").mkdir(exist_ok=True)

from nostr_sdk import Keys, Kind, LogLevel
from nostr_dvm.tasks.generic_dvm import GenericDVM
from nostr_dvm.utils.admin_utils import AdminConfig
from nostr_dvm.utils.dvmconfig import DVMConfig
from nostr_dvm.utils.nip89_utils import NIP89Config

keys = Keys.generate()
config = DVMConfig()
config.PRIVATE_KEY = keys.secret_key().to_hex()
config.IDENTIFIER = "vend_live"
config.KIND = Kind(5050)
config.FIX_COST = float(sats)
for relays in ["RELAY_LIST", "SYNC_DB_RELAY_LIST", "ANNOUNCE_RELAY_LIST"]:
    setattr(config, relays, [relay])
config.LNBITS_URL, config.LNBITS_INVOICE_KEY = url, key
config.LOGLEVEL = LogLevel.INFO

admin = AdminConfig()
admin.REBROADCAST_NIP89 = True
card = NIP89Config()
card.DTAG = "vend-live"
card.CONTENT = json.dumps({"name": "live", "about": "turns it round", "supportsEncryption": True, "nip90Params": {}})
seller = GenericDVM(name="live", dvm_config=config, nip89config=card, admin_config=admin, options={})


async def process(request_form):
    return seller.set_options(request_form)["input"][::-1]


seller.process = process
print(keys.public_key().to_bech32(), flush=True)
seller.run()

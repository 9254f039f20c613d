#!/usr/bin/env node
// A wallet behind Nostr Wallet Connect that shares no code with vend: Alby's own NWCWalletService from @getalby/sdk reads,
// decrypts, answers and signs. The wallet's books are the test's: each question goes to stdout as one JSON line
// {"id","method","params"}, and stdin gives {"id","result"} or {"id","error":{"code","message"}}.
//
//   node wallet_service.mjs --relay ws://127.0.0.1:7777 --encryption nip44|nip04 [--spends yes] [--network regtest]
//
// With --spends the connection may pay too (pay_invoice), as a buyer's.
// The first line out is {"uri"}, once the service listens. Two more lines are understood on stdin: {"notify":HASH} tells of
// a payment, {"forge":HASH} does so in a stranger's name and under the service's with a signature that is none; each is
// answered by {"told":HASH} when the relay has it (or has refused it). It ends when stdin does.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const fail = (code, text) => {
  process.stderr.write(`wallet service: ${text}\n`);
  process.exit(code);
};
const opt = { encryption: 'nip44', network: 'regtest' };
for (let i = 2; i < process.argv.length; i += 2) opt[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];
if (!opt.relay || !['nip44', 'nip04'].includes(opt.encryption)) fail(2, 'usage: wallet_service.mjs --relay URL --encryption nip44|nip04');
// Loopback or nothing, whatever a test hands over by mistake.
if (!/^ws:\/\/127\.0\.0\.1:\d+\/?$/.test(opt.relay)) fail(2, 'the relay must be on loopback');

const here = path.dirname(fileURLToPath(import.meta.url));
const tools = process.env.VEND_LIVE_TOOLS || path.resolve(here, '../../target/live-tools');
let nostr, nwc;
try {
  const load = createRequire(path.resolve(tools, 'node/package.json'));
  globalThis.WebSocket ??= load('ws'); // Node 20 has none of its own
  nostr = load('nostr-tools');
  nwc = load('@getalby/sdk/nwc');
} catch (e) {
  fail(1, `@getalby/sdk can't be loaded (${e.code || e.message}): run setup.sh node`);
}
// A relay need not confirm an ephemeral event, as answers are, and nostr-rs-relay does not. The service class sends an answer
// without waiting, so the end of its library's patience with the relay reaches nobody: it is a word, and no reason to end.
const unconfirmed = (error) => error instanceof AggregateError && error.errors.every((one) => one.message === 'publish timed out');
process.on('unhandledRejection', (error) => {
  if (!unconfirmed(error)) throw error;
});
// The library reports on console.log's channel; stdout belongs to the protocol.
console.log = console.info = console.warn = console.debug = (...words) => console.error(...words);

const { finalizeEvent, generateSecretKey, getPublicKey } = nostr;
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const walletSecret = hex(generateSecretKey());
const clientSecret = hex(generateSecretKey());
const keypair = new nwc.NWCWalletServiceKeyPair(walletSecret, getPublicKey(Buffer.from(clientSecret, 'hex')));
const service = new nwc.NWCWalletService({ relayUrls: [opt.relay] });
const out = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

// --- questions to the test's books ---
let next = 1;
const waiting = new Map();
const ask = (method, params) =>
  new Promise((resolve) => {
    const id = next++;
    waiting.set(id, ({ result, error }) => resolve({ result, error }));
    out({ id, method, params });
  });
const METHODS = ['get_info', 'get_balance', 'make_invoice', 'lookup_invoice', ...(opt.spends ? ['pay_invoice'] : [])];
const handler = {
  getInfo: async () => ({ result: { alias: 'books of the test', network: opt.network, methods: METHODS }, error: undefined }),
  getBalance: async () => ({ result: { balance: 0 }, error: undefined }),
  makeInvoice: (params) => ask('make_invoice', params),
  lookupInvoice: (params) => ask('lookup_invoice', params),
  ...(opt.spends ? { payInvoice: (params) => ask('pay_invoice', params) } : {}),
};

// --- notifications: the service class has none, so its own keys and encryption are used ---
const notification = async (hash) => {
  const scheme = opt.encryption === 'nip04' ? 'nip04' : 'nip44_v2';
  const text = JSON.stringify({ notification_type: 'payment_received', notification: { type: 'incoming', state: 'settled', payment_hash: hash } });
  return {
    kind: scheme === 'nip04' ? 23196 : 23197,
    created_at: Math.floor(Date.now() / 1000),
    tags: [['p', keypair.clientPubkey]],
    content: await service.encrypt(keypair, text, scheme),
  };
};
const publish = (event) => Promise.allSettled(service.pool.publish([opt.relay], event));
const commands = {
  notify: async (hash) => publish(await service.signEvent(await notification(hash), walletSecret)),
  forge: async (hash) => {
    const theirs = finalizeEvent(await notification(hash), generateSecretKey());
    await publish(theirs);
    await publish({ ...theirs, pubkey: keypair.walletPubkey });
  },
};

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const told = JSON.parse(line);
    if (told.id) {
      waiting.get(told.id)?.(told);
      waiting.delete(told.id);
      return;
    }
    const [name, hash] = Object.entries(told)[0];
    await commands[name](hash);
    out({ told: hash });
  })
  .on('close', () => process.exit(0));

if (opt.encryption === 'nip44') {
  await service.publishWalletServiceInfoEvent(walletSecret, METHODS, ['payment_received']);
} else {
  // A wallet of the time before NIP-44: its card names no encryption.
  const card = { kind: 13194, created_at: Math.floor(Date.now() / 1000), tags: [], content: METHODS.join(' ') };
  await publish(await service.signEvent(card, walletSecret));
}
await service.subscribe(keypair, handler);
out({ uri: `nostr+walletconnect://${keypair.walletPubkey}?relay=${encodeURIComponent(opt.relay)}&secret=${clientSecret}` });

#!/usr/bin/env node
// A NIP-90 buyer that shares no code with vend: it is written on nostr-tools, so that vend's events are judged by a
// library that other Nostr clients use. It sends one job to one relay, prints a JSON line for everything that comes back
// and ends with 0 once the result is there. It pays nothing: the line holds the invoice, and the test decides.
//
//   node buyer.mjs --relay ws://127.0.0.1:7777 --prompt "Write a haiku about rain."
//
// Every option can also be an environment variable (--relay is VEND_BUYER_RELAY, and so on; the option wins).
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const USAGE = `usage: buyer.mjs --relay URL --prompt TEXT [options]
  --seller PUBKEY      hex or npub: ask this seller alone (p tag); compulsory for an encrypted job
  --encryption MODE    none (default), nip04 or nip44
  --timeout SECONDS    give up after this long without a result (default 60)
  --follow SECONDS     go on listening for so long after the result, at most until a "success" feedback (default 0)
  --bid MSAT           bid tag; left out by default, for sellers must not need one
  --output MIME        output tag (default text/plain)
  --param NAME=VALUE   param tag; may be given several times
  --model NAME         the same as --param model=NAME
  --kind N             request kind (default 5050)
  --secret HEX         the buyer's secret key (default: a new one for this job)
exit: 0 result received, 1 relay or time-out, 2 wrong usage, 3 the named seller answered "error"`;

const fail = (code, text) => {
  process.stderr.write(`buyer: ${text}\n`);
  process.exit(code);
};

// --- options ---------------------------------------------------------------------------------------------------------
const NAMES = ['relay', 'prompt', 'seller', 'encryption', 'timeout', 'follow', 'bid', 'output', 'model', 'kind', 'secret'];
const opt = { encryption: 'none', timeout: '60', follow: '0', output: 'text/plain', kind: '5050' };
const params = [];
for (const name of NAMES) {
  const value = process.env[`VEND_BUYER_${name.toUpperCase()}`];
  if (value) opt[name] = value;
}
for (let i = 2; i < process.argv.length; i += 2) {
  const [name, value] = [process.argv[i].replace(/^--/, ''), process.argv[i + 1]];
  if (name === 'help' || name === '-h') fail(2, USAGE);
  if (value === undefined) fail(2, `${process.argv[i]} needs a value\n${USAGE}`);
  if (name === 'param') {
    const at = value.indexOf('=');
    if (at < 1) fail(2, '--param wants NAME=VALUE');
    params.push(['param', value.slice(0, at), value.slice(at + 1)]);
  } else if (NAMES.includes(name)) opt[name] = value;
  else fail(2, `unknown option ${process.argv[i]}\n${USAGE}`);
}
if (!opt.relay || !opt.prompt) fail(2, USAGE);
if (opt.model) params.push(['param', 'model', opt.model]);
if (!['none', 'nip04', 'nip44'].includes(opt.encryption)) fail(2, 'encryption is none, nip04 or nip44');
for (const name of ['timeout', 'follow', 'kind']) {
  if (!(Number(opt[name]) >= 0)) fail(2, `--${name} wants a number`);
}

// The test jobs must never reach a public relay, whatever a test hands over by mistake: loopback or nothing.
let host;
try {
  const url = new URL(opt.relay);
  if (!['ws:', 'wss:'].includes(url.protocol)) throw new Error('no ws');
  host = url.hostname;
} catch {
  fail(2, 'the relay must be a ws:// address');
}
if (!(host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host))) fail(2, 'the relay must be on loopback');

// --- libraries -------------------------------------------------------------------------------------------------------
// They live in the tools folder, not beside this file, so that the work tree stays free of node_modules.
const here = path.dirname(fileURLToPath(import.meta.url));
const tools = process.env.VEND_LIVE_TOOLS || path.resolve(here, '../../target/live-tools');
let nostr, AbstractRelay, WebSocket;
try {
  const load = createRequire(path.resolve(tools, 'node/package.json'));
  nostr = load('nostr-tools');
  ({ AbstractRelay } = load('nostr-tools/relay'));
  WebSocket = load('ws'); // Node 20 has no WebSocket of its own
} catch (e) {
  fail(1, `nostr-tools can't be loaded (${e.code || e.message}): run setup.sh first`);
}
const { finalizeEvent, generateSecretKey, getPublicKey, verifyEvent, nip04, nip19, nip44 } = nostr;

// --- the request -----------------------------------------------------------------------------------------------------
const kind = Number(opt.kind);
const secret = opt.secret ? Uint8Array.from(Buffer.from(opt.secret, 'hex')) : generateSecretKey();
if (secret.length !== 32) fail(2, 'the secret must be 64 hex digits');
const me = getPublicKey(secret);
let seller;
if (opt.seller) {
  try {
    seller = opt.seller.startsWith('npub1') ? nip19.decode(opt.seller).data : opt.seller.toLowerCase();
  } catch {
    fail(2, 'the seller is no npub');
  }
  if (!/^[0-9a-f]{64}$/.test(seller)) fail(2, 'the seller must be a hex public key or an npub');
}
const encrypted = opt.encryption !== 'none';
if (encrypted && !seller) fail(2, 'an encrypted job needs --seller');

const encrypt = (text) =>
  opt.encryption === 'nip04' ? nip04.encrypt(secret, seller, text) : nip44.encrypt(text, nip44.getConversationKey(secret, seller));
// The form of the ciphertext tells which of the two it is, as NIP-90 has no tag for it.
const schemeOf = (text) => {
  if (/^[A-Za-z0-9+/=]+\?iv=[A-Za-z0-9+/=]+$/.test(text)) return 'nip04';
  return /^[A-Za-z0-9+/=]{132,}$/.test(text) ? 'nip44' : null;
};
const decrypt = (text, from) =>
  schemeOf(text) === 'nip04' ? nip04.decrypt(secret, from, text) : nip44.decrypt(text, nip44.getConversationKey(secret, from));

// What describes the job is secret in an encrypted one; p, bid and the bare "encrypted" tag stay readable.
const inner = [['i', opt.prompt, 'text'], ['output', opt.output], ...params];
const outer = [];
if (opt.bid) outer.push(['bid', String(opt.bid)]);
if (seller) outer.push(['p', seller]);
if (encrypted) outer.push(['encrypted']);
const request = finalizeEvent(
  {
    kind,
    created_at: Math.floor(Date.now() / 1000),
    tags: encrypted ? outer : [...inner, ...outer],
    content: encrypted ? encrypt(JSON.stringify(inner)) : '',
  },
  secret,
);

// --- what comes back -------------------------------------------------------------------------------------------------
const started = Date.now();
const say = (line) => process.stdout.write(`${JSON.stringify({ ...line, ms: Date.now() - started })}\n`);
const values = (event, name) => event.tags.filter((t) => t[0] === name);

// One text of an answer: deciphered for an encrypted job. A text that should be secret and isn't is told, not hidden.
function open(text, from) {
  if (!encrypted || !text) return { text, scheme: null };
  const scheme = schemeOf(text);
  if (!scheme) return { text, scheme: null };
  try {
    return { text: decrypt(text, from), scheme };
  } catch (e) {
    return { text: null, scheme, error: e.message };
  }
}

function describe(event) {
  const amount = values(event, 'amount')[0];
  const body = open(event.content, event.pubkey);
  const line = {
    id: event.id,
    kind: event.kind,
    seller: event.pubkey,
    created_at: event.created_at,
    content: body.text,
    encryption: body.scheme || 'none',
    amount_msat: amount && /^\d+$/.test(amount[1] ?? '') ? Number(amount[1]) : null,
    bolt11: amount?.[2] || null,
    tags: event.tags,
  };
  if (body.error) line.decrypt_error = body.error;
  return line;
}

// A prompt of a few letters may stand in any ciphertext by chance, so only a longer one proves a leak.
const leaks = (event) => opt.prompt.length >= 8 && JSON.stringify(event).includes(JSON.stringify(opt.prompt).slice(1, -1));

// The rules of NIP-90 that a buyer's program relies on; a false one is the test's to judge.
function checks(event) {
  const carried = values(event, 'request');
  let same = null;
  if (carried.length === 1) {
    try {
      const inside = JSON.parse(carried[0][1]);
      same = inside.id === request.id && verifyEvent(inside);
    } catch {
      same = false;
    }
  }
  const e = values(event, 'e');
  const p = values(event, 'p');
  return {
    kind: event.kind === kind + 1000,
    one_e: e.length === 1 && e[0][1] === request.id,
    one_p: p.length === 1 && p[0][1] === me,
    request: same,
    not_older: event.created_at >= request.created_at,
    no_clear_input: !encrypted || (values(event, 'i').length === 0 && !leaks(event)),
    encrypted: !encrypted || (values(event, 'encrypted').length === 1 && schemeOf(event.content) === opt.encryption),
  };
}

// nostr-tools would drop a forged event without a word; here it is let through, judged by the same verifyEvent, and told.
const relay = new AbstractRelay(opt.relay, { verifyEvent: () => true, websocketImplementation: WebSocket });
let finished = false;
function finish(code, text) {
  if (finished) return;
  finished = true;
  if (text) process.stderr.write(`buyer: ${text}\n`);
  relay.onclose = null;
  try {
    relay.close();
  } catch {
    // the socket was gone already
  }
  // Written lines may still sit in a pipe: end when they are out.
  process.stdout.write('', () => process.exit(code));
}

let delivered = false;
const seen = new Set();
function onevent(event) {
  if (finished || seen.has(event.id)) return;
  seen.add(event.id);
  if (!verifyEvent(event)) return say({ type: 'rejected', reason: 'id or signature is wrong', id: event.id });
  if (seller && event.pubkey !== seller) return say({ type: 'rejected', reason: 'not from the seller asked', id: event.id });
  if (event.kind === 7000) {
    const [, status, info] = values(event, 'status')[0] ?? [];
    const extra = open(info ?? '', event.pubkey);
    say({ type: 'feedback', status: status ?? null, extra: extra.text, ...describe(event) });
    if (status === 'error' && seller && !delivered) finish(3, 'the seller answered with an error');
    if (status === 'success' && delivered) finish(0);
    return;
  }
  say({ type: 'result', checks: checks(event), ...describe(event) });
  if (delivered) return;
  delivered = true;
  clearTimeout(limit);
  setTimeout(() => finish(0), Number(opt.follow) * 1000);
}

const limit = setTimeout(() => finish(1, `no result within ${opt.timeout} s`), Number(opt.timeout) * 1000);
relay.onnotice = (text) => process.stderr.write(`buyer: relay says: ${text}\n`);
relay.onclose = () => finish(delivered ? 0 : 1, 'the relay closed the connection');
try {
  await relay.connect();
  // Listening starts before the request goes out, so that no answer can be missed, however fast the seller is.
  await new Promise((resolve) => {
    relay.subscribe([{ kinds: [7000, kind + 1000], '#e': [request.id] }], {
      onevent,
      oneose: resolve,
      onclose: (reason) => finish(delivered ? 0 : 1, `the relay closed the subscription: ${reason}`),
    });
  });
  // Told before publishing: a fast seller's first answer may overtake the relay's OK, and readers want this line first.
  say({ type: 'request', id: request.id, kind, buyer: me, encryption: opt.encryption });
  const answer = await relay.publish(request);
  say({ type: 'published', id: request.id, relay_says: answer || '' });
} catch (e) {
  finish(1, `relay: ${e?.message || e || 'no connection'}`);
}

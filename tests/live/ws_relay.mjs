#!/usr/bin/env node
// A small relay on the `ws` server as most JavaScript relays have it: with `maxPayload`, so that a longer message closes the
// socket (code 1009) and whoever sent it has to find out why.
//
//   node ws_relay.mjs PORT LONGEST [told]
//
// "told": its description (NIP-11) says how long a message may be. Without the word it says nothing.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const here = path.dirname(fileURLToPath(import.meta.url));
const tools = process.env.VEND_LIVE_TOOLS || path.resolve(here, '../../target/live-tools');
const load = createRequire(path.resolve(tools, 'node/package.json'));
const { WebSocketServer } = load('ws');
const { matchFilters, verifyEvent } = load('nostr-tools');

const [port, longest, told] = process.argv.slice(2);
const maxPayload = Number(longest);
const events = new Map();
const card = { name: 'vend live tests', supported_nips: [1, 11], software: 'ws_relay.mjs' };
if (told) card.limitation = { max_message_length: maxPayload };

const http = createServer((_, reply) => {
  reply.writeHead(200, { 'content-type': 'application/nostr+json' });
  reply.end(JSON.stringify(card));
});
const sockets = new WebSocketServer({ server: http, maxPayload });
const subscriptions = new Map(); // socket -> Map(id -> filters)

sockets.on('connection', (socket) => {
  subscriptions.set(socket, new Map());
  const say = (...parts) => socket.send(JSON.stringify(parts));
  socket.on('error', () => {}); // too long a message: ws closes the socket by itself
  socket.on('close', () => subscriptions.delete(socket));
  socket.on('message', (bytes) => {
    let parts;
    try {
      parts = JSON.parse(bytes.toString());
    } catch {
      return say('NOTICE', 'no JSON');
    }
    const [what, first, ...rest] = parts;
    if (what === 'REQ') {
      subscriptions.get(socket).set(first, rest);
      for (const event of events.values()) if (matchFilters(rest, event)) say('EVENT', first, event);
      return say('EOSE', first);
    }
    if (what === 'CLOSE') return subscriptions.get(socket).delete(first);
    if (what !== 'EVENT') return say('NOTICE', 'unknown');
    if (!verifyEvent(first)) return say('OK', first.id, false, 'invalid: id or signature');
    if (events.has(first.id)) return say('OK', first.id, true, 'duplicate: have it');
    events.set(first.id, first);
    say('OK', first.id, true, '');
    for (const [other, subs] of subscriptions)
      for (const [id, filters] of subs) if (matchFilters(filters, first)) other.send(JSON.stringify(['EVENT', id, first]));
  });
});
http.listen(Number(port), '127.0.0.1');

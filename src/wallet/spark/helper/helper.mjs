// The Spark helper of vend: the official SDK behind one JSON line in, one JSON line out.
//
// src/wallet/spark/wire.rs is the other end. A question has an `id` and an `op`; its answer has the same `id` and either
// `ok` or `error`. Lines without an id are events. No line is longer than MAX_LINE. The words of the wallet come over
// stdin alone and are kept nowhere. When stdin closes, the helper cleans up and exits.

import readline from "node:readline";

const PROTOCOL = 1;
const MAX_LINE = 64 * 1024;
const OLDEST_NODE = 18;
const TIMES_MS = { open: 28_000, create: 25_000, lookup: 12_000, balance: 12_000 };
const CLEANUP_MS = 3_000;

// The SDK writes warnings to the console, which would otherwise break the lines: only `send` writes to stdout.
const writeLine = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);
globalThis.console = new console.Console(process.stderr, process.stderr);

function send(message) {
  let line = JSON.stringify(message);
  if (Buffer.byteLength(line) >= MAX_LINE) {
    line = JSON.stringify({ id: message.id, error: { kind: "failed", message: "the answer was too long" } });
  }
  writeLine(`${line}\n`);
}

class Trouble extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

// The SDK keeps trying for minutes while its servers are away.
function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Trouble("timeout", `Spark did not answer within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

let sdk;
async function loadSdk() {
  try {
    sdk ??= await import("@buildonspark/spark-sdk");
  } catch (error) {
    throw new Trouble("sdk_missing", error.code ?? "the Spark SDK does not load");
  }
  return sdk;
}

async function sdkVersion() {
  const { readFile } = await import("node:fs/promises");
  const file = new URL("./node_modules/@buildonspark/spark-sdk/package.json", import.meta.url);
  try {
    return JSON.parse(await readFile(file, "utf8")).version;
  } catch {
    return null;
  }
}

// ---- errors -----------------------------------------------------------------------------------------------------

const AWAY = /UNAVAILABLE|DEADLINE_EXCEEDED|fetch failed|Name resolution failed|E(CONN(REFUSED|RESET|ABORTED)|NOTFOUND|AI_AGAIN|TIMEDOUT|HOSTUNREACH|NETUNREACH|PIPE)|UND_ERR_|socket hang up/;
const SLOW_DOWN = /RESOURCE_EXHAUSTED|Too Many Requests|\b429\b/;

// What the error and its causes say, for looking through; never sent as it is.
function* texts(error, depth = 0) {
  if (!error || depth > 6) return;
  yield `${error.name ?? ""} ${error.code ?? ""} ${error.message ?? error} ${error.details ?? ""}`;
  for (const cause of [error.originalError, error.cause, error.error, ...(error.errors ?? [])]) {
    yield* texts(cause, depth + 1);
  }
}

let hosts = [];

function told(error) {
  if (error instanceof Trouble) return { kind: error.kind, message: error.message };
  const all = [...texts(error)].join("\n");
  // The SDK puts keys and whole requests into brackets behind its sentence.
  const sentence = String(error?.message ?? error).split("[")[0].trim().slice(0, 200) || "no reason given";
  if (AWAY.test(all)) {
    const named = [...new Set(hosts)].filter((host) => all.includes(host));
    return { kind: "unreachable", message: named.length ? `${named.join(", ")}: ${sentence}` : sentence };
  }
  if (SLOW_DOWN.test(all)) return { kind: "rate_limited", message: sentence };
  if (error?.name === "SparkValidationError") return { kind: "rejected", message: sentence };
  return { kind: "failed", message: sentence };
}

// ---- where Spark is ---------------------------------------------------------------------------------------------

const NETWORKS = ["MAINNET", "REGTEST"];

function isLoopback(address) {
  return ["127.0.0.1", "localhost", "[::1]"].includes(new URL(address).hostname);
}

// A Spark of one's own on this machine. It stands in for regtest only, and nothing but loopback is taken for it, so that
// no file and no mistake can lead a mainnet wallet, or any wallet's words' signatures, elsewhere.
function localOptions({ operators, threshold, ssp }) {
  for (const address of [...operators.map((one) => one.address), ssp.url]) {
    if (!isLoopback(address)) throw new Trouble("bad_request", "a local Spark must be on this machine");
  }
  return {
    network: "LOCAL",
    signingOperators: Object.fromEntries(
      operators.map((one, id) => [
        one.identifier,
        { id, identifier: one.identifier, address: one.address, identityPublicKey: one.public_key },
      ]),
    ),
    coordinatorIdentifier: operators[0].identifier,
    threshold,
    sspClientOptions: { baseUrl: ssp.url, identityPublicKey: ssp.public_key },
    tls: { dangerouslyDisableCertificateVerification: true },
  };
}

function optionsFor({ network, local }) {
  if (!NETWORKS.includes(network)) throw new Trouble("bad_request", "no such network");
  if (local === undefined || local === null) return { network };
  if (network !== "REGTEST") throw new Trouble("bad_request", "a local Spark is for regtest only");
  return localOptions(local);
}

function serversOf(options) {
  const config = sdk.WalletConfig[options.network];
  const operators = options.signingOperators ?? config.signingOperators;
  const ssp = options.sspClientOptions ?? config.sspClientOptions;
  return [...Object.values(operators).map((one) => one.address), ssp.baseUrl].map((url) => new URL(url).host);
}

// ---- what is asked ----------------------------------------------------------------------------------------------

// Hints to look: none of them says which invoice was paid.
const EVENTS = [
  ["transfer:claimed", "claimed"],
  ["balance:update", "balance"],
  ["stream:connected", "stream_up"],
  ["stream:disconnected", "stream_down"],
];

let wallet = null;
let ending = false;

function opened() {
  if (!wallet) throw new Trouble("not_open", "no wallet is open");
  return wallet;
}

function accountOf({ account }) {
  if (!Number.isSafeInteger(account) || account < 0) throw new Trouble("bad_request", "no account number");
  return account;
}

const ops = {
  async hello() {
    const node = process.version;
    // Not loaded on an old Node: what it would say is not worth reading.
    if (Number.parseInt(node.slice(1), 10) >= OLDEST_NODE) await loadSdk();
    return { protocol: PROTOCOL, sdk: await sdkVersion(), node };
  },

  // Who the wallet is, from its words alone: asks nobody.
  async address(ask) {
    const { DefaultSparkSigner, encodeSparkAddress } = await loadSdk();
    const signer = new DefaultSparkSigner();
    const seed = await signer.mnemonicToSeed(ask.mnemonic);
    const identity = await signer.createSparkWalletFromSeed(seed, accountOf(ask));
    const { network } = optionsFor(ask);
    return { identity, spark_address: encodeSparkAddress({ identityPublicKey: identity, network }) };
  },

  async open(ask) {
    if (wallet) throw new Trouble("bad_request", "a wallet is open already");
    const { SparkWallet } = await loadSdk();
    const options = optionsFor(ask);
    hosts = serversOf(options);
    const made = await within(
      TIMES_MS.open,
      SparkWallet.initialize({
        mnemonicOrSeed: ask.mnemonic,
        // The SDK's own default differs between networks: the same words would be another wallet.
        accountNumber: accountOf(ask),
        options,
      }),
    );
    wallet = made.wallet;
    for (const [name, event] of EVENTS) wallet.on(name, () => ending || send({ event }));
    return { identity: await wallet.getIdentityPublicKey(), spark_address: await wallet.getSparkAddress() };
  },

  async create({ amount_sats, memo, expiry_s }) {
    // The SDK takes a zero and makes an invoice that takes any amount.
    if (!Number.isSafeInteger(amount_sats) || amount_sats < 1) throw new Trouble("rejected", "no amount in whole sats");
    if (!Number.isSafeInteger(expiry_s) || expiry_s < 1) throw new Trouble("rejected", "no expiry");
    const made = await within(
      TIMES_MS.create,
      // Without a Spark address or invoice inside: what is paid through one can't be tied to the invoice.
      opened().createLightningInvoice({ amountSats: amount_sats, memo, expirySeconds: expiry_s }),
    );
    return shown(made);
  },

  async lookup({ request_id }) {
    const found = await within(TIMES_MS.lookup, opened().getLightningReceiveRequest(request_id));
    return found ? shown(found) : { status: null };
  },

  async balance() {
    const { satsBalance } = await within(TIMES_MS.balance, opened().getBalance());
    const { available, owned, incoming } = satsBalance;
    return { available: `${available}`, owned: `${owned}`, incoming: `${incoming}` };
  },
};

function msat(amount) {
  const units = { SATOSHI: 1_000, MILLISATOSHI: 1 };
  const value = Number(amount?.originalValue) * units[amount?.originalUnit];
  return Number.isSafeInteger(value) ? value : null;
}

function shown(request) {
  const { invoice, transfer } = request;
  return {
    request_id: request.id,
    status: request.status,
    bolt11: invoice?.encodedInvoice ?? null,
    payment_hash: invoice?.paymentHash ?? null,
    amount_msat: msat(invoice?.amount),
    expires_at: invoice?.expiresAt ?? null,
    received_msat: msat(transfer?.totalAmount),
    preimage: request.paymentPreimage ?? null,
  };
}

// ---- lines ------------------------------------------------------------------------------------------------------

async function answer(line) {
  let ask;
  try {
    ask = JSON.parse(line);
  } catch {
    return send({ error: { kind: "bad_request", message: "a line is not JSON" } });
  }
  const { id, op } = ask;
  try {
    if (op === "close") {
      send({ id, ok: {} });
      return await end(0);
    }
    if (!Object.hasOwn(ops, op)) throw new Trouble("bad_request", "no such op");
    send({ id, ok: await ops[op](ask) });
  } catch (error) {
    send({ id, error: told(error) });
  }
}

async function end(code) {
  if (ending) return;
  ending = true;
  // However the cleaning goes: the state is on Spark's servers.
  if (wallet) await within(CLEANUP_MS, wallet.cleanup()).catch(() => {});
  process.exit(code);
}

// What fails in the background of the SDK is tried again by it; an error that nobody caught leaves an unknown state.
process.on("unhandledRejection", (reason) => console.error("unhandled:", reason?.name));
process.on("uncaughtException", (error) => {
  console.error("uncaught:", error?.name);
  process.exit(1);
});
process.on("SIGTERM", () => end(0));
// Ctrl-C at a terminal reaches the whole group: vend decides when the helper ends.
process.on("SIGINT", () => {});

const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("line", answer);
lines.on("close", () => end(0));

// A Spark for the live tests, on loopback: three signing operators (gRPC over TLS) and a service provider (GraphQL), as far
// as the official SDK asks them when it opens a wallet, makes an invoice, looks it up and counts its balance.
//
//   VEND_LIVE_TOOLS=… node spark_remote.mjs CERT.pem KEY.pem
//
// It speaks JSON lines with the test that started it:
//   < {"ready":{"operators":[…],"threshold":2,"ssp":{…}}}          what goes into spark/local.json
//   < {"sign":{"id":1,"payment_hash":…,"amount_sats":…,"memo":…,"expiry_s":…}}   > {"signed":{"id":1,"bolt11":…}}
//   > {"pay":HASH}                                                 < {"paid":{"payment_hash":…,"preimage":…}}
//   > {"status":{"payment_hash":…,"status":…}}                     < {"set":{…}}
// The invoices are signed by the test, with the library that vend trusts. The preimage is not made here: paying puts it
// together from the shares that the SDK stored with the operators, as the real ones do.
//
// Not here: leaves and their transfers. A payment is told of, not moved, so nothing is there to be claimed.

import { createRequire } from "node:module";
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { randomBytes, randomUUID } from "node:crypto";
import readline from "node:readline";
import { gunzipSync, inflateSync } from "node:zlib";
import { pathToFileURL } from "node:url";

const folder = `${process.env.VEND_LIVE_TOOLS}/spark/`;
const require = createRequire(folder);
const at = (name) => import(pathToFileURL(`${folder}node_modules/${name}`));
const grpc = require("@grpc/grpc-js");
const { secp256k1 } = await at("@noble/curves/secp256k1.js").catch(() => at("@noble/curves/esm/secp256k1.js"));
const { getSparkFrost, recoverSecret } = await at("@buildonspark/spark-sdk/dist/index.node.js");
const spark = await at("@buildonspark/spark-sdk/dist/proto/spark.js");

const [certificate, key] = process.argv.slice(2).map((path) => readFileSync(path));
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const hex = (bytes) => Buffer.from(bytes).toString("hex");

const operators = [1, 2, 3].map((n) => {
  const secret = secp256k1.utils.randomPrivateKey();
  return { identifier: `${n}`.padStart(64, "0"), secret, public_key: hex(secp256k1.getPublicKey(secret)) };
});
const THRESHOLD = 2;
const requests = new Map(); // by payment hash

// ---- operators --------------------------------------------------------------------------------------------------

const varint = (n) => {
  const out = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  return Buffer.from([...out, n]);
};
const field = (number, bytes) => Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
const number = (at, n) => Buffer.concat([varint(at * 8), varint(n)]);
const asIs = (bytes) => Buffer.from(bytes);

// ProtectedChallenge { version 1, challenge { version, timestamp, nonce, public_key }, server_hmac }
function challenge(ask) {
  const publicKey = asIs(ask.subarray(2));
  const inner = [number(1, 1), number(2, Math.floor(Date.now() / 1000)), field(3, randomBytes(32)), field(4, publicKey)];
  const outer = [number(1, 1), field(2, Buffer.concat(inner)), field(3, randomBytes(32))];
  return field(1, Buffer.concat(outer));
}

async function storeShares(bytes) {
  const ask = spark.StorePreimageShareV2Request.decode(bytes);
  const shares = [];
  for (const [index, operator] of operators.entries()) {
    const sealed = ask.encryptedPreimageShares[operator.identifier];
    const share = spark.SecretShare.decode(await getSparkFrost().decryptEcies(sealed, operator.secret));
    shares.push({ share: share.secretShare, index: index + 1, threshold: THRESHOLD, proofs: share.proofs });
  }
  requests.get(hex(ask.paymentHash)).shares = shares;
}

const server = new grpc.Server();
const unary = (path, work) =>
  server.register(
    path,
    (call, back) =>
      Promise.resolve(work(call.request)).then(
        (answer) => back(null, answer ?? Buffer.alloc(0)),
        (error) => back({ code: grpc.status.INTERNAL, details: `${error}` }),
      ),
    asIs,
    asIs,
    "unary",
  );
unary("/spark_authn.SparkAuthnService/get_challenge", challenge);
unary("/spark_authn.SparkAuthnService/verify_challenge", () =>
  Buffer.concat([field(1, Buffer.from("session")), number(2, Math.floor(Date.now() / 1000) + 3600)]),
);
// What a wallet without money is answered: an empty message.
const special = { store_preimage_share_v2: storeShares };
const { SparkServiceDefinition } = spark;
const { SparkTokenServiceDefinition } = await at("@buildonspark/spark-sdk/dist/proto/spark_token.js");
for (const service of [SparkServiceDefinition, SparkTokenServiceDefinition]) {
  for (const { name, responseStream } of Object.values(service.methods)) {
    const path = `/${service.fullName}/${name}`;
    if (!responseStream) unary(path, special[name] ?? (() => undefined));
    else {
      const held = (call) => call.write(spark.SubscribeToEventsResponse.encode({ event: { $case: "connected", connected: {} } }).finish());
      server.register(path, held, asIs, asIs, "serverStream");
    }
  }
}
const tls = grpc.ServerCredentials.createSsl(null, [{ private_key: key, cert_chain: certificate }]);
const port = await new Promise((done, failed) =>
  server.bindAsync("127.0.0.1:0", tls, (error, port) => (error ? failed(error) : done(port))),
);

// ---- service provider -------------------------------------------------------------------------------------------

const waiting = new Map();
function signed(ask) {
  const id = waiting.size + 1;
  return new Promise((done) => {
    waiting.set(id, done);
    say({ sign: { id, ...ask } });
  });
}

const amount = (sats) => ({ currency_amount_original_value: sats, currency_amount_original_unit: "SATOSHI" });

function shown(one) {
  return {
    __typename: "LightningReceiveRequest",
    lightning_receive_request_id: one.id,
    lightning_receive_request_created_at: one.created_at,
    lightning_receive_request_updated_at: one.created_at,
    lightning_receive_request_network: "REGTEST",
    lightning_receive_request_status: one.status,
    lightning_receive_request_payment_preimage: one.preimage,
    lightning_receive_request_invoice: {
      invoice_encoded_invoice: one.bolt11,
      invoice_bitcoin_network: "REGTEST",
      invoice_payment_hash: one.payment_hash,
      invoice_amount: amount(one.amount_sats),
      invoice_created_at: one.created_at,
      invoice_expires_at: one.expires_at,
      invoice_memo: one.memo,
    },
    lightning_receive_request_transfer: one.preimage
      ? { transfer_total_amount: amount(one.amount_sats), transfer_spark_id: randomUUID() }
      : null,
  };
}

async function receive(ask) {
  const now = Date.now();
  const one = {
    id: `SparkLightningReceiveRequest:${randomUUID()}`,
    status: "INVOICE_CREATED",
    payment_hash: ask.payment_hash,
    amount_sats: ask.amount_sats,
    memo: ask.memo,
    created_at: new Date(now).toISOString(),
    expires_at: new Date(now + ask.expiry_secs * 1000).toISOString(),
  };
  one.bolt11 = await signed({
    payment_hash: one.payment_hash,
    amount_sats: one.amount_sats,
    memo: one.memo ?? "",
    expiry_s: ask.expiry_secs,
  });
  requests.set(one.payment_hash, one);
  return { request_lightning_receive: { request: shown(one) } };
}

const answers = {
  GetChallenge: () => ({ get_challenge: { get_challenge_output_protected_challenge: randomBytes(64).toString("base64") } }),
  VerifyChallenge: () => ({
    verify_challenge: {
      verify_challenge_output_valid_until: new Date(Date.now() + 3_600_000).toISOString(),
      verify_challenge_output_session_token: "session",
    },
  }),
  RequestLightningReceive: receive,
  UserRequest: ({ request_id }) => {
    const found = [...requests.values()].find((one) => one.id === request_id);
    return { user_request: found ? shown(found) : null };
  },
};

const provider = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let body = Buffer.concat(chunks);
  const coding = request.headers["content-encoding"];
  if (coding === "deflate") body = inflateSync(body);
  if (coding === "gzip") body = gunzipSync(body);
  const { operationName, query, variables } = JSON.parse(body);
  const name = operationName ?? /(?:query|mutation)\s+(\w+)/.exec(query)[1];
  const data = await answers[name]?.(variables);
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(data ? { data } : { errors: [{ message: `this Spark knows no ${name}` }] }));
});
await new Promise((done) => provider.listen(0, "127.0.0.1", done));

// ---- the test ---------------------------------------------------------------------------------------------------

async function pay(payment_hash) {
  const one = requests.get(payment_hash);
  // Any two of the three; the recovered secret must open the invoice's hash, which the seller checks.
  one.preimage = hex(await recoverSecret(one.shares.slice(1)));
  one.status = "TRANSFER_COMPLETED";
  say({ paid: { payment_hash, preimage: one.preimage } });
}

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const message = JSON.parse(line);
  if (message.signed) waiting.get(message.signed.id)(message.signed.bolt11);
  if (message.pay) pay(message.pay);
  if (message.status) {
    requests.get(message.status.payment_hash).status = message.status.status;
    say({ set: message.status });
  }
});
lines.on("close", () => process.exit(0));

say({
  ready: {
    operators: operators.map(({ identifier, public_key }) => ({ identifier, public_key, address: `https://127.0.0.1:${port}` })),
    threshold: THRESHOLD,
    ssp: { url: `http://127.0.0.1:${provider.address().port}`, public_key: operators[0].public_key },
  },
});

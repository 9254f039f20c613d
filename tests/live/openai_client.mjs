// OpenAI's own client for Node against a gateway: BASE KEY TOOLS -> one JSON document of what it got.
const [baseURL, apiKey, tools] = process.argv.slice(2);
const { default: OpenAI } = await import(`${tools}/node_modules/openai/index.mjs`);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: 'user', content: 'What is the capital of France?' }];
const out = { models: [] };
for await (const model of client.models.list()) out.models.push(model.id);

const { data, response } = await client.chat.completions
  .create({ model: 'auto', messages, max_tokens: 14 })
  .withResponse();
out.plain = {
  text: data.choices[0].message.content,
  reason: data.choices[0].finish_reason,
  usage: data.usage,
  job: response.headers.get('x-vend-job'),
  sats: Number(response.headers.get('x-vend-sats')),
};

let text = '', usage = null;
const reasons = [];
const stream = await client.chat.completions.create({
  model: 'auto', messages, max_tokens: 13, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  for (const choice of chunk.choices) {
    text += choice.delta.content ?? '';
    if (choice.finish_reason) reasons.push(choice.finish_reason);
  }
  usage = chunk.usage ?? usage;
}
out.stream = { text, reasons, total_tokens: usage.total_tokens };
out.completion = (await client.completions.create({ model: 'auto', prompt: 'Hello.', max_tokens: 7 })).choices[0].text;

out.errors = {};
for (const [name, call] of Object.entries({
  model: () => client.chat.completions.create({ model: 'nobody-has-it', messages }),
  n: () => client.chat.completions.create({ model: 'auto', messages, n: 2 }),
  key: () => new OpenAI({ baseURL, apiKey: 'sk-wrong', maxRetries: 0 }).models.list(),
})) {
  try {
    await call();
    out.errors[name] = null;
  } catch (error) {
    out.errors[name] = [error.constructor.name, error.status, error.code];
  }
}
console.log(JSON.stringify(out));

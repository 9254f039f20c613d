"""OpenAI's own client for Python against a gateway: BASE KEY -> one JSON document of what it got."""
import json
import sys

import openai

base, key = sys.argv[1:3]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0, timeout=120)
question = [{"role": "user", "content": "What is the capital of France?"}]
out = {"models": [model.id for model in client.models.list()]}

raw = client.chat.completions.with_raw_response.create(model="auto", messages=question, max_tokens=16)
plain = raw.parse()
out["plain"] = {
    "text": plain.choices[0].message.content,
    "reason": plain.choices[0].finish_reason,
    "usage": plain.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}),
    "job": raw.headers["x-vend-job"],
    "sats": int(raw.headers["x-vend-sats"]),
}

text, usage, reasons = "", None, []
for chunk in client.chat.completions.create(
    model="auto", messages=question, max_tokens=15, stream=True, stream_options={"include_usage": True}
):
    for choice in chunk.choices:
        text += choice.delta.content or ""
        if choice.finish_reason:
            reasons.append(choice.finish_reason)
    usage = chunk.usage or usage
out["stream"] = {"text": text, "reasons": reasons, "total_tokens": usage.total_tokens}

out["completion"] = client.completions.create(model="auto", prompt="Hello.", max_tokens=8).choices[0].text

out["errors"] = {}
for name, call in {
    "model": lambda: client.chat.completions.create(model="nobody-has-it", messages=question),
    "n": lambda: client.chat.completions.create(model="auto", messages=question, n=2),
    "key": lambda: client.with_options(api_key="sk-wrong").models.list(),
}.items():
    try:
        call()
        out["errors"][name] = None
    except openai.APIStatusError as error:
        out["errors"][name] = [type(error).__name__, error.status_code, error.code]
print(json.dumps(out))

"""OpenAI's own client asks one seller through a gateway: BASE KEY NPUB -> one JSON document of the answer."""
import json
import sys

import openai

base, key, npub = sys.argv[1:4]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0, timeout=280)
conversation = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": "What is the capital of France?"},
]
raw = client.chat.completions.with_raw_response.create(model=f"auto@{npub}", messages=conversation, max_tokens=64)
answer = raw.parse()
print(json.dumps({"text": answer.choices[0].message.content, "sats": int(raw.headers["x-vend-sats"])}))

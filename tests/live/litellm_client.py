"""LiteLLM against a gateway: BASE KEY -> one JSON document of what it got."""
import json
import os
import sys

# Its list of prices would be fetched from the net.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.telemetry = False
# Its words about an error go to stdout.
litellm.suppress_debug_info = True
base, key = sys.argv[1:3]
common = {"model": "openai/auto", "api_base": base, "api_key": key, "num_retries": 0, "timeout": 120}
question = [{"role": "user", "content": "What is the capital of France?"}]

plain = litellm.completion(messages=question, max_tokens=14, **common)
out = {
    "plain": {
        "text": plain.choices[0].message.content,
        "reason": plain.choices[0].finish_reason,
        "total_tokens": plain.usage.total_tokens,
    }
}
text, usage = "", None
for chunk in litellm.completion(
    messages=question, max_tokens=13, stream=True, stream_options={"include_usage": True}, **common
):
    for choice in chunk.choices:
        text += choice.delta.content or ""
    usage = getattr(chunk, "usage", None) or usage
out["stream"] = {"text": text, "total_tokens": usage.total_tokens}
try:
    litellm.completion(messages=question, **{**common, "model": "openai/nobody-has-it"})
except litellm.NotFoundError as error:
    out["error"] = error.status_code
print(json.dumps(out))

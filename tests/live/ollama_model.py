#!/usr/bin/env python3
"""Registers a GGUF file with a running Ollama, without any download:

    ollama_model.py --url http://127.0.0.1:11434 --name vend-tiny --gguf vend-tiny.gguf

The default template is vend-tiny's prompt form. It must be given: this way of registering does not take a chat template
over from the file, and without one the model sees the bare prompt and answers something else.
"""
import argparse
import hashlib
import json
import sys
import time
import urllib.error
import urllib.request

HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def post(url, data):
    kind = {"Content-Type": "application/octet-stream"}
    with HTTP.open(urllib.request.Request(url, data, kind, method="POST"), timeout=120) as answer:
        return answer.read().decode()


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--url", required=True)
    a.add_argument("--name", default="vend-tiny")
    a.add_argument("--gguf", required=True)
    a.add_argument("--template", default="Q: {{ .Prompt }}\nA:", help="in Ollama's Go template language")
    a.add_argument("--threads", type=int, default=1, help="0: Ollama's own choice")
    a.add_argument("--wait", type=float, default=60, help="seconds to wait for the server")
    o = a.parse_args()
    url = o.url.rstrip("/")
    end = time.monotonic() + o.wait
    while True:
        try:
            version = json.load(HTTP.open(url + "/api/version", timeout=2))["version"]
            break
        except (OSError, ValueError) as e:
            if time.monotonic() > end:
                sys.exit(f"ollama_model: {url} did not come up within {o.wait} s: {e}")
            time.sleep(0.1)
    with open(o.gguf, "rb") as f:
        data = f.read()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    try:
        post(f"{url}/api/blobs/{digest}", data)
        body = {"model": o.name, "files": {o.name + ".gguf": digest}, "template": o.template}
        if o.threads:
            # Ollama's threads wait for each other by spinning: with a build beside them a small model's answer took
            # seconds on two threads and milliseconds on one.
            body["parameters"] = {"num_thread": o.threads}
        # A stream of states; the last one tells.
        last = json.loads(post(url + "/api/create", json.dumps(body).encode()).strip().splitlines()[-1])
    except urllib.error.HTTPError as e:
        sys.exit(f"ollama_model: {e.code} {e.read().decode(errors='replace')[:300]}")
    if last.get("status") != "success":
        sys.exit(f"ollama_model: {json.dumps(last)}")
    print(json.dumps({"url": url, "version": version, "model": o.name, "digest": digest}), flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""llama.cpp's own HTTP server on one GGUF file, on loopback: the OpenAI-compatible end of the live tests.

Run it with the Python of the tools folder, where setup.sh has put the server's package:
    TOOLS/llama/bin/python llama_server.py --model FILE.gguf --port 18080
Prints one line when it answers, and serves until it is ended.
"""
import argparse
import signal
import sys
import time
import urllib.request


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--model", required=True, help="GGUF file")
    a.add_argument("--port", required=True, type=int)
    a.add_argument("--alias", default="vend-tiny", help="the model's name in /v1/models")
    a.add_argument("--api-key", default="", help="asked of every client when given")
    a.add_argument("--ctx", type=int, default=0, help="tokens of one slot (default: the model's own length; 256 with several slots)")
    a.add_argument("--slots", type=int, default=1, help="requests served at the same time")
    o = a.parse_args()

    try:
        import xllamacpp
    except ImportError:
        sys.exit("llama_server: the server's package is not installed: run setup.sh first")

    p = xllamacpp.CommonParams()
    p.model.path = o.model
    p.hostnames = ["127.0.0.1"]
    p.port = o.port
    p.n_parallel = o.slots
    # The server divides its context among the slots; what a test means is the context of one request.
    p.n_ctx = (o.ctx or 256) * o.slots if o.ctx or o.slots > 1 else 0
    p.warmup = False
    # Threads that wait for each other by spinning lose seconds on a busy machine; one is plenty for so small a model.
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    p.model_alias = {o.alias}
    if o.api_key:
        p.api_keys = [o.api_key]
    # No chat template is set: the file carries its own, and the prompt must be what vend's built-in engine makes of it.
    server = xllamacpp.Server(p)

    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            no_proxy.open(f"http://127.0.0.1:{o.port}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.05)
    else:
        sys.exit("llama_server: the server did not come up")
    print(f"ready http://127.0.0.1:{o.port}", flush=True)

    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()

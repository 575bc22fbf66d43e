"""Stands in for `controllers.models_worker`: waits, is deaf, dies, babbles or fails."""

import json
import sys
import time

mode = sys.argv[1]
wish = json.loads(sys.stdin.buffer.readline())
say = lambda line: (sys.stdout.write(f"{line}\n"), sys.stdout.flush())  # noqa: E731
if mode == "die":
    sys.exit(3)
if mode == "babble":
    say("not ours")
    say("[1, 2]")
    say(json.dumps({"progress": [5, 10]}))
    say(json.dumps({"done": {"count": 7, "left": 1}}))
if mode == "misfit":
    misfits = [f"'layers.{number}.key' is missing" for number in range(40)]
    say(json.dumps({"failed": "It looks like VRWKV T but does not fit it.", "misfits": misfits}))
if mode in ("wait", "deaf"):
    say(json.dumps({"progress": [1_500_000, 3_000_000]}))
    sys.stdin.buffer.read()
    if mode == "deaf":
        time.sleep(60)

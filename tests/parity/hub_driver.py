"""Runs the driver on one request (tests/parity/hub_driver.cpp)."""

import json
import os
import subprocess
import tempfile


def run(action, **arguments):
    program = os.environ["TRAINER_HUB_DRIVER"]  # path of the built hub_driver
    with tempfile.NamedTemporaryFile("w", suffix=".json") as request:
        json.dump({"action": action, **{k: v if isinstance(v, (int, dict)) else str(v) for k, v in arguments.items()}}, request)
        request.flush()
        result = subprocess.run([program, request.name], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr

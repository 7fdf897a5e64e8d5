"""Runs the program test_hub on one request (tests/hub/parity_driver_test.cpp)."""

import json
import os
import subprocess
import tempfile


def run(action, **arguments):
    program = os.environ["TRAINER_TEST_HUB"]  # path of the built test_hub
    with tempfile.NamedTemporaryFile("w", suffix=".json") as request:
        json.dump({"action": action, **{k: str(v) if not isinstance(v, int) else v for k, v in arguments.items()}}, request)
        request.flush()
        result = subprocess.run(
            [program, "--gtest_filter=ParityDriver.*"],
            env={**os.environ, "TRAINER_HUB_REQUEST": request.name},
            capture_output=True,
            text=True,
        )
    assert result.returncode == 0, result.stdout + result.stderr

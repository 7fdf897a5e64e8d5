"""Kernels of one training step of ours, of the two blocks that bench/compare/gpu.py left in FOLDER, with their times.

    python gpu_kernels.py MODEL_DRIVER FOLDER

Nsight Compute (ncu) reads one counter of each launch, and leaves the clocks alone. Where it is not there, this says so.
"""

import collections
import csv
import os
import shutil
import subprocess
import sys


def ncu():
    found = shutil.which("ncu") or "/usr/local/cuda/bin/ncu"
    return found if os.path.exists(found) else None


def launches(text):
    """(kernel, microseconds) of each line of ncu's table."""
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        sys.exit("ncu printed no table:\n" + text[-1500:])
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3, "s": 1e6, "second": 1e6}
    for row in csv.DictReader(lines[begin:]):
        if row["Metric Name"] == "gpu__time_duration.sum":
            yield row["Kernel Name"], float(row["Metric Value"].replace(",", "")) * scale[row["Metric Unit"]]


def main():
    driver, folder = sys.argv[1:3]
    tool = ncu()
    if not tool:
        print("ncu is not here: the names of our kernels are not known")
        return
    words = [tool, "--clock-control", "none", "--metrics", "gpu__time_duration.sum", "--csv", "--target-processes", "all",
             driver, "gradients", os.path.join(folder, "gate.json"), "-", os.path.join(folder, "kernels.safetensors")]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ncu ended with {done.returncode}:\n{(done.stdout + done.stderr)[-1500:]}")
    times = collections.defaultdict(list)
    for name, time in launches(done.stdout):
        times[name].append(time)
    total = sum(sum(each) for each in times.values())
    print(f"two blocks and the head, forward and backward: {total / 1e3:.2f} ms in {sum(map(len, times.values()))} launches")
    for name, each in sorted(times.items(), key=lambda item: -sum(item[1]))[:30]:
        print(f"{100 * sum(each) / total:5.1f} % {sum(each):10.1f} us {len(each):5d} x  {name[:110]}")


if __name__ == "__main__":
    main()

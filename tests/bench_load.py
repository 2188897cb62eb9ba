"""Time to the first row of vn-embed, from the start of the process to the first bytes behind the
header of its output, with the input there from the beginning.

    tests/bench_load.py [--device D] [--precision P] [--models 8M,650M] [DIR...]

For each model (made with random weights, or the directories given): "nothing known" is a run
with an empty cache, so that digests are computed and algorithms tried; "again" is the median
of five runs with the cache that it left behind. The weights are in the page cache, as they
were just written. What -v says of the last run follows. B and VN_BIN as in bench.sh."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = {  # layers, width, heads, type
    "8M": (6, 320, 20, "f32"),
    "35M": (12, 480, 20, "f32"),
    "150M": (30, 640, 20, "f32"),
    "650M": (33, 1280, 20, "f16"),
    "3B": (36, 2560, 40, "f16"),
}
SETTLE = 3.5  # seconds until a file is old enough for its digest to be kept
AGAIN = 5


def first_row(command, env):
    """Seconds to the first byte of the first record batch, and what was said on stderr."""
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    head, data, when = None, b"", None
    while chunk := os.read(child.stdout.fileno(), 1 << 20):
        data += chunk
        if head is None and len(data) >= 8:  # ffffffff, bytes of the schema's metadata
            head = 8 + int.from_bytes(data[4:8], "little")
        if when is None and head is not None and len(data) > head:
            when = time.monotonic() - began
    said = child.stderr.read().decode()
    if child.wait() != 0 or when is None:
        sys.exit(f"bench_load: {' '.join(command)}: exit status {child.returncode}\n{said}")
    return when, said


def measure(name, directory, args, scratch, tools, binaries):
    tokens = os.path.join(scratch, "tokens")
    cache = os.path.join(scratch, "cache")
    shutil.rmtree(cache, ignore_errors=True)
    with open(tokens, "wb") as f:
        subprocess.run([f"{tools}/tests/mktokens"] + ["52"], stdout=f, check=True)
    command = [f"{binaries}/vn-embed", "-v", "-m", directory, "--pool", "mean",
               "--device", args.device, "--precision", args.precision, tokens]
    env = dict(os.environ, XDG_CACHE_HOME=cache)
    bare, _ = first_row(command, env)
    runs = [first_row(command, env) for _ in range(AGAIN)]
    print(f"{name:10} {bare:14.2f} {statistics.median(t for t, _ in runs):7.2f}", flush=True)
    return runs[-1][1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--models", default="8M,150M")
    parser.add_argument("directories", nargs="*")
    args = parser.parse_args()
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    tools = os.environ.get("B", f"{top}/build/last")
    binaries = os.environ.get("VN_BIN", f"{top}/bin")
    with tempfile.TemporaryDirectory() as scratch:
        models = [(os.path.basename(os.path.normpath(d)), d) for d in args.directories]
        for name in args.models.split(",") if not models else []:
            layers, width, heads, kind = SIZES[name]
            directory = os.path.join(scratch, name)
            subprocess.run([f"{tools}/tests/mkmodel", "--layers", str(layers), "--width",
                            str(width), "--heads", str(heads), "--type", kind, directory],
                           check=True)
            models.append((name, directory))
        time.sleep(SETTLE)
        print(f"first row, seconds, device {args.device}, precision {args.precision}")
        print(f"{'model':10} {'nothing known':>14} {'again':>7}")
        said = [measure(name, d, args, scratch, tools, binaries) for name, d in models]
        print(said[-1], end="")


if __name__ == "__main__":
    main()

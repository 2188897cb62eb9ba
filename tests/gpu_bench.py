#!/usr/bin/env python3
"""make bench-gpu: vn-embed on a GPU, beside PyTorch and beside cuBLASLt alone, in one run.

    B=build/release python3 tests/gpu_bench.py [--seconds S] [--limit S] [--log FILE] [PART...]
    python3 tests/gpu_bench.py --table FILE        the table of a run that --log kept

A PART is a model (3B 650M 150M 35M 8M) or one load of it (3B/w52): 50-52, 150-168 (w168) or
UniProt-like (uni) tokens a record. DNABERT-S/dna has 30-110. Weights and tokens are random.
For each part:

  vn        tokens/s from a tokens stream on standard input to pooled vectors read from a pipe,
            fp16, after loading, by vn-embed's own clock
  forward   the same for the device's operations alone, without copies and idle time (--profile)
  peer      peers.py: packed, flash attention, torch.compile, fp16, its batch on the device
  ceiling   what cuBLASLt alone would allow, from the rate of gemm at this width

vn and peer take turns, ROUNDS times, so that both see the same clocks; of each the best counts.
Whatever does not fit into --limit seconds is named and left out. Needs Python alone; for peer
PyTorch 2.11 in $ORACLE_PYTHON or this Python. Models are kept in $BENCH_DIR if it is set.
Exit status 69 where there is no GPU, 1 if a part could not be measured.
"""
import argparse
import json
import os
import queue
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

TESTS = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(TESTS)
BUILT = os.path.join(TOP, os.environ.get("B", "build/last"), "tests")
BIN = os.environ.get("VN_BIN", os.path.join(TOP, "bin"))
ROUNDS = 2
GEMM_SECONDS = 4
ROWS_SECONDS = 10  # of token rows, and of vectors beside them: both have a beginning and an end

# layers, width, heads, tokens/s to expect
MODELS = {"3B": (36, 2560, 40, 100e3), "650M": (33, 1280, 20, 400e3),
          "150M": (30, 640, 20, 1.5e6), "35M": (12, 480, 20, 5e6), "8M": (6, 320, 20, 14e6),
          "DNABERT-S": (12, 768, 12, 2e6)}
# what the ratio of vn to peer should be
DNA = "DNABERT-S/dna"  # no peer: of its own
PARTS = {"3B/w52": 1.20, "3B/w168": 1.20, "3B/uni": 1.15, "650M/w52": 1.40, "150M/w52": 1.7,
         "35M/w52": 2.0, "8M/w52": 2.0, DNA: None}
DNA_WANTED = 1.6e6  # tokens/s
FIRST_ROW = {"3B/w52": 3.0, "650M/w52": 1.0}  # seconds


class Trouble(Exception):
    """A measurement that could not be made; the text says why."""


# ---- the table ------------------------------------------------------------------------------

def number(value, digits=0):
    return "." if value is None else f"{value:.{digits}f}"


def ratio(a, b):
    return a / b if a and b else None


def ceiling(name, tflops):
    """Tokens/s if the products were everything: 24 D^2 operations a token and layer."""
    layers, width = MODELS[name][:2]
    return tflops * 1e12 / (24 * width ** 2 * layers) if tflops else None


def table(log):
    lines = [f"{k + ':':10} {v}" for k, v in log["head"].items()]
    peers = {r["peer_version"] for r in log["parts"].values() if r.get("peer_version")}
    lines += [f"{'peer:':10} {v}" for v in sorted(peers)] + [""]
    heads = ["part", "vn", "forward", "peer", "ratio", "wanted", "ceiling", "of it", "MHz", "W"]
    lines.append(f"{heads[0]:10}" + "".join(f"{h:>11}" for h in heads[1:]))
    for part, r in log["parts"].items():
        top = ceiling(part.split("/")[0], r.get("gemm"))
        times = ratio(r.get("vn"), r.get("peer"))
        cells = [number(r.get("vn")), number(r.get("forward")), number(r.get("peer")),
                 number(times, 3), number(PARTS[part], 2), number(top),
                 number(ratio(r.get("vn"), top), 3), number(r.get("mhz")), number(r.get("watt"))]
        lines.append(f"{part:10}" + "".join(f"{c:>11}" for c in cells))
    lines += ["", "vn, forward, peer, ceiling: tokens/s; MHz, W: means while vn ran", ""]
    for part, r in log["parts"].items():
        if "products" in r:
            lines.append(f"{part}: products {r['products']:.1f} % of the time at "
                         f"{r['product_tflops']:.1f} TFLOP/s, cuBLASLt alone "
                         f"{number(r.get('gemm'), 1)}; idle {r['idle_inside']:.2f} % between "
                         f"operations, {r['idle_between']:.2f} % between batches")
        if part in FIRST_ROW and r.get("first"):
            lines.append(f"{part}: first row after {r['first']:.2f} s, "
                         f"wanted {FIRST_ROW[part]:.0f}; loading {r['loading']:.2f} s")
        if part == DNA and r.get("vn"):
            lines.append(f"{part}: {r['vn']:.0f} tokens/s, wanted {DNA_WANTED:.0f}")
        if r.get("rows_f16"):
            less = 100 - 100 * r["rows_f16"] / r["rows_pooled"]
            lines.append(f"{part}: token rows in fp16 through a pipe {r['rows_f16']:.0f} tokens/s, "
                         f"pooled {r['rows_pooled']:.0f}: {less:.1f} % less, wanted under 5")
        if r.get("memory_16k"):
            lines.append(f"{part}: --max-tokens 16384 takes {r['memory_16k'] / 1024:.2f} GiB of "
                         "the device, wanted under 8")
        if r.get("two"):
            lines.append(f"{part}: two GPUs {r['two']:.0f} tokens/s, "
                         f"{r['two'] / r['vn']:.2f} times one, wanted 1.95")
        lines += [f"{part}: {why}" for why in r.get("trouble", [])]
    lines += [f"{part}: not run, {why}" for part, why in log["left_out"].items()]
    return "\n".join(lines)


# ---- what the device does meanwhile -----------------------------------------------------------

class Sampler(threading.Thread):
    """Clock, power and memory of the first GPU, by nvidia-smi, five times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.samples = []
        self.process = None
        if shutil.which("nvidia-smi"):
            self.process = subprocess.Popen(
                ["nvidia-smi", "--query-gpu=clocks.sm,power.draw,memory.used",
                 "--format=csv,noheader,nounits", "-lms", "200",
                 "-i", os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.start()

    def run(self):
        for line in self.process.stdout:
            try:
                self.samples.append((time.monotonic(), [float(x) for x in line.split(",")]))
            except ValueError:
                pass  # "[N/A]": this device does not say

    def column(self, i, since, until):
        return [v[i] for t, v in list(self.samples) if since <= t <= until and len(v) > i]

    def mean(self, i, since, until):
        seen = self.column(i, since, until)
        return sum(seen) / len(seen) if seen else None

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


# ---- vn -----------------------------------------------------------------------------------------

def call(args, **more):
    done = subprocess.run(args, capture_output=True, text=True, **more)
    if done.returncode:
        raise Trouble(f"{os.path.basename(args[0])} ended with status {done.returncode}: "
                      f"{done.stderr.strip()[-300:]}")
    return done.stdout


def drain(pipe):
    """Reads an Arrow stream to its end; the time when the second message began, the first
    behind the schema."""
    head = pipe.read(8)
    if len(head) == 8:
        pipe.read(struct.unpack("<i", head[4:])[0])
    pipe.read(1)
    first, room = time.monotonic(), bytearray(1 << 20)
    while pipe.readinto(room):
        pass
    return first


def embed(model, tokens, sampler, *options):
    """One run of vn-embed: what it says of itself, and what was seen of it."""
    args = [os.path.join(BIN, "vn-embed"), "-m", model, "--device", "cuda", "--precision",
            "fp16", "-v", *options]
    time.sleep(0.7)  # what ran before has given its memory back, and a sample says so
    held = sampler.column(2, time.monotonic() - 0.5, time.monotonic())
    before = min(held) if held else None
    with open(tokens, "rb") as stdin, tempfile.TemporaryFile("w+") as err:
        started = time.monotonic()
        process = subprocess.Popen(args, stdin=stdin, stdout=subprocess.PIPE, stderr=err)
        first = drain(process.stdout)
        status, ended = process.wait(), time.monotonic()
        err.seek(0)
        said = err.read()
    if status:
        raise Trouble(f"vn-embed ended with status {status}: {said.strip()[-300:]}")
    found = re.search(r"([\d.]+) s after ([\d.]+) s of loading, (\d+) tokens/s", said)
    seconds, loading, rate = map(float, found.groups())
    memory = sampler.column(2, started, ended)
    return {"rate": rate, "loading": loading, "first": first - started, "said": said,
            "mhz": sampler.mean(0, ended - seconds, ended),
            "watt": sampler.mean(1, ended - seconds, ended),
            "memory": max(memory) - before if memory and before is not None else None}


def profile(said):
    """The figures of a run with --profile."""
    ops = re.findall(r"^vn-embed: (\S.*?) +(?:\d+|\.) +([\d.]+) +[\d.]+ +\S+ +\S+$", said, re.M)
    total = re.search(r"(\d+) tokens in ([\d.]+) ms, .*products: ([\d.]+) % of it at (\S+) TFLOP",
                      said)
    idle = re.search(r"idle: ([\d.]+) % between operations, ([\d.]+) % between jobs", said)
    busy = sum(float(ms) for name, ms in ops if name != "idle" and not name.startswith("copy"))
    return {"forward": 1e3 * int(total[1]) / busy, "products": float(total[3]),
            "product_tflops": float(total[4]), "idle_inside": float(idle[1]),
            "idle_between": float(idle[2])}


# ---- peer -----------------------------------------------------------------------------------------

class Peer:
    """A process of peers.py, which compiles while other things are made."""

    def __init__(self, part):
        self.version = None
        self.lines, self.err = queue.Queue(), tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [os.environ.get("ORACLE_PYTHON") or sys.executable,
             os.path.join(TESTS, "peers.py"), *part.split("/")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err, text=True, bufsize=1)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def expect(self, word, patience):
        """The rest of the next line that begins with a word."""
        until = time.monotonic() + max(1, patience)
        while True:
            try:
                line = self.lines.get(timeout=max(0.1, until - time.monotonic()))
            except queue.Empty:
                raise Trouble(f"peers.py was not there within {patience:.0f} s") from None
            if line is None:
                self.err.seek(0)
                said = self.err.read().strip().splitlines()
                self.lines.put(None)
                raise Trouble(f"peers.py ended: {said[-1] if said else 'without a word'}")
            if line.startswith("torch"):
                self.version = line.strip()
            if line.split()[:1] == [word]:
                return line.split()[1:]

    def rate(self, seconds):
        try:
            self.process.stdin.write(f"{seconds}\n")
        except BrokenPipeError:
            pass  # expect says why
        return float(self.expect("peer", seconds + 60)[2])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.err.close()


# ---- a part ---------------------------------------------------------------------------------------

def make_model(name, where):
    path = os.path.join(where, name)
    if not os.path.exists(os.path.join(path, "model.safetensors")):
        layers, width, heads, _ = MODELS[name]
        kind = ["--dnabert", "--ffn", str(4 * width)] if name == DNA.split("/")[0] else []
        call([os.path.join(BUILT, "mkmodel"), *kind, "--layers", str(layers), "--width",
              str(width), "--heads", str(heads), "--type", "f16", path])
    return path


def vocabulary(model):
    """What mktokens is to say of its tokens, so that a model of this kind takes them."""
    info = json.loads(call([os.path.join(BIN, "vn-model"), "info", "--json", model]))
    if "tokenizer" not in info:
        return []
    return ["--vocabulary", "dnabert-s", "--tokenizer", info["tokenizer"]]


def make_tokens(path, load, tokens, says=(), batch=65536):
    with open(path, "wb") as out:
        subprocess.run([os.path.join(BUILT, "mktokens"), *says, "--load", load, str(int(tokens)),
                        str(batch)], stdout=out, check=True)
    return path


def await_peer(peer, opts, result):
    try:
        peer.expect("ready", opts.until - time.monotonic() - 60)
    except Trouble as why:
        result["trouble"].append(str(why))
        peer.close()
    result["peer_version"] = peer.version


def measure(part, opts, where, sampler, gemms, result):
    """Fills in `result`, so that what was measured before trouble is kept."""
    name, load = part.split("/")
    width, rate = MODELS[name][1], MODELS[name][3]
    peer = None if part == DNA else Peer(part)
    try:
        model = make_model(name, where)
        says = vocabulary(model)
        tokens = make_tokens(os.path.join(where, "tokens"), load, rate * opts.seconds, says)
        short = make_tokens(os.path.join(where, "short"), load,
                            rate * min(1.5, opts.seconds), says)
        embed(model, short, sampler, "--pool", "auto")  # searches algorithms, if it does, once
        if peer:
            await_peer(peer, opts, result)
        for _ in range(ROUNDS):
            got = embed(model, tokens, sampler, "--pool", "auto")
            if got["rate"] > result.get("vn", 0):
                result.update(vn=got["rate"], mhz=got["mhz"], watt=got["watt"])
            for key in ("first", "loading"):
                result[key] = min(got[key], result.get(key, 1e9))
            if peer and not result["trouble"]:
                result["peer"] = max(peer.rate(opts.seconds / 2), result.get("peer", 0))
        if peer:
            peer.close()
        result.update(profile(embed(model, tokens, sampler, "--pool", "auto", "--profile")["said"]))
        if part == "3B/w52":
            long = make_tokens(os.path.join(where, "long"), load, rate * ROWS_SECONDS)
            result["rows_pooled"] = embed(model, long, sampler, "--pool", "auto")["rate"]
            result["rows_f16"] = embed(model, long, sampler, "--dtype", "f16")["rate"]
            result["memory_16k"] = embed(model, short, sampler, "--pool", "mean", "--max-tokens",
                                         "16384")["memory"]
            if opts.gpus > 1:
                result["two"] = embed(model, tokens, sampler, "--pool", "mean", "--device",
                                      "cuda:0,1")["rate"]
        if peer and name not in gemms:
            said = call([os.path.join(BUILT, "gemm"), str(width), str(opts.rows),
                         str(GEMM_SECONDS)])
            gemms[name] = float(said.split()[3])
        result["gemm"] = gemms.get(name)
    finally:
        if peer and peer.process.poll() is None:
            peer.close()


# ---- the run --------------------------------------------------------------------------------------

def the_device(where):
    """vn-embed's name for the GPU; without one this is the end."""
    model = os.path.join(where, "small")
    call([os.path.join(BUILT, "mkmodel"), "--layers", "1", model])
    tokens = make_tokens(os.path.join(where, "few"), "w52", 100)
    with open(tokens, "rb") as stdin:
        done = subprocess.run([os.path.join(BIN, "vn-embed"), "-m", model, "--device", "cuda",
                               "-v"], stdin=stdin, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"gpu_bench.py: no usable GPU: {done.stderr.strip()}", file=sys.stderr)
        sys.exit(69)
    return re.search(r"device '(.*?)', precision", done.stderr)[1]


def smi(*args):
    if not shutil.which("nvidia-smi"):
        return ""
    return subprocess.run(["nvidia-smi", *args], capture_output=True, text=True).stdout.strip()


def selected(names):
    parts = []
    for name in names or PARTS:
        these = [p for p in PARTS if name in (p, p.split("/")[0])]
        if not these:
            print(f"gpu_bench.py: no part '{name}': expected {' '.join(MODELS)}, "
                  f"or one of {' '.join(PARTS)}", file=sys.stderr)
            sys.exit(2)
        parts += [p for p in these if p not in parts]
    return parts


def options():
    p = argparse.ArgumentParser(description="See the head of this file, or make help.")
    p.add_argument("--seconds", type=float, default=5, help="of each run (5)")
    p.add_argument("--limit", type=float, default=470, help="of all of it (470)")
    p.add_argument("--rows", type=int, default=135168, help="of the products of gemm")
    p.add_argument("--log", help="keep the figures in this file, after each part")
    p.add_argument("--table", help="print the table of a kept run")
    p.add_argument("part", nargs="*")
    return p.parse_args()


def main():
    opts = options()
    if opts.table:
        with open(opts.table) as f:
            print(table(json.load(f)))
        return 0
    parts = selected(opts.part)
    started = time.monotonic()
    opts.until = started + opts.limit
    with tempfile.TemporaryDirectory() as where:
        device = the_device(where)
        opts.gpus = len(smi("-L").splitlines())
        log = {"head": {"command": "make bench-gpu" + "".join(" " + p for p in opts.part),
                        "version": call([os.path.join(BIN, "vn-embed"), "--version"]).strip(),
                        "device": device,
                        "driver": smi("--query-gpu=driver_version,power.limit,clocks.max.sm",
                                      "--format=csv,noheader", "-i", "0") or "unknown"},
               "parts": {}, "left_out": {}}
        sampler, gemms = Sampler(), {}
        models = os.environ.get("BENCH_DIR", where)
        for part in parts:
            if time.monotonic() > opts.until - 45:
                log["left_out"][part] = "no time"
                continue
            result = log["parts"][part] = {"trouble": []}
            try:
                measure(part, opts, models, sampler, gemms, result)
            except (Trouble, subprocess.CalledProcessError, OSError) as why:
                result["trouble"].append(str(why))
            print(f"# {part}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            if opts.log:
                with open(opts.log, "w") as f:
                    json.dump(log, f, indent=1)
        sampler.stop()
    print(table(log))
    return 1 if log["left_out"] or any(r["trouble"] for r in log["parts"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())

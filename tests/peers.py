#!/usr/bin/env python3
"""The yardstick of make bench-gpu: ESM-2 as a careful user of PyTorch runs it, on one GPU.

    peers.py MODEL LOAD        8M 35M 150M 650M 3B; w52 w168 uni

Packed sequences, attention by torch.nn.attention.varlen (flash), torch.compile, fp16, mean over
the tokens of each record; random weights, one batch that is there on the device. Compiles, says
"ready", and then for each line "SECONDS" on standard input runs for that long and writes a line
"peer MODEL LOAD tokens/s TFLOP/s"; the figure is of the median batch. gpu_bench.py lets it and
vn-embed take turns.
"""
import math
import sys
import time

SHAPES = {"8M": (6, 320, 20, 131072), "35M": (12, 480, 20, 131072),
          "150M": (30, 640, 20, 65536), "650M": (33, 1280, 20, 32768),
          "3B": (36, 2560, 40, 16384)}  # layers, width, heads, tokens in a batch
LOADS = ("w52", "w168", "uni")


def lengths(load, budget, torch):
    """Tokens of each record of a batch of at most `budget`."""
    g = torch.Generator().manual_seed(1)
    n = budget // 30
    if load == "w52":
        drawn = torch.randint(50, 53, (n,), generator=g)
    elif load == "w168":
        drawn = torch.randint(150, 169, (n,), generator=g)
    else:
        drawn = (torch.exp(0.65 * torch.randn(n, generator=g) + math.log(280)).long() + 2)
        drawn = drawn.clamp(32, 1024)
    kept = []
    for length in drawn.tolist():
        if sum(kept) + length > budget:
            break
        kept.append(length)
    return sorted(kept, reverse=True)


def build(torch, layers, width, heads):
    from torch import nn
    from torch.nn import functional as F
    from torch.nn.attention.varlen import varlen_attn

    def rotate(t, cos, sin):
        t32 = t.float()
        first, second = t32.chunk(2, -1)
        return (t32 * cos + torch.cat((-second, first), -1) * sin).to(t.dtype)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before_attn, self.before_ffn = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x, cu, longest, cos, sin):
            qkv = self.qkv(self.before_attn(x)).view(-1, 3, heads, width // heads)
            q, k, v = qkv.unbind(1)
            a = varlen_attn(rotate(q, cos, sin), rotate(k, cos, sin), v.contiguous(), cu, cu,
                            longest, longest)
            x = x + self.out(a.reshape(-1, width))
            return x + self.fc2(F.gelu(self.fc1(self.before_ffn(x))))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(33, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width)

        def forward(self, tokens, cu, longest, position):
            k = width // heads
            frequency = 10000 ** -(torch.arange(0, k, 2, device=tokens.device).float() / k)
            angle = position.float()[:, None] * frequency
            angle = torch.cat((angle, angle), -1)[:, None]
            cos, sin = angle.cos(), angle.sin()
            x = 0.88 * self.embed(tokens)
            for block in self.blocks:
                x = block(x, cu, longest, cos, sin)
            return self.norm(x)

    return Model()


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES or sys.argv[2] not in LOADS:
        sys.exit(__doc__)
    import torch
    name, load = sys.argv[1:]
    layers, width, heads, budget = SHAPES[name]
    torch.manual_seed(0)
    device = torch.device("cuda")
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}", flush=True)
    each = lengths(load, budget, torch)
    n = torch.tensor(each, device=device)
    cu = torch.zeros(len(each) + 1, dtype=torch.int32, device=device)
    cu[1:] = n.cumsum(0)
    record = torch.repeat_interleave(torch.arange(len(each), device=device), n)
    position = torch.cat([torch.arange(i) for i in each]).to(device)
    tokens = torch.randint(4, 24, (sum(each),), device=device)
    with torch.device(device):
        model = build(torch, layers, width, heads).half().eval()
    fast = torch.compile(model)
    flop = layers * (24 * width ** 2 * sum(each) + 4 * width * sum(i * i for i in each))

    def batch():
        x = fast(tokens, cu, max(each), position)
        sums = torch.zeros(len(each), width, device=device).index_add_(0, record, x.float())
        return sums / n[:, None]

    def run(seconds):
        took, end = [], time.monotonic() + seconds
        while len(took) < 5 or time.monotonic() < end:
            a, b = torch.cuda.Event(True), torch.cuda.Event(True)
            a.record()
            batch()
            b.record()
            b.synchronize()
            took.append(a.elapsed_time(b) / 1e3)
        return sorted(took)[len(took) // 2]

    with torch.no_grad():
        run(0)
        print("ready", flush=True)
        for line in sys.stdin:
            t = run(float(line))
            print(f"peer {name} {load} {sum(each) / t:.0f} {flop / t / 1e12:.1f}", flush=True)


if __name__ == "__main__":
    main()

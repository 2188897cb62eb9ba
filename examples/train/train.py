#!/usr/bin/env python3
"""Trains a small encoder of ESM-2's architecture, with a head, to tell viral reads from others.

    train.py --data reads.npz -o RUN [--preset full|cpu|tiny] [--device cuda]
             [--set STAGE.KEY=VALUE]...

Stages, each resumed where it was stopped: `pretrain-teacher` and `teacher` (masked codons, then
labels, on an encoder that is too slow to ship), `pretrain` and `student` (the same for the one
that ships, which learns from the teacher too), `calibrate`, and the export of RUN/vn-virus and
RUN/vn-virus-head. A stage ends after its steps or its seconds, whichever comes first; the
learning rate follows that. --wall ends the process after so many seconds with status 75: the
same command goes on. What is tuned on is the part 'tune', calibrated on 'calibrate'.

Without a GPU, `--preset cpu` trains the one that ships alone, in small batches.

`--ablate` trains students that differ in one thing each, for the same time, and prints what
each reaches on the part 'tune'."""
import argparse
import copy
import hashlib
import json
import math
import os
import platform
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch  # noqa: E402
import torch._dynamo  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import model as model_files  # noqa: E402
from metrics import auroc, ece, threshold_at  # noqa: E402
from model import Classifier  # noqa: E402
from reads import (CODONS, FIRST, MASK, TRAIN_MIX, TEST_MIX, Reads, frames,  # noqa: E402
                   substitutes, with_ends)

NAME = "vn-virus"
LENGTHS = [500, 299, 149]  # trained on: 2 modulo 3, so that no frame is padded
TESTED = [150, 300, 500]
SEED = 20
MOST_LOST = 20  # steps of a stage in one process

NEAR = [[-1, 1, -2, 2], [-1, 1, -3, 3]]  # Layer.look_at
BIG = {"layers": 6, "width": 384, "heads": 6, "inner": 1536, "hidden": [384], "near": NEAR}
SMALL = {"layers": 3, "width": 128, "heads": 4, "inner": 256, "hidden": [256],
         "near": NEAR}  # README.md says why
MASKED = {"kind": "masked", "steps": 1 << 20, "muon": True, "dropout": 0.0}
LABELS = {"kind": "labels", "steps": 1 << 20, "muon": True, "smooth": 0.02, "tau": 0.3}
STAGES = {  # seconds are of an H200, and what is there to be spent; steps are more than enough
    "pretrain-teacher": {**MASKED, "net": BIG, "tokens": 1 << 17, "seconds": 45,
                         "rate": 8e-4, "decay": 0.02},
    "teacher": {**LABELS, "net": BIG, "tokens": 1 << 17, "seconds": 180, "rate": 8e-4,
                "decay": 0.1, "dropout": 0.15, "noise": 0.2, "alpha": 0.0,
                "from": "pretrain-teacher"},
    "pretrain": {**MASKED, "net": SMALL, "tokens": 1 << 17, "seconds": 25, "rate": 2e-3,
                 "decay": 0.01},
    "student": {**LABELS, "net": SMALL, "tokens": 1 << 17, "seconds": 200, "rate": 3e-3,
                "decay": 0.02, "dropout": 0.0, "noise": 0.1, "alpha": 0.7,
                "from": "pretrain", "teacher": "teacher"},
}
# Without a GPU there is time for the one that ships alone, and for small batches.
CPU_STAGES = {"student": {**STAGES["student"], "tokens": 1 << 13, "seconds": 5200,
                          "alpha": 0.0, "from": None}}
TINY = {"tokens": 1 << 13, "seconds": 60}
TINY_BIG = {"layers": 3, "width": 128, "heads": 4, "inner": 512, "hidden": [128]}
# Students that differ from STAGES["student"] in one thing.
ABLATIONS = {
    "as it is": {},
    "labels only": {"alpha": 0.0},
    "teacher only": {"alpha": 1.0},
    "not pre-trained": {"from": None},
    "sum of frames": {"tau": 1.0},
    "no noise": {"noise": 0.0},
    "noise 0.3": {"noise": 0.3},
    "rate 6e-3": {"rate": 6e-3},
    "AdamW alone": {"muon": False},
    "heads as they come": {"net": {**SMALL, "near": []}, "from": None},
    "4 x 96": {"net": {**SMALL, "layers": 4, "width": 96, "heads": 3, "inner": 384},
               "from": None},
    "3 x 128, inner 512": {"net": {**SMALL, "inner": 512}, "from": None},
    "4 x 128": {"net": {**SMALL, "layers": 4}, "from": None},
    "2 x 160": {"net": {**SMALL, "layers": 2, "width": 160, "heads": 5, "inner": 640},
                "from": None},
    "6 x 256": {"net": {**SMALL, "layers": 6, "width": 256, "heads": 8, "inner": 1024},
                "from": None},
}


def say(*what):
    print(*what, file=sys.stderr, flush=True)


class Run:
    """The run's folder, data, device and settings."""

    def __init__(self, options, stages):
        self.folder, self.device, self.stages = options.output, options.device, stages
        self.compile, self.save_every = options.compile, options.save_every
        self.deadline = time.monotonic() + options.wall
        self.reads = Reads(options.data, options.device)
        self.tune_reads, self.looks = options.tune_reads, options.looks
        self.substitutes = substitutes().to(options.device)
        self.tune = None
        os.makedirs(self.folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def autocast(self):
        return torch.autocast(self.device.split(":")[0], torch.bfloat16)


# ---- scoring ---------------------------------------------------------------------------


@torch.no_grad()
def read_scores(net, reads, codes, chunk=512):
    """The highest logit of each read's open frames, -inf without one; in the precision of
    the surrounding autocast. Frames of one length at a time, so that nothing is padded."""
    best = []
    for part in codes.split(chunk):
        tokens, is_open = frames(part, reads.table)
        out = torch.full(is_open.shape, -torch.inf, device=codes.device)
        for f in range(3):
            size = (part.shape[1] - f) // 3
            for side in f, 3 + f:
                rows = is_open[:, side].nonzero()[:, 0]
                if len(rows):
                    logits = net(with_ends(tokens[rows, side, :size]))
                    out[rows, side] = logits.float()
        best.append(out.max(1).values)
    return torch.cat(best)


def labelled(run, part, mix, length, n):
    g = torch.Generator(run.device).manual_seed(SEED + length)
    codes, klass, *_ = run.reads.windows(part, mix, length, n, g)
    return codes, (klass == 0).cpu().numpy()


def tune_score(run, net):
    """{length: AUROC on the part 'tune'}; reads without a frame count as not viral."""
    if run.tune is None:
        run.tune = {n: labelled(run, "tune", TEST_MIX, n, run.tune_reads) for n in TESTED}
    net.eval()
    with run.autocast():
        return {n: auroc(truth, read_scores(net, run.reads, codes).cpu().numpy())
                for n, (codes, truth) in run.tune.items()}


# ---- losses ----------------------------------------------------------------------------


def masked_loss(net, batch, generator, _):
    """15 % of the codons: 80 % masked, 10 % replaced, 10 % as they are."""
    tokens, _, there, *_ = batch
    u = torch.rand(tokens.shape, device=tokens.device, generator=generator)
    inner = torch.zeros_like(tokens, dtype=torch.bool)
    inner[:, 1:-1] = there[:, None]
    chosen = inner & (u < 0.15)
    other = torch.randint(FIRST, FIRST + CODONS, tokens.shape, device=tokens.device,
                          generator=generator)
    given = torch.where(u < 0.12, MASK, torch.where(u < 0.135, other, tokens))
    given = torch.where(chosen, given, tokens)
    loss = F.cross_entropy(net(given, masked=True).float().flatten(0, 1), tokens.flatten(),
                           reduction="none")
    weight = chosen.flatten().float()
    return (loss * weight).sum() / weight.sum()


def mutated(tokens, most, table, generator):
    """Each row as a relative may have it: up to the share `most` of its codons replaced."""
    def chance(*shape):
        return torch.rand(shape, device=tokens.device, generator=generator)

    inner = tokens[:, 1:-1]
    other = torch.searchsorted(table[inner - FIRST], chance(*inner.shape, 1))[..., 0]
    there = chance(*inner.shape) < most * chance(len(inner), 1)
    out = tokens.clone()
    out[:, 1:-1] = torch.where(there, FIRST + other.clamp(max=CODONS - 1), inner)
    return out


def labels_loss(net, batch, generator, settings):
    """Of a read the smooth maximum over its frames is held to the label: which of them is
    the gene is not told. A teacher tells more, frame by frame."""
    tokens, place, there, viral, usable = batch
    logit = net(mutated(tokens, settings["noise"], settings["table"], generator))
    tau, n = settings["tau"], len(viral)
    slots = torch.full((n * 6,), -1e4, device=tokens.device)
    slots = slots.scatter(0, place, torch.where(there, logit, -1e4))
    pooled = tau * torch.logsumexp(slots.view(n, 6) / tau, 1)
    truth = viral.float() * (1 - 2 * settings["smooth"]) + settings["smooth"]
    loss = F.binary_cross_entropy_with_logits(pooled, truth, reduction="none")
    loss = (loss * usable).sum() / usable.sum()
    if settings["alpha"] == 0:
        return loss
    with torch.no_grad():
        said = torch.sigmoid(settings["net of teacher"](tokens))
    told = F.binary_cross_entropy_with_logits(logit, said, reduction="none")
    told = (told * there).sum() / there.sum()
    return (1 - settings["alpha"]) * loss + settings["alpha"] * told


# ---- a stage ---------------------------------------------------------------------------


class Schedule:
    """Progress from 0 to 1 by steps or by time, what is further; and the rate it sets."""

    def __init__(self, settings):
        self.s, self.step, self.spent = settings, 0, 0.0

    def progress(self):
        return min(1.0, max(self.step / self.s["steps"], self.spent / self.s["seconds"]))

    def rate(self):
        """A short rise, then half a cosine."""
        p, rise = self.progress(), 0.03
        if p < rise:
            return self.s["rate"] * (p + 1e-3) / rise
        return self.s["rate"] * (0.505 + 0.495 * math.cos(math.pi * (p - rise) / (1 - rise)))


def save(path, value):
    torch.save(value, path + ".tmp")
    os.replace(path + ".tmp", path)


def build(settings):
    return Classifier(**settings["net"], dropout=settings["dropout"])


def optimizers_of(net, settings):
    """Muon for the matrices of the layers, AdamW for the rest; decay for matrices only."""
    inner = [p for p in net.encoder.layers.parameters() if p.ndim > 1]
    if not settings["muon"]:
        inner = []
    ids = {id(p) for p in inner}
    rest = [p for p in net.parameters() if id(p) not in ids]
    groups = [{"params": [p for p in rest if p.ndim > 1], "weight_decay": settings["decay"]},
              {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0}]
    found = [torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)]
    if inner:
        found.append(torch.optim.Muon(inner, lr=0.0, weight_decay=settings["decay"],
                                      adjust_lr_fn="match_rms_adamw"))
    return found


class Sampler:
    """Batch number `step`, always the same one: so a run that was stopped goes on as if not."""

    def __init__(self, run, settings):
        self.run, self.tokens, self.per_read = run, settings["tokens"], {}
        for length in LENGTHS:
            self.per_read[length] = run.reads.frames_per_read("train", TRAIN_MIX, length)

    def batch(self, step):
        length = LENGTHS[step % len(LENGTHS)]
        g = torch.Generator(self.run.device).manual_seed(SEED * 1_000_003 + step)
        capacity = self.tokens // (length // 3 + 2)
        n = int(capacity / self.per_read[length] * 1.03)
        return self.run.reads.batch("train", TRAIN_MIX, length, n, min(capacity, 6 * n), g), g


class Stage:
    """Everything that a stage's file holds."""

    def __init__(self, run, name, settings):
        self.run, self.name, self.s = run, name, dict(settings)
        torch._dynamo.reset()  # it compiles a function for few shapes, of all nets together
        torch.manual_seed(SEED)
        self.s["table"] = run.substitutes
        self.net = build(settings).to(run.device)
        if settings.get("from"):
            self.net.load_state_dict(self.trained(settings["from"]), strict=False)
        if settings.get("teacher") and settings["alpha"]:
            teacher = build(run.stages[settings["teacher"]]).to(run.device).eval()
            teacher.load_state_dict(self.trained(settings["teacher"]))
            self.s["net of teacher"] = self.fast(teacher)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.optimizers = optimizers_of(self.net, settings)
        self.schedule = Schedule(settings)
        self.best, self.score, self.history, self.lost = None, {}, [], 0
        path = run.path(name + ".pt")
        if os.path.exists(path):
            self.restore(torch.load(path, map_location=run.device, weights_only=True))

    def trained(self, name):
        state = torch.load(self.run.path(name + ".pt"), map_location=self.run.device,
                           weights_only=True)
        if state["progress"] < 1:
            raise SystemExit(f"stage '{name}' is not complete: run it first")
        return state["best"] or state["average"]

    def fast(self, net):
        return torch.compile(net, dynamic=False) if self.run.compile else net

    def save(self):
        save(self.run.path(self.name + ".pt"), {
            "net": self.net.state_dict(), "average": self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers], "step": self.schedule.step,
            "spent": self.schedule.spent, "progress": self.schedule.progress(),
            "best": self.best, "score": self.score, "history": self.history})

    def restore(self, state):
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.schedule.step, self.schedule.spent = state["step"], state["spent"]
        self.best, self.score, self.history = state["best"], state["score"], state["history"]
        say(f"{self.name}: resumed at step {self.schedule.step}")

    def follow(self):
        """The averaged weights follow; at first faster, so that the start is forgotten."""
        keep = min(0.9995, 1 - 10 / (10 + self.schedule.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()),
                             1 - keep)

    def step(self, net, sampler, loss_of):
        batch, generator = sampler.batch(self.schedule.step)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.rate()
        with self.run.autocast():
            loss = loss_of(net, batch, generator, self.s)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.schedule.step += 1
        if not norm.isfinite():
            self.lost += 1
            say(f"{self.name}: step {self.schedule.step}: "
                "a gradient that is not finite, left out")
            if self.lost > MOST_LOST:
                raise SystemExit(f"{self.name}: {self.lost} gradients were not finite")
            return loss
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.follow()
        return loss

    def look(self, loss):
        """A line of the log; of classifiers the best averaged weights are kept."""
        line = {"step": self.schedule.step, "seconds": round(self.schedule.spent, 1),
                "loss": round(loss.item(), 4)}
        if self.s["kind"] == "labels":
            found = tune_score(self.run, self.average)
            line.update({f"auroc {n}": round(a, 4) for n, a in found.items()})
            if not self.score or sum(found.values()) > sum(self.score.values()):
                self.score = found
                self.best = copy.deepcopy(self.average.state_dict())
        self.history.append(line)
        say(f"{self.name}: {json.dumps(line)}")

    def train(self):
        """Looks so many times, and at the end; time for looking and saving does not count."""
        if self.schedule.progress() >= 1:
            return self
        sampler = Sampler(self.run, self.s)
        net = self.fast(self.net)
        loss_of = masked_loss if self.s["kind"] == "masked" else labels_loss
        due, saved = self.schedule.progress() + 1 / self.run.looks, time.monotonic()
        self.net.train()
        for step in range(len(LENGTHS)) if self.run.compile else ():
            batch, generator = sampler.batch(step)  # compiles each shape, off the clock
            with self.run.autocast():
                loss_of(net, batch, generator, self.s).backward()
        since = time.monotonic()
        while self.schedule.progress() < 1:
            loss = self.step(net, sampler, loss_of)
            if self.schedule.step % 20 == 0:
                loss.item()  # waits for the device: what is counted was done
            self.schedule.spent, since = (self.schedule.spent + time.monotonic() - since,
                                          time.monotonic())
            if self.schedule.progress() >= min(due, 1):
                self.look(loss)
                due += 1 / self.run.looks
                self.net.train()
            if time.monotonic() > self.run.deadline:
                self.save()
                say(f"{self.name}: stopped at step {self.schedule.step}, to be resumed")
                raise SystemExit(75)
            if time.monotonic() - saved > self.run.save_every:
                self.save()
                saved = time.monotonic()
            since = time.monotonic()
        self.save()
        return self


# ---- calibration and export ------------------------------------------------------------


def calibration_scores(run, net):
    """{length: (truth, logits)} on the part 'calibrate', in single precision."""
    found = {}
    for length in TESTED:
        codes, truth = labelled(run, "calibrate", TEST_MIX, length, run.tune_reads * 4)
        found[length] = truth, read_scores(net.eval(), run.reads, codes).cpu().double()
    return found


def fit(found):
    """(a, b): sigmoid(a logit + b) is most likely, over reads of all lengths that have a
    score, each length as heavy."""
    z = torch.cat([s[s.isfinite()] for _, s in found.values()])
    y = torch.cat([torch.from_numpy(t).double()[s.isfinite()] for t, s in found.values()])
    weight = torch.cat([torch.full((int(s.isfinite().sum()),), 1 / int(s.isfinite().sum()))
                        for _, s in found.values()]).double()
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        solver.zero_grad()
        loss = F.binary_cross_entropy_with_logits(line[0] * z + line[1], y, weight,
                                                  reduction="sum")
        loss.backward()
        return loss

    solver.step(closure)
    return line.tolist()


def fold(net, a, b):
    """The line into the last layer: the difference of its outputs becomes a d + b."""
    last = net.head[-1]
    with torch.no_grad():
        last.weight *= a
        last.bias *= a
        last.bias += torch.tensor([-b / 2, b / 2], device=last.bias.device)


def thresholds(found):
    """{"0.01": {"150": p, ..., "all": p}, ...}: of what is not viral this share is called."""
    found = {**{str(n): f for n, f in found.items()},
             "all": tuple(torch.cat([torch.as_tensor(f[i]) for f in found.values()])
                          for i in (0, 1))}
    return {str(rate): {n: threshold_at(truth, torch.sigmoid(torch.as_tensor(s)).numpy(), rate)
                        for n, (truth, s) in found.items()} for rate in (0.01, 0.05)}


def finish(run, student, options):
    """Calibrates, exports, and writes RUN/train.json: what was done, what it took."""
    settings = run.stages["student"]
    net = build({**settings, "dropout": 0.0}).to(run.device)
    net.load_state_dict(student.best or student.average.state_dict())
    a, b = fit(calibration_scores(run, net))
    fold(net, a, b)
    with open(options.data, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    facts = {"shortest": min(TESTED),
             "trained_on": "windows of 150 to 500 bp of coding sequences: see CARD.md",
             "threshold": 0.5,  # of a read's highest score: so it was trained and calibrated
             "data_sha256": digest, "calibration": {"scale": a, "offset": b}}
    model_files.export(net, run.folder, NAME, facts)
    shipped = model_files.load(run.folder, NAME).to(run.device)
    found = calibration_scores(run, shipped)
    facts["thresholds"] = thresholds(found)
    model_files.export(net, run.folder, NAME, facts)
    errors = {n: ece(t[s.isfinite().numpy()], torch.sigmoid(s[s.isfinite()]).numpy())
              for n, (t, s) in found.items()}
    stages = {}
    for name in run.stages:
        if os.path.exists(run.path(name + ".pt")):
            state = torch.load(run.path(name + ".pt"), map_location="cpu", weights_only=True)
            stages[name] = {k: state[k] for k in ("step", "spent", "score", "history")}
    device = torch.cuda.get_device_name() if run.device.startswith("cuda") else "CPU"
    model_files.write_json(run.path("train.json"), {
        "arguments": [os.path.basename(a) for a in sys.argv[1:]],
        "python": platform.python_version(),
        "torch": torch.__version__, "device": device, "data_sha256": digest, "seed": SEED,
        "settings": run.stages, "stages": stages, "calibration": {"scale": a, "offset": b},
        "ece on part calibrate": errors,
        "parameters": sum(p.numel() for p in net.parameters()) - sum(
            p.numel() for p in net.lm.parameters())})
    say(f"exported {run.path(NAME)} and {run.path(NAME)}-head; "
        f"a {a:.4f} b {b:.4f} ECE {errors}")


def needed(settings):
    """The stages that must be complete before a student with these settings."""
    teacher = settings["teacher"] if settings["alpha"] else None
    return [name for name in (settings["from"], teacher) if name]


def ablate(run, seconds, only):
    """A table of what each variant reaches on the part 'tune'."""
    print("variant", *(f"auroc {n}" for n in TESTED), "steps", "seconds", sep="\t")
    for name, change in ABLATIONS.items():
        if only and name not in only:
            continue
        settings = {**run.stages["student"], "seconds": seconds, **change}
        if change and settings == {**run.stages["student"], "seconds": seconds}:
            say(f"left out '{name}': with this preset it is no other than 'as it is'")
            continue
        missing = [stage for stage in needed(settings) if stage not in run.stages]
        if missing:
            say(f"left out '{name}': "
                f"it needs the stage '{missing[0]}', which this preset has not")
            continue
        stage = Stage(run, "ablate-" + name.replace(" ", "-"), settings).train()
        print(name, *(f"{stage.score[n]:.4f}" for n in TESTED), stage.schedule.step,
              round(stage.schedule.spent), sep="\t", flush=True)


# ---- the command line ------------------------------------------------------------------


def settings_of(options):
    stages = copy.deepcopy(CPU_STAGES if options.preset == "cpu" else STAGES)
    if options.preset == "tiny":
        for stage in stages.values():
            stage.update(TINY)
            if stage["net"] == BIG:
                stage["net"] = TINY_BIG
    for stage in stages.values():
        stage["seconds"] *= options.time
    for text in options.set:
        where, _, value = text.partition("=")
        stage, _, key = where.partition(".")
        if key not in stages.get(stage, {}):
            raise SystemExit(f"no setting '{where}'")
        stages[stage][key] = json.loads(value)
    return stages


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", required=True, help="what data.py wrote")
    parser.add_argument("-o", "--output", required=True, help="folder; an old run is resumed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", choices=["full", "cpu", "tiny"], default="full")
    parser.add_argument("--time", type=float, default=1, help="times the seconds of each stage")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=JSON")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--save-every", type=float, default=60, help="seconds")
    parser.add_argument("--wall", type=float, default=math.inf, help="seconds of this process")
    parser.add_argument("--tune-reads", type=int, default=6000, help="of each length")
    parser.add_argument("--looks", type=int, default=12, help="at the part tune, per stage")
    parser.add_argument("--ablate", type=float, metavar="SECONDS", help="for each variant")
    parser.add_argument("--only", action="append", help="of the variants; may be repeated")
    return parser.parse_args()


def main():
    options = parse()
    torch.set_float32_matmul_precision("high")
    run = Run(options, settings_of(options))
    if options.ablate:
        ablate(run, options.ablate, options.only)
        return
    for name, settings in run.stages.items():
        stage = Stage(run, name, settings).train()
    finish(run, stage, options)


if __name__ == "__main__":
    main()

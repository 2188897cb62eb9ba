"""vn-embed --attention standard against fair-esm's ESM-2 after .half().

Half precision is chaotic: where two libraries add the sums inside a product in another order,
a few values in a thousand fall to the other half next to them, and each layer spreads that.
So two runs of fair-esm itself differ, one with the sums as they are on a CPU, one with sums
taken in another type and rounded once (class Sums). What can be asked for:
  - one layer, all sums in f64: the very same numbers, so that no rounding is missing;
  - all layers: at least 99.9 % of the pooled values of proteins of 50 residues and more within
    1e-3 of fair-esm's; shorter ones average less, and are held to what fair-esm keeps itself.
The single precision model, which is the reference for all else, is further away than that.
"""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from conftest import DEVICE
from test_esm2 import FULL_8M, SCALED, embed, fairesm, make_model, masked, proteins

STANDARD = ("--attention", "standard")


SUMS = (F.linear, torch.bmm, F.layer_norm, torch.erf, torch.Tensor.cos, torch.Tensor.sin)


class Sums(TorchFunctionMode):
    """Products, LayerNorm and functions in another type, with one rounding at the end."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def wide(v):
            return v.to(self.dtype) if isinstance(v, torch.Tensor) else v

        kwargs = kwargs or {}
        if func not in SUMS or args[0].dtype != torch.half:
            return func(*args, **kwargs)
        out = func(*map(wide, args), **{k: wide(v) for k, v in kwargs.items()})
        return out.float().half()


def half_model(path, sequences, layer, device="cpu"):
    fair = fairesm.load(path, torch.half).to(device)
    return [fairesm.hidden(fair, fairesm.encode(fair, s), [layer])[layer].float().cpu().numpy()
            for s in sequences]


def pooled(rows):
    return np.stack([r[1:-1].mean(axis=0) for r in rows])


def within(got, want):
    return np.mean(np.abs(got - want) <= 1e-3)


def rms(got, want):
    return np.sqrt(np.mean(np.square(got - want)))


@pytest.fixture(scope="module", params=[*SCALED, "8M"])
def model(request, tmp_path_factory):
    shape = SCALED.get(request.param, FULL_8M)
    return make_model(tmp_path_factory.mktemp("models") / request.param, shape), shape[0]


@pytest.mark.parametrize("layer", [0, 1])
def test_every_rounding(model, layer, tmp_path):
    path, _ = model
    sequences = proteins([1, 40, 150], 9) + [masked(s, 3) for s in proteins([50], 10)]
    with Sums(torch.float64):
        want = half_model(path, sequences, layer)
    got, _ = embed(path, sequences, tmp_path, *STANDARD, "--layer", str(layer), "--device",
                   "reference")
    same = np.mean(np.concatenate([(g == w).ravel() for g, w in zip(got, want)]))
    print(f"layer {layer}: {same:.5f} equal")
    assert same >= (1 if layer == 0 else 0.98)  # softmax is in f32 there


def test_pooled(model, tmp_path):
    path, layers = model
    sequences = proteins([50, 63, 100, 150, 166, 300], 7)
    sequences += [masked(s, 7) for s in proteins([50, 150], 8)]
    want = pooled(half_model(path, sequences, layers))
    got, single = (np.stack(embed(path, sequences, tmp_path, "--pool", "mean", *more)[0])
                   .reshape(want.shape) for more in (STANDARD, ()))
    print(f"standard {within(got, want):.5f} rms {rms(got, want):.1e}, "
          f"single {within(single, want):.5f} rms {rms(single, want):.1e}")
    assert within(got, want) >= 0.999


def test_short_ones_as_fairesm_with_itself(model, tmp_path):
    path, layers = model
    sequences = proteins([1, 1, 2, 2, 3, 5, 8, 13], 11)
    want = pooled(half_model(path, sequences, layers))
    with Sums(torch.float32):
        again = rms(pooled(half_model(path, sequences, layers)), want)
    if DEVICE != "cpu":  # where the sums are in yet another order
        again = max(again, rms(pooled(half_model(path, sequences, layers, DEVICE)), want))
    got, _ = embed(path, sequences, tmp_path, *STANDARD)
    print(f"standard {rms(pooled(got), want):.1e}, fair-esm {again:.1e}")
    assert rms(pooled(got), want) <= 1.5 * again


def test_long_ones_have_the_angles_of_half(tmp_path):
    path = make_model(tmp_path / "m", SCALED["like-650M"])
    sequences = proteins([1022, 3000], 12)
    with Sums(torch.float32):
        want = half_model(path, sequences, 3)
    got, _ = embed(path, sequences, tmp_path, *STANDARD)
    single, _ = embed(path, sequences, tmp_path)
    for g, s, w in zip(got, single, want):
        print(f"standard {rms(g, w):.1e}, single {rms(s, w):.1e}")
        assert rms(g, w) < 0.5 * rms(s, w)

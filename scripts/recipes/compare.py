#!/usr/bin/env python3
"""Trains a small network of a recipe's family by Residua and by PyTorch, on the same few
images of CIFAR-10, and prints both errors.

    cargo build --release
    python scripts/recipes/compare.py --data FOLDER resnet wrn
    python scripts/recipes/compare.py --data FOLDER --images 2000 --epochs 3 --seeds 3

FOLDER has the binary files of CIFAR-10 (`data_batch_1.bin`, …). Needs torch, numpy and
safetensors. The settings are those of `residua train --recipe NAME --dry-run --json`:
their milestones are scaled to the number of epochs, and a warm-up of some hundred steps is
left out. Residua trains once; PyTorch trains with each of its seeds, with the same
distributions of initial weights, order, crops and flips. The networks in PyTorch are those
of `tests/fixtures/networks.py`, written from the papers' equations. `dpn` and `torchvision`
have no network that is small enough for a processor.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "fixtures"))
PLAIN = F.relu, F.dropout
import networks  # noqa: E402

# The fixtures record the inputs of ReLU and draw dropout's masks.
F.relu, F.dropout = PLAIN


class Depth(torch.nn.Module):
    """A unit whose branch is left out with the probability 1 − p in a mini-batch, and is
    multiplied by p in evaluation (Huang et al. 2016)."""

    def __init__(self, unit, p):
        super().__init__()
        self.unit, self.p = unit, p

    def forward(self, x):
        shortcut = self.unit.shortcut(self.unit, x)
        if self.training and torch.rand(()).item() >= self.p:
            return F.relu(shortcut)
        y = self.unit.bn2(self.unit.conv2(F.relu(self.unit.bn1(self.unit.conv1(x)))))
        return F.relu(y * (1.0 if self.training else self.p) + shortcut)


def stochastic(p_last=0.5):
    net = networks.resnet8()
    for number in range(1, 4):
        stage = getattr(net, f"layer{number}")
        stage[0] = Depth(stage[0], 1 - number / 3 * (1 - p_last))
    return net


FAMILIES = {
    "resnet": ("resnet8", networks.resnet8),
    "preact": ("preact-8", networks.preact8),
    "wrn": ("wrn-16-1", lambda: networks.wrn(1, units=2)),
    "stochastic-depth": ("resnet8", stochastic),
    "resnext": ("resnext-11-2x4d", lambda: networks.resnext11(2, 4)),
    "densenet": ("densenet-10-4", lambda: networks.DenseNet(2, 4, False)),
    "fusenet": ("fusenet-resnet-8", lambda: networks.Fused("resnet", [1, 1, 1])),
}
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def images(folder, names, count):
    data = np.concatenate([np.fromfile(os.path.join(folder, name), np.uint8) for name in names]).reshape(-1, 3073)
    return data[:count, 1:].reshape(-1, 3, 32, 32), data[:count, 0].astype(np.int64)


def normalised(pixels, settings):
    """Mean and standard deviation of the settings, or those of CIFAR-10."""
    mean, std = [
        [float(value) for value in text.split(",")] if text and text[0].isdigit() else default
        for text, default in ((settings.get("mean"), MEAN), (settings.get("std"), STD))
    ]
    x = torch.from_numpy(pixels).float() / 255
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def scaled(schedule, epochs, of):
    """A schedule for `of` epochs in a run of `epochs`."""
    name, _, rest = schedule.partition(":")
    if name != "multi-step" or not rest:
        return schedule
    milestones, factor = rest.split("@") if "@" in rest else (rest, "0.1")
    return f"multi-step:{','.join(f'{float(m) * epochs / of:g}' for m in milestones.split(','))}@{factor}"


def rate(settings, step, steps, per_epoch):
    name, _, rest = settings["schedule"].partition(":")
    if name == "constant":
        return settings["lr"]
    if name == "cosine":
        return settings["lr"] * 0.5 * (1 + math.cos(math.pi * step / steps))
    assert name == "multi-step", name
    if rest:
        milestones, factor = rest.split("@")
        passed = sum(step >= round(float(m) * per_epoch) for m in milestones.split(","))
        return settings["lr"] * float(factor) ** passed
    return settings["lr"] * 0.1 ** sum(step >= part * steps for part in (0.5, 0.75))


def augmented(pixels, settings):
    """Crops of images padded by 4 pixels, and flips."""
    if settings["augment"] == "none":
        return pixels
    assert settings["augment"] == "crop-flip", settings["augment"]
    mode = "reflect" if settings["padding"] == "reflect" else "constant"
    padded = np.pad(pixels, ((0, 0), (0, 0), (4, 4), (4, 4)), mode)
    result = np.empty_like(pixels)
    for n, (dx, dy, flip) in enumerate(np.random.randint(0, (9, 9, 2), (len(pixels), 3))):
        window = padded[n, :, dy : dy + 32, dx : dx + 32]
        result[n] = window[:, :, ::-1] if flip else window
    return result


def initialise(net):
    """Residua's distributions: normal by fan-in for convolutions, PyTorch's own for the
    linear layer."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)


def pytorch(make, settings, train, test, seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    net = make()
    initialise(net)
    optimiser = torch.optim.SGD(
        net.parameters(), settings["lr"], settings["momentum"], 0, settings["weight-decay"], settings["nesterov"]
    )
    size, (pixels, labels) = settings["batch-size"], train
    per_epoch = -(-len(labels) // size)
    steps = per_epoch * settings["epochs"]
    for epoch in range(settings["epochs"]):
        net.train()
        order = np.random.permutation(len(labels))
        for number in range(per_epoch):
            chosen = order[number * size : (number + 1) * size]
            for group in optimiser.param_groups:
                group["lr"] = rate(settings, epoch * per_epoch + number, steps, per_epoch)
            x = normalised(np.ascontiguousarray(augmented(pixels[chosen], settings)), settings)
            optimiser.zero_grad()
            F.cross_entropy(net(x), torch.from_numpy(labels[chosen])).backward()
            optimiser.step()
    net.eval()
    with torch.no_grad():
        logits = [net(normalised(test[0][at : at + 500], settings)) for at in range(0, len(test[1]), 500)]
    return (torch.cat(logits).argmax(1).numpy() != test[1]).mean()


def compare(args, family):
    model, make = FAMILIES[family]
    base = [args.residua, "train", "--json", "--recipe", family, "--model", model, "--data", f"cifar10:{args.data}"]
    base += ["--limit-train", str(args.images), "--limit-test", str(args.tests)]
    base += ["--warmup", "0", "--validation", "0", "--no-autotune", "--seed", "0"]

    def residua(*more):
        return json.loads(subprocess.run(base + list(more), check=True, capture_output=True).stdout)

    settings = residua("--dry-run")["settings"]
    schedule = scaled(settings["schedule"], args.epochs, settings["epochs"])
    settings |= {"schedule": schedule, "epochs": args.epochs}
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        out = os.path.join(folder, "run")
        found = residua("--schedule", schedule, "--epochs", str(args.epochs), "--out", out)["test_error"]
        took = time.time() - began
    train = images(args.data, [f"data_batch_{n}.bin" for n in range(1, 6)], args.images)
    test = images(args.data, ["test_batch.bin"], args.tests)
    truth, began = [], time.time()
    for seed in range(args.seeds):
        truth.append(pytorch(make, settings, train, test, seed))
    each = (time.time() - began) / args.seeds
    low, high = min(truth), max(truth)
    words = "within" if low <= found <= high else "below" if found < low else "above"
    errors = ", ".join(f"{100 * error:.1f}" for error in truth)
    print(f"| `{family}` | `{model}` | {schedule} | {100 * found:.1f} | {errors} | {words} | {took:.0f}, {each:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("families", nargs="*", help=f"of {', '.join(FAMILIES)} [default: all]")
    parser.add_argument("--data", required=True, help="folder of CIFAR-10's binary files")
    parser.add_argument("--residua", default=os.path.join(ROOT, "target", "release", "residua"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    unknown = [name for name in args.families if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown family {unknown[0]}: choose {', '.join(FAMILIES)}")
    print("| recipe | network | schedule | Residua, error % | PyTorch, error % | | seconds |")
    print("|---|---|---|---:|---|---|---|")
    for name in args.families or FAMILIES:
        compare(args, name)

#!/usr/bin/env python3
"""How many images a second does PyTorch train on and classify on this device?

    gpu_report_torch.py --models resnet20@128,wrn-28-10@128 --mode f32|tf32|amp
                        [--compile] [--device cuda|cpu] [--seconds S]

Prints one JSON object in the form of `residua bench --json`, so that
`residua bench --compare` puts both side by side. The networks have the layers of the
models of the same names: post-activation blocks with parameter-free shortcuts (A),
wide pre-activation blocks with 1x1 shortcuts, bottlenecks with the ImageNet stem.
A training step is forward, cross-entropy, backward, SGD with momentum, on one batch
that stays on the device. f32 is without TF32; amp is float16 with a gradient scaler
and channels last (bfloat16 on a processor). A network that fails is left out, with a
line on standard error.
"""
import argparse
import datetime
import json
import os
import platform
import re
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Basic(nn.Module):
    """Two 3x3 convolutions; the shortcut takes every second pixel and adds zeros."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
        return F.relu(y + x)


class Wide(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else conv(inputs, outputs, 1, stride)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(a))))
        return y + (x if self.shortcut is None else self.shortcut(a))


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the width."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = None
        if inputs != outputs or stride > 1:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Head(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


def stages(block, inputs, widths, counts, growth=1):
    layers = []
    for stage, (width, count) in enumerate(zip(widths, counts)):
        for index in range(count):
            layers.append(block(inputs, width, 2 if stage > 0 and index == 0 else 1))
            inputs = width * growth
    return layers


def network(name):
    """The network, and the shape (C, H, W) and number of classes of its images."""
    cifar = ((3, 32, 32), 10)
    if found := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        depth, factor = map(int, found.groups())
        widths = [16 * factor, 32 * factor, 64 * factor]
        body = stages(Wide, 16, widths, [(depth - 4) // 6] * 3)
        return nn.Sequential(conv(3, 16, 3), *body, nn.BatchNorm2d(widths[2]), nn.ReLU(), Head(widths[2], 10)), *cifar
    if name == "resnet50":
        body = stages(Bottleneck, 64, [64, 128, 256, 512], [3, 4, 6, 3], 4)
        stem = [conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        return nn.Sequential(*stem, *body, Head(2048, 1000)), (3, 224, 224), 1000
    if found := re.fullmatch(r"resnet(\d+)", name):
        depth = int(found.group(1))
        if depth % 6 == 2:
            body = stages(Basic, 16, [16, 32, 64], [(depth - 2) // 6] * 3)
            return nn.Sequential(conv(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), *body, Head(64, 10)), *cifar
    raise ValueError("this script has no such network")


def rates(name, batch, mode, compiled, device, seconds):
    """Images a second in training and in inference: (best, median) of the rounds."""
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode == "tf32"
    torch.backends.cudnn.benchmark = True
    net, shape, classes = network(name)
    amp = mode == "amp"
    layout = torch.channels_last if amp else torch.contiguous_format
    net = net.to(device).to(memory_format=layout)
    x = torch.randn(batch, *shape, device=device).to(memory_format=layout)
    labels = torch.randint(0, classes, (batch,), device=device)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device, enabled=amp and device == "cuda")
    half = torch.float16 if device == "cuda" else torch.bfloat16
    call = torch.compile(net) if compiled else net

    def step():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=half, enabled=amp):
            loss = F.cross_entropy(call(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()

    def classify():
        with torch.no_grad(), torch.autocast(device, dtype=half, enabled=amp):
            call(x)

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def rounds(work):
        for _ in range(3):
            work()
        wait()
        found, begun = [], time.perf_counter()
        while time.perf_counter() - begun < seconds or len(found) < 2:
            at = time.perf_counter()
            for _ in range(3):
                work()
            wait()
            found.append(3 * batch / (time.perf_counter() - at))
        return max(found), sorted(found)[len(found) // 2]

    net.train()
    training = rounds(step)
    net.eval()
    return training, rounds(classify)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--models", required=True)
    arguments.add_argument("--mode", choices=["f32", "tf32", "amp"], default="f32")
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    arguments.add_argument("--seconds", type=float, default=0.5)
    options = arguments.parse_args()
    networks = []
    for item in options.models.split(","):
        name, batch = item.split("@")
        try:
            training, inference = rates(
                name, int(batch), options.mode, options.compile, options.device, options.seconds
            )
        except Exception as error:  # noqa: BLE001: whatever one network meets, the others are measured
            print(f"{item}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        networks.append(
            {
                "model": name,
                "batch": int(batch),
                "training_images_per_second": training[0],
                "training_images_per_second_median": training[1],
                "inference_images_per_second": inference[0],
                "inference_images_per_second_median": inference[1],
            }
        )
    on_gpu = options.device == "cuda"
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    print(
        json.dumps(
            {
                "adapter": {
                    "name": torch.cuda.get_device_name() if on_gpu else platform.processor() or "CPU",
                    "backend": f"CUDA {torch.version.cuda}" if on_gpu else "CPU",
                    "driver": f"{options.mode}{', compiled' if options.compile else ''}",
                },
                "machine": {
                    "host": platform.node(),
                    "cpu": f"{os.cpu_count()} logical cores",
                    "memory": pages,
                    "os": platform.platform(),
                    "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
                },
                "program": "PyTorch",
                "version": torch.__version__,
                "command": " ".join(["gpu_report_torch.py", *sys.argv[1:]]),
                "device_timestamps": False,
                "precision": "f16" if options.mode == "amp" else "f32",
                "rounds": 1,
                "peak": None,
                "kernels": [],
                "networks": networks,
            }
        )
    )


main()

"""Which modules do public repositories of CIFAR networks define? Written from the
names in their state_dicts and the equations of the papers; torchvision, timm
and Cadene's pretrainedmodels have their own."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs, outputs, kernel, stride=1, groups=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


def stages(block, inputs, widths, units, strides, **options):
    """The units of each stage; returns them and the channels after each."""
    made = []
    for width, count, stride in zip(widths, units, strides):
        row = []
        for index in range(count):
            row.append(block(inputs, width, stride if index == 0 else 1, **options))
            inputs = row[-1].outputs
        made.append(nn.Sequential(*row))
    return made, inputs


def pooled(x):
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Residual(nn.Module):
    """A post-activation unit; `shortcut` is the name of its projection, `pad` the
    option A that halves the zero channels."""

    def __init__(self, inputs, width, stride, shortcut="shortcut", bottleneck=False, pad=False):
        super().__init__()
        self.outputs = 4 * width if bottleneck else width
        self.bottleneck, self.pad, self.stride, self.name = bottleneck, pad, stride, shortcut
        if bottleneck:
            self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = conv(width, self.outputs, 1), nn.BatchNorm2d(self.outputs)
        else:
            self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.changes = stride != 1 or inputs != self.outputs
        if self.changes and not pad:
            norm = nn.BatchNorm2d(self.outputs)
            setattr(self, shortcut, nn.Sequential(conv(inputs, self.outputs, 1, stride), norm))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        if self.changes and self.pad:
            zeros = (self.outputs - x.shape[1]) // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, zeros, zeros))
        elif self.changes:
            x = getattr(self, self.name)(x)
        return F.relu(x + y)


class ResNet(nn.Module):
    """chenyaofo (`downsample`, `fc`), akamaster and kuangliu (`shortcut`,
    `linear`)."""

    def __init__(self, widths, units, head, classes=10, **options):
        super().__init__()
        self.conv1, self.bn1 = conv(3, widths[0], 3), nn.BatchNorm2d(widths[0])
        made, inputs = stages(Residual, widths[0], widths, units, [1, 2, 2, 2], **options)
        for number, stage in enumerate(made, 1):
            setattr(self, f"layer{number}", stage)
        self.count, self.head = len(made), head
        setattr(self, head, nn.Linear(inputs, classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, self.count + 1):
            x = getattr(self, f"layer{number}")(x)
        return getattr(self, self.head)(pooled(x))


class Parallel(nn.Module):
    """What nn.DataParallel saves: every name begins with `module.`."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


class PreActivatedBottleneck(nn.Module):
    """A pre-activation bottleneck: the stride in the 3×3 convolution, projections of
    the unit's input."""

    def __init__(self, inputs, width, stride, shortcut):
        super().__init__()
        self.outputs, self.name = 4 * width, shortcut
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, width, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, 3, stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(width), conv(width, self.outputs, 1)
        self.changes = stride != 1 or inputs != self.outputs
        if self.changes:
            setattr(self, shortcut, nn.Sequential(conv(inputs, self.outputs, 1, stride)))

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv3(F.relu(self.bn3(self.conv2(F.relu(self.bn2(y))))))
        return (getattr(self, self.name)(x) if self.changes else x) + y


class PreActivated(nn.Module):
    """A pre-activation unit. `raw`: the projection reads the unit's input; else it
    shares the first norm and ReLU."""

    def __init__(self, inputs, width, stride, shortcut, raw=False, last=False, bias=False):
        super().__init__()
        self.outputs, self.raw, self.name = width, raw, shortcut
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, width, 3, 1 if last else stride, bias=bias)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, 3, stride if last else 1, bias=bias)
        self.changes = stride != 1 or inputs != width
        if self.changes:
            projection = conv(inputs, width, 1, stride, bias=bias)
            setattr(self, shortcut, projection if shortcut == "convShortcut" else nn.Sequential(projection))

    def forward(self, x):
        activated = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        if self.changes:
            x = getattr(self, self.name)(x if self.raw else activated)
        return x + y


class PreActResNet(nn.Module):
    """kuangliu's pre-activation ResNet-18: no norm before the head."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = conv(3, 64, 3)
        widths = [64, 128, 256, 512]
        made, inputs = stages(PreActivated, 64, widths, [2] * 4, [1, 2, 2, 2], shortcut="shortcut")
        self.layer1, self.layer2, self.layer3, self.layer4 = made
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.linear(pooled(self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))))


class Wide(nn.Module):
    """meliketoy's wide network: `bn1` before the head, biases, the stride in the
    second convolution, projections of the unit's input."""

    def __init__(self, units, k, classes=10):
        super().__init__()
        self.conv1 = conv(3, 16, 3, bias=True)
        widths = [16 * k, 32 * k, 64 * k]
        options = dict(shortcut="shortcut", raw=True, last=True, bias=True)
        (self.layer1, self.layer2, self.layer3), inputs = stages(PreActivated, 16, widths, [units] * 3, [1, 2, 2], **options)
        self.bn1, self.linear = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(pooled(F.relu(self.bn1(x))))


class Block(nn.Module):
    def __init__(self, stage):
        super().__init__()
        self.layer = stage

    def forward(self, x):
        return self.layer(x)


class Xternalz(nn.Module):
    """xternalz's wide network: `block1.layer.0`."""

    def __init__(self, units, k, classes=10):
        super().__init__()
        self.conv1 = conv(3, 16, 3)
        widths = [16 * k, 32 * k, 64 * k]
        made, inputs = stages(PreActivated, 16, widths, [units] * 3, [1, 2, 2], shortcut="convShortcut")
        self.block1, self.block2, self.block3 = map(Block, made)
        self.bn1, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(pooled(F.relu(self.bn1(x))))


class Bearpaw(nn.Module):
    """bearpaw's pre-activation ResNet: projections of the unit's input, `bn` before
    the head."""

    def __init__(self, units, bottleneck=False, classes=10):
        super().__init__()
        self.conv1 = conv(3, 16, 3)
        block, options = PreActivated, dict(shortcut="downsample", raw=True)
        if bottleneck:
            block, options = PreActivatedBottleneck, dict(shortcut="downsample")
        made, inputs = stages(block, 16, [16, 32, 64], [units] * 3, [1, 2, 2], **options)
        self.layer1, self.layer2, self.layer3 = made
        self.bn, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(pooled(F.relu(self.bn(x))))


class Szagoruyko:
    """szagoruyko's wide network: functions of a table of tensors, no module."""

    def __init__(self, units, k, classes=10):
        self.units, self.table = units, {}
        self.table["conv0"] = torch.empty(16, 3, 3, 3)
        inputs = 16
        for group, width in enumerate([16 * k, 32 * k, 64 * k]):
            for block in range(units):
                name = f"group{group}.block{block}"
                self.norm(f"{name}.bn0", inputs)
                self.table[f"{name}.conv0"] = torch.empty(width, inputs, 3, 3)
                self.norm(f"{name}.bn1", width)
                self.table[f"{name}.conv1"] = torch.empty(width, width, 3, 3)
                if inputs != width:
                    self.table[f"{name}.convdim"] = torch.empty(width, inputs, 1, 1)
                inputs = width
        self.norm("bn", inputs)
        self.table["fc.weight"], self.table["fc.bias"] = torch.empty(classes, inputs), torch.empty(classes)

    def norm(self, name, channels):
        for part in ["weight", "bias", "running_mean", "running_var"]:
            self.table[f"{name}.{part}"] = torch.empty(channels)

    def state_dict(self):
        return self.table

    def load_state_dict(self, table, strict=True):
        assert not strict or table.keys() == self.table.keys(), table.keys() ^ self.table.keys()
        for name, tensor in table.items():
            assert tensor.shape == self.table[name].shape, name
        self.table = dict(table)

    def eval(self):
        return self

    def activated(self, x, name):
        parts = [self.table[f"{name}.{part}"] for part in ["running_mean", "running_var", "weight", "bias"]]
        return F.relu(F.batch_norm(x, *parts))

    def __call__(self, x):
        x = F.conv2d(x, self.table["conv0"], padding=1)
        for group in range(3):
            for block in range(self.units):
                name = f"group{group}.block{block}"
                stride = 2 if group > 0 and block == 0 else 1
                activated = self.activated(x, f"{name}.bn0")
                y = F.conv2d(activated, self.table[f"{name}.conv0"], stride=stride, padding=1)
                y = F.conv2d(self.activated(y, f"{name}.bn1"), self.table[f"{name}.conv1"], padding=1)
                if f"{name}.convdim" in self.table:
                    x = F.conv2d(activated, self.table[f"{name}.convdim"], stride=stride)
                x = x + y
        return F.linear(pooled(self.activated(x, "bn")), self.table["fc.weight"], self.table["fc.bias"])


class ResNeXtUnit(nn.Module):
    def __init__(self, inputs, width, stride, groups, base):
        super().__init__()
        self.outputs = 4 * width
        inner = groups * base * width // 64
        self.conv_reduce, self.bn_reduce = conv(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv_conv, self.bn = conv(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
        self.conv_expand, self.bn_expand = conv(inner, self.outputs, 1), nn.BatchNorm2d(self.outputs)
        self.shortcut = nn.Sequential()
        if inputs != self.outputs:
            self.shortcut.add_module("shortcut_conv", conv(inputs, self.outputs, 1, stride))
            self.shortcut.add_module("shortcut_bn", nn.BatchNorm2d(self.outputs))

    def forward(self, x):
        y = F.relu(self.bn_reduce(self.conv_reduce(x)))
        y = F.relu(self.bn(self.conv_conv(y)))
        return F.relu(self.shortcut(x) + self.bn_expand(self.conv_expand(y)))


class Prlz77(nn.Module):
    """prlz77's ResNeXt for CIFAR."""

    def __init__(self, units, groups, base, classes=10):
        super().__init__()
        self.conv_1_3x3, self.bn_1 = conv(3, 64, 3), nn.BatchNorm2d(64)
        inputs = 64
        for stage, width in enumerate([64, 128, 256], 1):
            row = nn.Sequential()
            for index in range(units):
                stride = 2 if stage > 1 and index == 0 else 1
                unit = ResNeXtUnit(inputs, width, stride, groups, base)
                row.add_module(f"stage_{stage}_bottleneck_{index}", unit)
                inputs = unit.outputs
            setattr(self, f"stage_{stage}", row)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn_1(self.conv_1_3x3(x)))
        return self.classifier(pooled(self.stage_3(self.stage_2(self.stage_1(x)))))


class DenseUnit(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, 4 * growth, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(4 * growth), conv(4 * growth, growth, 3)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(F.relu(self.bn2(y)))], 1)


class Transition(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, inputs // 2, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x))), 2)


class BearpawDense(nn.Module):
    """bearpaw's DenseNet-BC."""

    def __init__(self, layers, growth, classes=10):
        super().__init__()
        channels = 2 * growth
        self.conv1 = conv(3, channels, 3)
        for number in [1, 2, 3]:
            setattr(self, f"dense{number}", nn.Sequential(*[DenseUnit(channels + growth * i, growth) for i in range(layers)]))
            channels += growth * layers
            if number < 3:
                setattr(self, f"trans{number}", Transition(channels))
                channels //= 2
        self.bn, self.fc = nn.BatchNorm2d(channels), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.dense3(self.trans2(self.dense2(x)))
        return self.fc(pooled(F.relu(self.bn(x))))


class Vgg(nn.Module):
    """kuangliu's and bearpaw's VGG-11 with batch norm, one linear layer."""

    def __init__(self, classes=10):
        super().__init__()
        layers, inputs = [], 3
        for width in [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]:
            if width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [conv(inputs, width, 3, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(512, classes)

    def forward(self, x):
        return self.classifier(pooled(self.features(x)))


class DualUnit(nn.Module):
    def __init__(self, inputs, inner, width, dense, stride, first):
        super().__init__()
        self.width = width
        self.conv1, self.bn1 = conv(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride, 32), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, width + dense, 1), nn.BatchNorm2d(width + dense)
        self.shortcut = nn.Sequential()
        if first:
            self.shortcut = nn.Sequential(conv(inputs, width + dense, 1, stride), nn.BatchNorm2d(width + dense))

    def forward(self, x):
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        x, y, d = self.shortcut(x), self.bn3(self.conv3(y)), self.width
        return F.relu(torch.cat([x[:, :d] + y[:, :d], x[:, d:], y[:, d:]], 1))


class DualPath(nn.Module):
    """kuangliu's DPN-26 for CIFAR."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 3), nn.BatchNorm2d(64)
        inputs = 64
        places = zip([96, 192, 384, 768], [256, 512, 1024, 2048], [16, 32, 24, 128], [1, 2, 2, 2])
        for number, (inner, width, dense, stride) in enumerate(places, 1):
            first = DualUnit(inputs, inner, width, dense, stride, True)
            second = DualUnit(width + 2 * dense, inner, width, dense, 1, False)
            setattr(self, f"layer{number}", nn.Sequential(first, second))
            inputs = width + 3 * dense
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(pooled(self.layer4(self.layer3(self.layer2(self.layer1(x))))))

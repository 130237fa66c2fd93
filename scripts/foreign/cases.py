"""Which model of this program is which module in PyTorch, under the names of
which dialect?"""

from collections import namedtuple

import classes

Case = namedtuple("Case", "dialect model make size classes")


def cifar(dialect, model, make):
    return Case(dialect, model, make, 32, 10)


def photographs(dialect, model, make, size=64):
    return Case(dialect, model, make, size, 1000)


def torchvision(name, **options):
    def make():
        import torchvision.models

        return getattr(torchvision.models, name)(**options)

    return make


def timm(name):
    def make():
        import timm

        return timm.create_model(name)

    return make


def cadene_dpn():
    # timm's module is Cadene's code but for the name of the head.
    return classes.last_linear(timm("dpn68")(), "classifier")


CIFAR_WIDTHS = [16, 32, 64]
STEM = ":stem=imagenet"

CASES = [
    photographs("torchvision", "resnet18" + STEM, torchvision("resnet18")),
    photographs("torchvision", "resnet50" + STEM, torchvision("resnet50")),
    photographs("torchvision", "resnext-50-32x4d" + STEM, torchvision("resnext50_32x4d")),
    photographs("torchvision", "wide-resnet-50-2" + STEM, torchvision("wide_resnet50_2")),
    photographs("torchvision", "densenet121" + STEM, torchvision("densenet121")),
    photographs("torchvision", "vgg11:head=imagenet", torchvision("vgg11"), 224),
    photographs("torchvision", "vgg11-bn:head=imagenet", torchvision("vgg11_bn"), 224),
    photographs("timm", "resnet50" + STEM, timm("resnet50")),
    photographs("timm", "se-resnet50" + STEM, timm("seresnet50")),
    photographs("timm", "densenet121" + STEM, timm("densenet121")),
    photographs("timm", "vgg11-bn:head=imagenet", timm("vgg11_bn"), 224),
    photographs("timm", "dpn68" + STEM, timm("dpn68")),
    photographs("timm", "dpn68b" + STEM, timm("dpn68b")),
    photographs("timm", "dpn92" + STEM, timm("dpn92")),
    photographs("cadene", "resnet50" + STEM, lambda: classes.last_linear(torchvision("resnet50")(), "fc")),
    photographs("cadene", "densenet121" + STEM, lambda: classes.last_linear(torchvision("densenet121")(), "classifier")),
    photographs("cadene", "vgg11:head=imagenet", lambda: classes.cadene_vgg(torchvision("vgg11")()), 224),
    photographs("cadene", "dpn68" + STEM, cadene_dpn),
    cifar("chenyaofo", "resnet20:shortcut=B", lambda: classes.ResNet(CIFAR_WIDTHS, [3] * 3, "fc", shortcut="downsample")),
    cifar("akamaster", "resnet20", lambda: classes.Parallel(classes.ResNet(CIFAR_WIDTHS, [3] * 3, "linear", pad=True))),
    cifar("akamaster", "resnet20:shortcut=B", lambda: classes.Parallel(classes.ResNet(CIFAR_WIDTHS, [3] * 3, "linear"))),
    cifar("kuangliu", "resnet18:stem=cifar", lambda: classes.ResNet([64, 128, 256, 512], [2] * 4, "linear")),
    cifar(
        "kuangliu",
        "resnet50:stem=cifar",
        lambda: classes.ResNet([64, 128, 256, 512], [3, 4, 6, 3], "linear", bottleneck=True),
    ),
    cifar("kuangliu", "preact-18:stem=cifar,last-norm=no", classes.PreActResNet),
    cifar("kuangliu", "vgg11-bn:head=linear", classes.Vgg),
    cifar("kuangliu", "dpn26:variant=kuangliu", classes.DualPath),
    cifar("xternalz", "wrn-16-2", lambda: classes.Xternalz(2, 2)),
    cifar("meliketoy", "wrn-16-2:project=raw,stride-at=last,bias=yes", lambda: classes.Wide(2, 2)),
    cifar("szagoruyko", "wrn-16-2", lambda: classes.Szagoruyko(2, 2)),
    cifar("bearpaw", "preact-20:shortcut=B,project=raw", lambda: classes.Bearpaw(3)),
    cifar("bearpaw", "preact-29:project=raw,stride-at=3x3", lambda: classes.Bearpaw(3, bottleneck=True)),
    cifar("bearpaw", "densenet-bc-22-12", lambda: classes.BearpawDense(3, 12)),
    cifar("bearpaw", "resnext-29-2x64d", lambda: classes.Prlz77(3, 2, 64)),
    cifar("bearpaw", "vgg11-bn:head=linear", classes.Vgg),
    cifar("prlz77", "resnext-29-2x64d", lambda: classes.Prlz77(3, 2, 64)),
]

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


def timm(name, **options):
    def make():
        import timm

        return timm.create_model(name, **options)

    return make


def timm_dpn(name):
    # timm's own default before the head is ELU.
    return timm(name, fc_act_layer="relu")


def cadene(name):
    def make():
        import pretrainedmodels

        return pretrainedmodels.__dict__[name](num_classes=1000, pretrained=None)

    return make


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
    photographs("timm", "dpn68" + STEM, timm_dpn("dpn68")),
    photographs("timm", "dpn68b" + STEM, timm_dpn("dpn68b")),
    photographs("timm", "dpn92" + STEM, timm_dpn("dpn92")),
    photographs("cadene", "resnet50" + STEM, cadene("resnet50")),
    photographs("cadene", "densenet121" + STEM, cadene("densenet121"), 224),
    photographs("cadene", "vgg11:head=imagenet", cadene("vgg11"), 224),
    photographs("cadene", "dpn68" + STEM, cadene("dpn68")),
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

# Other networks of torchvision, timm and Cadene, whose names are formed in the same way:
# `names.py` does not list them.
MORE = [
    photographs("torchvision", "resnet34" + STEM, torchvision("resnet34")),
    photographs("torchvision", "resnet101" + STEM, torchvision("resnet101")),
    photographs("torchvision", "resnet152" + STEM, torchvision("resnet152")),
    photographs("torchvision", "resnext-101-32x8d" + STEM, torchvision("resnext101_32x8d")),
    photographs("torchvision", "resnext-101-64x4d" + STEM, torchvision("resnext101_64x4d")),
    photographs("torchvision", "wide-resnet-101-2" + STEM, torchvision("wide_resnet101_2")),
    photographs("torchvision", "densenet161" + STEM, torchvision("densenet161")),
    photographs("torchvision", "densenet169" + STEM, torchvision("densenet169")),
    photographs("torchvision", "densenet201" + STEM, torchvision("densenet201")),
    *(
        photographs("torchvision", f"vgg{depth}{norm}:head=imagenet", torchvision(f"vgg{depth}{norm.replace('-', '_')}"), 224)
        for depth in (13, 16, 19)
        for norm in ("", "-bn")
    ),
    photographs("timm", "resnet18" + STEM, timm("resnet18")),
    photographs("timm", "resnext-50-32x4d" + STEM, timm("resnext50_32x4d")),
    photographs("timm", "wide-resnet-50-2" + STEM, timm("wide_resnet50_2")),
    photographs("timm", "vgg16:head=imagenet", timm("vgg16"), 224),
    photographs("timm", "dpn98" + STEM, timm_dpn("dpn98")),
    photographs("timm", "dpn107" + STEM, timm_dpn("dpn107")),
    photographs("timm", "dpn131" + STEM, timm_dpn("dpn131")),
    photographs("cadene", "resnet18" + STEM, cadene("resnet18")),
    photographs("cadene", "vgg16-bn:head=imagenet", cadene("vgg16_bn"), 224),
    photographs("cadene", "dpn68b" + STEM, cadene("dpn68b")),
    photographs("cadene", "dpn92" + STEM, cadene("dpn92")),
]

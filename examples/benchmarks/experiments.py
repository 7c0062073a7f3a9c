"""What is trained for the results: lists of experiments, each a network and a recipe.

Lists whose name ends in "choices" learn from 55,000 images and are read off the other 5,000 of the
training set; what won there is what the other lists train on all 60,000 and measure on the test
set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import fashion
import objectives
from jobs import WIDE, Job

from mnist_data import Affine
from recipes import GENTLE, MILD, RECIPES, Recipe

DEFAULT, REPORT, LONG, SHORT, SMALL = (
    RECIPES[name] for name in ("default", "report", "long", "short", "small")
)
FULL = replace(DEFAULT, early=0.0)
WEAK = Affine(degrees=5, scale=0.05, shift=1.0, shear=2)
STRONG = Affine(degrees=12, scale=0.12, shift=2.5, shear=8)
NONE = Affine()

# ---------------------------------------------------------------------------- chosen by


def default_recipe() -> Iterable[Job]:
    """How often and how far images are cropped, and what else was tried at five epochs."""
    crops = {
        "24 pixels for 4 epochs": DEFAULT,
        "24 pixels for 3 epochs": replace(DEFAULT, early=0.6),
        "22 pixels for 4 epochs": replace(DEFAULT, early_side=22),
        "22 pixels for 3 epochs": replace(DEFAULT, early=0.6, early_side=22),
        "full size": FULL,
    }
    variants = {
        "full size, 3 epochs": replace(FULL, epochs=3),
        "full size, 4 epochs": replace(FULL, epochs=4),
        "full size, peak learning rate 0.1": replace(FULL, lr=0.1),
        "full size, peak learning rate 0.4": replace(FULL, lr=0.4),
        "full size, no augmentation": replace(FULL, augment=NONE),
        "report": REPORT,
        "report without momentum": replace(REPORT, momentum=0.0),
    }
    for name, recipe in (crops | variants).items():
        seeds = 8 if name in crops else 4
        yield Job(name, "s6", recipe, seeds, held_out=True, amp=False)


TWENTY = replace(SMALL, epochs=20)
EARLIER_SHAPES = """
c8 ds16 ds16 p ds16 ds16 ds16 gap10
c4p1 c4p1 c4p1 p c8p1 c8p1 p c8p1 c8p1 c8p1 gap10
c16p1 ds16p1 ds16p1 p ds16p1 ds16p1 p ds16p1 gap10
c16 ds16 ds16 p ds16 ds16 ds16 gap10
c6 c6 p c8 c8 p c8p1 c10p1 gap10
c8 ds16 ds16 p ds16 ds16 p ds16p1 gap10
c8 ds16 p ds16 ds16 p ds16p1 ds20p1 gap10
c12 ds12 ds12 ds12 p ds16 ds16 ds16 gap10
c12 ds12 ds12 ds12 p ds12 ds12 ds12 ds16 gap10
c4 c8 c8 p c8 c8 c8 gap10
c4p1 c4p1 c8p1 p c8p1 c8p1 p c8p1 c8p1 gap10
c4 c4 p c8 c8 p c8p1 c12p1 gap10
c6 c6 c6 p c8 c8 c8 gap10
c8 c8 c8 p c8 c8 gap10
c8 p c8 c8 c8 p c8 gap10
c6p1 c8p1 c8p1 c8p1 p c8p1 c8p1 gap10
c4 c4 c4 p c8p1 c8p1 p c8p1 c8p1 gap10
c8 c8 p c8 c8 p c8p1 gap10
c6 c6 c6 p c6 c6 p c6p1 c10p1 gap10
c4 c6 c8 c8 p c8 c8 gap10
c6p1 c6p1 c6p1 c6p1 p t6 c6p1 c6p1 c6p1 c6p1 p t6 c6p1 gap10
"""
LATER_SHAPES = """
c8 ds16 ds16 p ds16 ds16 ds16 ds16 gap10
c8 ds12 ds12 ds12 p ds16 ds16 ds16 gap10
c8 ds16 ds16 ds16 p ds16 ds16 ds16 gap10
c6 ds12 ds12 p ds16 ds16 ds20 gap10
c8 ds14 ds14 p ds18 ds18 ds18 gap10
c10 ds20 ds20 p ds16 ds16 ds16 gap10
c8 ds16 p ds16 ds16 ds16 ds16 gap10
c8 ds16 p ds16 ds16 ds20 p ds20 gap10
c8 ds12k5 ds12k5 p ds16k5 ds16k5 gap10
c8 ds16k5 p ds16k5 ds20k5 gap10
c8k5 ds16 p ds16 ds16 ds20 gap10
c8 c16g8-act c16k1 c16g16-act c16k1 p c16g16-act c16k1 c16g16-act c16k1 c16g16-act c16k1 gap10
c8 c16g8-bn-act c16k1 c16g16-bn-act c16k1 p c16g16-bn-act c16k1 c16g16-bn-act c16k1 c16g16-bn-act c16k1 gap10
c8 c8g8-bn-act c16k1 c16g16-bn-act c16k1 p c16g16-bn-act c16k1 c16g16-bn-act c16k1 c16g16-bn-act c16k1 gap10
c4 ds16 ds16 p ds16 ds16 ds16 gap10
c8 c8 ds16 p ds16 ds16 ds16 gap10
c6 c8 ds14 p ds16 ds16 ds16 gap10
c8 ds16 ds16 p t8 ds24 t8 ds24 t8 ds24 gap10
c8p1 ds16p1 ds16p1 p ds16p1 ds16p1 p ds16p1 ds16p1 gap10
c16 c16g4 c16g4 p c16g4 c16g4 gap10
"""  # noqa: E501  # a network a line


def shapes() -> Iterable[Job]:
    """Networks of 2,100 to 3,100 parameters, by the same recipe."""
    for text, amp in ((EARLIER_SHAPES, False), (LATER_SHAPES, True)):
        for spec in text.strip().splitlines():
            yield Job(spec, spec, TWENTY, seeds=2, held_out=True, amp=amp)


def small_recipes() -> Iterable[Job]:
    distilled = replace(TWENTY, distill=0.9, temperature=4.0)
    variants = {
        "20 epochs": TWENTY,
        "peak rate 0.1": replace(TWENTY, lr=0.1),
        "peak rate 0.4": replace(TWENTY, lr=0.4),
        "stronger augmentation": replace(TWENTY, augment=MILD),
        "weaker augmentation": replace(TWENTY, augment=Affine(4, 0.03, 0.7, 2)),
        "augmentation fades over the last 30 %": replace(TWENTY, fade=0.3),
        "weight decay 1e-4": replace(TWENTY, weight_decay=1e-4),
        "label smoothing 0.05": replace(TWENTY, label_smoothing=0.05),
        "batch 64, peak rate 0.1": replace(TWENTY, batch_size=64, lr=0.1),
        "batch 64": replace(TWENTY, batch_size=64),
        "60 epochs": SMALL,
        "60 epochs, peak rate 0.4": replace(SMALL, lr=0.4),
        "teacher 0.5, temperature 2": replace(TWENTY, distill=0.5, temperature=2.0),
        "teacher 0.9, temperature 4": distilled,
        "teacher 0.9, stronger augmentation": replace(distilled, augment=MILD),
        "teacher 0.9, peak rate 0.4": replace(distilled, lr=0.4),
        "60 epochs, teacher 0.9": replace(distilled, epochs=60),
    }
    for name, recipe in variants.items():
        teacher = "teacher, 55,000 images" if recipe.distill else ""
        yield Job(name, "dsnet16", recipe, seeds=3, held_out=True, teacher=teacher)


def short_recipes() -> Iterable[Job]:
    """One and two epochs of s6."""
    two = replace(FULL, epochs=2)
    variants = {
        "peak rate 0.1": replace(two, lr=0.1),
        "peak rate 0.2": two,
        "peak rate 0.4": replace(two, lr=0.4),
        "peak rate 0.8": replace(two, lr=0.8),
        "weak augmentation": replace(two, augment=WEAK),
        "no augmentation": replace(two, augment=NONE),
        "weak augmentation, peak rate 0.4": replace(two, lr=0.4, augment=WEAK),
        "augmentation fades over the last half": replace(two, fade=0.5),
        "warm-up 0.4": replace(two, warm_up=0.4),
        "warm-up 0.1": replace(two, warm_up=0.1),
        "weight decay 5e-4": replace(two, weight_decay=5e-4),
        "shifts only": replace(two, augment=Affine(shift=1.0)),
        "averaged weights, decay 0.99 a step": replace(two, ema=0.99),
        "batch 64, peak rate 0.1": replace(two, batch_size=64, lr=0.1),
        "batch 64": replace(two, batch_size=64),
        "batch 64, peak rate 0.1, weak augmentation": replace(
            two, batch_size=64, lr=0.1, augment=WEAK
        ),
        "batch 32, peak rate 0.1": replace(two, batch_size=32, lr=0.1),
        "first epoch at 24 pixels": replace(two, early=0.5, early_side=24),
        "first epoch at 22 pixels": replace(two, early=0.5, early_side=22),
    }
    for name, recipe in variants.items():
        yield Job(f"2 epochs, {name}", "s6", recipe, seeds=4, held_out=True)
    closer = {
        "peak rate 0.2": two,
        "weak augmentation": replace(two, augment=WEAK),
        "peak rate 0.3": replace(two, lr=0.3),
        "peak rate 0.15, weak augmentation": replace(two, lr=0.15, augment=WEAK),
        "label smoothing 0.1": replace(two, label_smoothing=0.1),
        "warm-up 0.3": SHORT,
    }
    for name, recipe in closer.items():
        yield Job(f"2 epochs again, {name}", "s6", recipe, seeds=6, held_out=True)
    one = replace(FULL, epochs=1)
    plain = replace(one, augment=NONE)
    variants = {
        "peak rate 0.2": one,
        "weak augmentation": replace(one, augment=WEAK),
        "label smoothing 0.1": replace(one, label_smoothing=0.1),
        "no augmentation": plain,
        "no augmentation, batch 64": replace(plain, batch_size=64),
        "weak augmentation, batch 64": replace(one, augment=WEAK, batch_size=64),
        "weak augmentation, batch 32, peak rate 0.1": replace(
            one, augment=WEAK, batch_size=32, lr=0.1
        ),
    }
    for name, recipe in variants.items():
        yield Job(f"1 epoch, {name}", "s6", recipe, seeds=4, held_out=True)


def muon_choices() -> Iterable[Job]:
    """Two epochs of s6 by Muon: the rate of its steps."""
    for name, rate in (("SGD", 0.0), ("0.02", 0.02), ("0.05", 0.05), ("0.1", 0.1)):
        yield Job(name, "s6", replace(SHORT, matrix_lr=rate), seeds=4, held_out=True)


TAUGHT = {"distill": 0.5, "temperature": 2.0}


def long_recipes() -> Iterable[Job]:
    """Twenty epochs of s6."""
    mild = replace(LONG, lr=0.2, augment=MILD)
    base, strong = replace(mild, augment=GENTLE), replace(mild, augment=STRONG)
    variants = {
        "peak rate 0.2": base,
        "peak rate 0.1": LONG,
        "peak rate 0.4": replace(base, lr=0.4),
        "stronger augmentation": mild,
        "strong augmentation": strong,
        "stronger augmentation, faded": replace(mild, fade=0.3),
        "strong augmentation, faded": replace(strong, fade=0.3),
        "stronger augmentation, weight decay 5e-4": replace(mild, weight_decay=5e-4),
        "teacher, stronger augmentation": replace(mild, **TAUGHT),
        "teacher": replace(base, **TAUGHT),
        "teacher, peak rate 0.4": replace(base, lr=0.4, **TAUGHT),
        "teacher, batch 64, peak rate 0.1": RECIPES["distilled"],
    }
    for name, recipe in variants.items():
        teacher = "teacher, 55,000 images" if recipe.distill else ""
        yield Job(name, "s6", recipe, seeds=2, held_out=True, teacher=teacher)


SEVERAL = "several teachers"
TOGETHER = RECIPES["distilled"]


def elastic(recipe: Recipe, pixels: float, *, fade: float = 0.0) -> Recipe:
    return replace(recipe, augment=replace(recipe.augment, elastic=pixels), fade=fade)


def together_recipes() -> Iterable[Job]:
    """Twenty epochs of s6 with three teachers, and what may help beside them."""
    by_muon = replace(TOGETHER, matrix_lr=0.05)
    variants = {
        "SGD": TOGETHER,
        "SGD, teachers 0.8": replace(TOGETHER, distill=0.8),
        "SGD, elastic 1": elastic(TOGETHER, 1.0),
        "Muon 0.05": by_muon,
        "Muon 0.02": replace(TOGETHER, matrix_lr=0.02),
        "Muon 0.05, elastic 1": elastic(by_muon, 1.0),
        "Muon 0.05, elastic 2, faded": elastic(by_muon, 2.0, fade=0.5),
        "Muon 0.05, averaged weights": replace(by_muon, ema=0.999),
    }
    taught = {"teacher": f"{SEVERAL}, 55,000 images", "teachers": 3}
    for name, recipe in variants.items():
        yield Job(name, "s6", recipe, seeds=3, held_out=True, **taught)


# ---------------------------------------------------------------------------- measured


def findings() -> Iterable[Job]:
    """The claims of the report, each by the same five epochs at full size."""
    s6 = "c16 c16 c16 c16 p c16 c16 c16 gap10"
    bare = s6.replace("c16", "c16-bn").replace("gap10", "gap10-bn")
    dense = ["c8p1"] * 12 + ["p"] + ["c8p1"] * 6 + ["c8"] * 5 + ["gap10"]

    def pool_after(count: int) -> str:
        return " ".join(["c16"] * count + ["p"] + ["c16"] * (7 - count) + ["gap10"])

    networks = {
        "s6": s6,
        "last BatchNorm removed": s6 + "-bn",
        "no BatchNorm": bare,
        **{f"pool after {k}": pool_after(k) for k in (1, 2, 3, 5, 6, 7)},
        "no pool": s6.replace(" p", ""),
        "first kernel 5": s6.replace("c16", "c16k5", 1),
        "first kernel 7": s6.replace("c16", "c16k7", 1),
        "widest 8": " ".join(dense),
        "widest 32": "c16 c32 c32 p gap10",
        "widest 32, pool inside": "c16 p c32 c32 gap10",
    }
    for name, spec in networks.items():
        yield Job(name, spec, FULL, seeds=3)
    recipes = {
        "constant rate 0.2": replace(FULL, schedule="constant"),
        "constant rate 0.05": replace(FULL, schedule="constant", lr=0.05),
        "no augmentation": replace(FULL, augment=NONE),
        "rotation only": replace(FULL, augment=Affine(degrees=MILD.degrees)),
        "shift only": replace(FULL, augment=Affine(shift=MILD.shift)),
    }
    later = {  # on a CPU, and there in float32
        "scale only": replace(FULL, augment=Affine(scale=MILD.scale)),
        "shear only": replace(FULL, augment=Affine(shear=MILD.shear)),
        "averaged weights": replace(FULL, ema=0.99),
    }
    for name, recipe in (recipes | later).items():
        yield Job(name, s6, recipe, seeds=3, amp=name not in later)
    for rate in (0.05, 0.02):
        yield Job(f"no BatchNorm, peak rate {rate}", bare, replace(FULL, lr=rate), seeds=3)
    for share in (0.05, 0.1):
        yield Job(f"dropout {share}", s6, FULL, seeds=3, dropout=share)


def fewest() -> Iterable[Job]:
    """The shape of the dsnets, narrower: how few parameters reach 99.0 %."""
    for width in (8, 10):
        ds = f"ds{width}"
        spec = f"c{width // 2} {ds} {ds} p {ds} {ds} {ds} gap10"
        yield Job(f"dsnet{width}", spec, SMALL, seeds=5, keep=True)


def teachers() -> Iterable[Job]:
    """What others learn from: networks of ten times their size."""
    mild = replace(LONG, lr=0.2, augment=MILD)
    yield Job("teacher, 55,000 images", WIDE, mild, 1, held_out=True, keep=True, amp=False)
    yield Job("teacher", WIDE, mild, 1, keep=True)
    yield Job(f"{SEVERAL}, 55,000 images", WIDE, mild, 3, held_out=True, keep=True)
    yield Job(SEVERAL, WIDE, mild, 3, keep=True)
    yield from fashion.teachers()


def report() -> Iterable[Job]:
    for name in ("s6", "s6_exp1", "s6_exp2", "s6_exp3"):
        yield Job(name, name, REPORT, seeds=3, amp=False)


def frontier() -> Iterable[Job]:
    for name in ("dsnet14", "dsnet16", "dsnet34", "dsnet38"):
        yield Job(name, name, SMALL, seeds=5, keep=True)


def short() -> Iterable[Job]:
    yield Job("1 epoch", "s6", RECIPES["one"], seeds=20, amp=False)
    yield Job("2 epochs", "s6", SHORT, seeds=20, amp=False)
    yield Job("3 epochs", "s6", replace(SHORT, epochs=3), seeds=20, amp=False)


def muon() -> Iterable[Job]:
    """Few and many epochs with Muon."""
    yield Job("3 epochs, Muon", "s6", RECIPES["muon"], seeds=20)
    twenty = replace(LONG, lr=0.2, matrix_lr=0.1)
    yield Job("20 epochs, Muon", "s6", twenty, seeds=5, keep=True)


def long() -> Iterable[Job]:
    taught = RECIPES["distilled"]
    yield Job("20 epochs", "s6", LONG, seeds=5, keep=True)
    yield Job("20 epochs, distilled", "s6", taught, seeds=5, teacher="teacher", keep=True)


# Batch 64 at half the rate, and a light teacher.
SMALL_TOGETHER = replace(SMALL, batch_size=64, lr=0.1, **TAUGHT)
BELOW_2000 = "c4 ds12 ds12 p ds16 ds16 ds16 gap10"
EVEN = "c4 ds14 ds14 p ds14 ds14 ds14 gap10"


def size_choices() -> Iterable[Job]:
    """Whether images are bent, for few parameters; and where 2,000 of them are best spent."""
    twenty = replace(TWENTY, batch_size=64, lr=0.1)
    variants = {
        "dsnet24_40": ("dsnet24_40", twenty),
        "dsnet24_40, elastic 1": ("dsnet24_40", elastic(twenty, 1.0)),
        "dsnet24_40, elastic 2, faded": ("dsnet24_40", elastic(twenty, 2.0, fade=0.5)),
        "14 channels": (EVEN, twenty),
        "14 channels, elastic 0.7, faded": (EVEN, elastic(twenty, 0.7, fade=0.5)),
        "below 2,000": (BELOW_2000, twenty),
    }
    for name, (spec, recipe) in variants.items():
        yield Job(name, spec, recipe, 2, held_out=True)


def sizes() -> Iterable[Job]:
    """Shapes of three sizes with all that helps."""
    bent = elastic(replace(SMALL_TOGETHER, epochs=40), 2.0, fade=0.5)
    less = elastic(bent, 0.7, fade=0.5)
    for name in ("dsnet24_40", "dsnet40"):
        yield Job(name, name, bent, 5, teacher=SEVERAL, keep=True)
    yield Job("below 2,000", BELOW_2000, less, 5, teacher=SEVERAL, keep=True)


def together() -> Iterable[Job]:
    """Twenty epochs of s6 with all that helps."""
    recipe = RECIPES["elastic"]
    yield Job("20 epochs, no teacher", "s6", recipe, 5)
    taught = replace(recipe, **TAUGHT)
    yield Job("20 epochs, three teachers", "s6", taught, 5, teacher=SEVERAL, teachers=3, keep=True)


def trial() -> Iterable[Job]:
    """Some seconds: to see that the machines of a sweep work, and for tests."""
    recipe = replace(FULL, epochs=1, batch_size=32)
    for name, width in (("narrow", 8), ("wide, kept", 12)):
        spec = f"c4 p c{width} gap10"
        yield Job(name, spec, recipe, 2, dataset="digits", keep=width > 8, amp=False)


# Functions, since some ask the designer first.
LISTS: dict[str, Callable[[], Iterable[Job]]] = {
    "teachers": teachers,
    "default_choices": default_recipe,
    "default": lambda: [Job("default", "s6", DEFAULT, seeds=20, amp=False)],
    "report": report,
    "shape_choices": shapes,
    "small_choices": small_recipes,
    "short_choices": short_recipes,
    "muon_choices": muon_choices,
    "long_choices": long_recipes,
    "together_choices": together_recipes,
    "together": together,
    "size_choices": size_choices,
    "sizes": sizes,
    "frontier": frontier,
    "fewest": fewest,
    "short": short,
    "muon": muon,
    "long": long,
    "findings": findings,
    "objective_runs": objectives.jobs,
    "fashion_shapes": fashion.shapes,
    "fashion_choices": fashion.recipes,
    "fashion": fashion.measured,
    "fashion_s6_choices": fashion.recipes_for_s6,
    "fashion_s6": fashion.s6,
    "trial": trial,
}

# The ways to 99.4 % that benchmarks/training.py times.
MUON_TWO = replace(SHORT, matrix_lr=0.1)
TO_TARGET = [
    Job("s6, 2 epochs", "s6", SHORT, seeds=5, amp=False),
    Job("s6, 2 epochs, Muon, bfloat16", "s6", MUON_TWO, seeds=5),
    Job("the same, first epoch at 24 pixels", "s6", replace(MUON_TWO, early=0.5, early_side=24), 5),
]

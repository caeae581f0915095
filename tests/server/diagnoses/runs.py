"""Runs that are as they should be, of many shapes, and faulty ones, each fault several ways."""

from server.fine_tuning.diagnoses.finding import Diagnosis
from tests.curves import Run, falling, line, stairs

HEALTHY = {
    "an ordinary one": Run(falling(1.8, 1.0)),
    "with a validation file": Run(falling(1.8, 1.0), valid=falling(1.85, 1.1)),
    "noisy": Run(falling(1.8, 1.0), noise=0.4, valid=falling(1.8, 1.1)),
    "noisy, one example a step": Run(falling(2.5, 1.2), batch=1, noise=0.7, steps=300),
    "very noisy, one example a step, long": Run(falling(2.5, 1.2), batch=1, noise=1.0, steps=3000),
    "short": Run(falling(2.0, 0.9, tau=0.2), steps=24, epochs=3, batch=16),
    "shorter than twenty steps, and learnt": Run(falling(3.0, 0.3, tau=0.2), steps=12, epochs=3),
    "short and noisy": Run(falling(2.0, 0.9), steps=30, epochs=3, noise=0.4),
    "long": Run(falling(2.2, 1.7, tau=0.1), steps=10_000, epochs=1, noise=0.2),
    "long, falling a little": Run(falling(2.2, 2.0, tau=0.1), steps=4_000, epochs=1, noise=0.2),
    "one epoch by a power law": Run(lambda share: 1.6 * (share * 1000 + 1) ** -0.05, steps=1000, epochs=1),
    "ten epochs of ten examples": Run(falling(2.5, 0.6), steps=100, epochs=10, batch=1, noise=0.4),
    "an easy task, with a validation file": Run(
        falling(3.0, 0.0005, tau=0.03), steps=500, epochs=4, batch=4, valid=falling(3.0, 0.0006, tau=0.03)
    ),
    "an easy task, the validation loss not quite as low": Run(
        falling(3.0, 0.0002, tau=0.03), steps=500, epochs=4, batch=4, noise=0.5, valid=falling(3.0, 0.02, tau=0.03)
    ),
    "an easy task, many epochs, no validation file": Run(
        falling(3.0, 0.0005, tau=0.01), steps=600, epochs=6, batch=1, noise=0.5
    ),
    "an easy task on few examples, known before they were seen twice": Run(
        falling(3.0, 0.001, tau=0.02), steps=400, epochs=5, batch=1, noise=0.5
    ),
    "three epochs in stairs": Run(stairs(1.2, 0.9, 0.65, first=1.5), valid=stairs(1.25, 1.2, 1.22, first=1.6)),
    "three epochs in stairs, no validation file": Run(stairs(1.2, 0.9, 0.65, first=1.5)),
    "two epochs in stairs": Run(stairs(1.3, 1.05, first=1.9), epochs=2),
    "five epochs in stairs, noisy": Run(stairs(1.4, 1.1, 0.95, 0.85, 0.8, first=2.2), epochs=5, noise=0.3),
    "a worse epoch in between": Run(
        stairs(1.2, 1.0, 0.9, first=1.6), valid=line((0.0, 1.6), (0.33, 1.0), (0.66, 1.12), (1.0, 0.98))
    ),
    "a validation loss that flattens": Run(falling(1.8, 0.9), valid=falling(1.8, 1.2, tau=0.05)),
    "a validation loss that rises a little": Run(
        falling(1.8, 0.8), epochs=3, valid=line((0.0, 1.8), (0.3, 1.2), (1.0, 1.26))
    ),
    "training that goes on from a trained model": Run(falling(0.05, 0.03), noise=0.5),
    "training that goes on, jolted by the warm-up": Run(
        line((0.0, 0.03), (0.05, 0.09), (0.3, 0.03), (1.0, 0.02)), noise=0.3
    ),
    "a small fall, over at once": Run(falling(1.3, 1.2, tau=0.03), steps=1000, epochs=1),
    "a small fall, over at once, large batches": Run(falling(1.3, 1.2, tau=0.03), steps=200, epochs=1, noise=0.03),
    "a small fall in each of three epochs": Run(stairs(1.2, 1.15, 1.12, first=1.3), noise=0.05),
    "an easy task, hardly worth another epoch": Run(
        falling(3.2, 0.09, tau=0.12), steps=30, epochs=2, valid=stairs(0.176, 0.101, first=3.0)
    ),
    "gradients clipped throughout": Run(falling(2.0, 1.0), norm=lambda _: 6.0),
    "gradients that grow as a LoRA wakes": Run(falling(2.0, 1.0), norm=line((0.0, 0.2), (0.1, 1.5), (1.0, 2.0))),
    "a bump in the middle": Run(line((0.0, 2.0), (0.3, 1.2), (0.4, 1.3), (0.5, 1.15), (1.0, 1.0))),
    "few validation examples, scattered": Run(
        falling(1.8, 1.0), noise=0.3, n_valid=8, valid=line((0.0, 1.8), (0.3, 1.1), (0.6, 1.2), (1.0, 1.25))
    ),
    "a harder validation file that learns along": Run(falling(1.8, 0.8), valid=falling(2.6, 1.9)),
}

FAULTY: dict[Diagnosis, dict[str, Run]] = {
    Diagnosis.LEARNING_RATE_TOO_HOT: {
        "rises during warm-up": Run(line((0.0, 2.0), (0.02, 2.2), (0.08, 6.0), (1.0, 5.0))),
        "falls, then jumps in the first third": Run(line((0.0, 2.5), (0.15, 1.0), (0.25, 1.0), (0.3, 2.3), (1.0, 2.2))),
        "creeps up": Run(line((0.0, 2.0), (0.35, 3.0), (1.0, 3.5)), noise=0.15),
        "one example a step": Run(line((0.0, 2.0), (0.1, 7.0), (1.0, 5.0)), batch=1, noise=0.35),
        "short": Run(line((0.0, 2.0), (0.3, 6.0), (1.0, 5.0)), steps=24),
        "long": Run(line((0.0, 2.0), (0.03, 2.0), (0.1, 4.5), (1.0, 4.0)), steps=8_000, epochs=1),
        "very short, exploding in its third step": Run(
            line((0.0, 3.0), (0.08, 2.5), (0.12, 14.0), (0.3, 11.0), (1.0, 4.5)), steps=25, epochs=1
        ),
        "very short, exploding in its second step": Run(
            line((0.0, 3.0), (0.06, 3.0), (0.12, 12.0), (0.3, 11.0), (1.0, 5.0)), steps=16, epochs=1, noise=0.05
        ),
        "spikes": Run(lambda share: 8.0 if int(share * 300) % 40 == 39 else 1.0 + 0.8 * (1 - share), noise=0.1),
        "gradients explode, nothing is learnt": Run(
            lambda _: 2.0, norm=line((0.0, 1.0), (0.1, 1.5), (0.4, 60.0), (1.0, 500.0))
        ),
    },
    Diagnosis.LOSS_NOT_FALLING: {
        "flat": Run(lambda _: 2.0, noise=0.03),
        "flat and noisy": Run(lambda _: 2.0, noise=0.1, steps=3000),
        "flat in one epoch": Run(lambda _: 2.0, steps=1000, epochs=1, noise=0.04),
        "flat, many epochs of few examples": Run(lambda _: 1.3, epochs=8, steps=80, batch=2, noise=0.015),
        "hardly falling": Run(line((0.0, 2.0), (1.0, 1.99)), steps=600, noise=0.03),
    },
    Diagnosis.LOSS_RISES_AGAIN: {
        "from the middle on": Run(line((0.0, 2.0), (0.5, 1.0), (0.7, 1.0), (1.0, 1.8))),
        "near the end": Run(line((0.0, 2.5), (0.6, 0.8), (0.8, 0.8), (1.0, 1.6)), noise=0.2),
        "by a step": Run(line((0.0, 2.0), (0.5, 0.9), (0.7, 0.9), (0.71, 1.5), (1.0, 1.5))),
        "with the validation loss": Run(
            line((0.0, 2.0), (0.5, 1.0), (0.7, 1.0), (1.0, 1.8)), valid=line((0.0, 2.0), (0.6, 1.1), (1.0, 2.0))
        ),
    },
    Diagnosis.OVERFITTING: {
        "classic": Run(falling(2.0, 0.2, tau=0.3), epochs=5, valid=line((0.0, 2.0), (0.4, 1.2), (1.0, 1.9))),
        "slow": Run(falling(1.8, 0.5, tau=0.3), epochs=8, valid=line((0.0, 1.8), (0.3, 1.1), (1.0, 1.35))),
        "noisy": Run(falling(2.0, 0.1, tau=0.2), epochs=6, noise=0.5, valid=line((0.0, 2.0), (0.3, 1.0), (1.0, 2.0))),
        "in two epochs": Run(stairs(1.0, 0.4, first=1.8), epochs=2, valid=line((0.0, 1.8), (0.5, 1.1), (1.0, 1.5))),
        "in one epoch": Run(falling(2.0, 0.5), epochs=1, noise=0.05, valid=line((0.0, 2.0), (0.3, 1.0), (1.0, 2.2))),
        "few validation examples": Run(
            falling(2.0, 0.1), epochs=6, n_valid=8, valid=line((0.0, 2.0), (0.3, 1.0), (1.0, 2.2))
        ),
    },
    Diagnosis.MEMORISED: {
        "a gap": Run(
            falling(2.0, 0.001), epochs=6, batch=2, steps=120, valid=lambda _: 1.2, valid_accuracy=lambda _: 0.7
        ),
        "a gap, a large file": Run(
            falling(2.0, 0.0005), epochs=10, steps=2000, valid=falling(2.0, 1.0), valid_accuracy=lambda _: 0.8
        ),
        "few examples, many epochs, nobody looked": Run(falling(2.5, 0.001, tau=0.15), epochs=10, batch=1, steps=200),
        "twenty examples, noisy": Run(falling(3.0, 0.001, tau=0.12), epochs=15, batch=2, steps=150, noise=0.5),
    },
    Diagnosis.VALIDATION_FLAT: {
        "from the first": Run(falling(2.0, 0.8), valid=lambda _: 2.0, noise=0.03),
        "another kind of text": Run(falling(2.0, 1.0), valid=lambda _: 3.5, noise=0.03),
        "one epoch": Run(falling(2.5, 1.0), epochs=1, valid=line((0.0, 2.6), (1.0, 2.55)), noise=0.02),
        "many epochs": Run(falling(2.0, 0.9), noise=0.03, steps=600, epochs=10, valid=line((0.0, 2.15), (1.0, 2.15))),
    },
    Diagnosis.TOO_FEW_STEPS: {
        "two steps": Run(line((0.0, 2.0), (1.0, 1.9)), steps=2, epochs=1),
        "twelve steps": Run(line((0.0, 2.5), (1.0, 1.8)), steps=12, epochs=3),
        "sixteen noisy steps": Run(line((0.0, 2.0), (1.0, 1.6)), steps=16, epochs=2, noise=0.2),
        "on its way when it ended": Run(line((0.0, 3.0), (0.4, 2.0), (0.7, 1.4), (1.0, 1.3)), steps=60, epochs=1),
        "three epochs on their way": Run(
            line((0.0, 3.0), (0.3, 2.6), (0.7, 2.1), (1.0, 2.0)), noise=0.02, steps=90, epochs=3
        ),
        "the validation loss on its way": Run(
            line((0.0, 3.0), (1.0, 1.2)), epochs=4, valid=line((0.0, 3.0), (1.0, 1.3))
        ),
    },
}

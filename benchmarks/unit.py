"""The unit of work of this machine, so that timings can be compared between machines.

One unit is the best of five forward and inverse real FFTs of a 4096 x 4096 float32 image on one thread.
Run alone it prints the seconds: ``python benchmarks/unit.py``.
"""

from __future__ import annotations

import time

import numpy as np
import scipy.fft


def machine_unit(size: int = 4096, repeats: int = 5) -> float:
    """Seconds of one unit; other sizes are for tests."""
    image = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        scipy.fft.irfft2(scipy.fft.rfft2(image, workers=1), s=image.shape, workers=1)
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    print(f"{machine_unit():.4f}")

"""Match and subtract two exposures without files: match_in_python.py [SEED]"""

import sys

import numpy as np

from psfmatch_cli.exposure import Box
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.settings import load_settings
from psfmatch_cli.simulate import preset, simulate_pair


def main(seed: int) -> None:
    """Subtract a simulated pair and compare the fluxes of what changed with the truth."""
    pair = simulate_pair(preset("demo", seed=seed))
    task = ImagePsfMatchTask(load_settings(None, ["kernel.spatial_kernel_order=1"]))
    result = task.subtract_exposures(pair.template, pair.science)
    print(f"kernel sum {result.summary['kernel_sum']:.3f}, true flux ratio {pair.config.flux_ratio}")

    difference = result.subtracted_exposure.masked_image
    radius = int(2 * pair.config.science_fwhm)
    inside = Box(radius, radius, difference.box.x_max - radius, difference.box.y_max - radius)
    for source in pair.transients[pair.transients["snr"] > 20]:
        x, y = round(source["x"]), round(source["y"])
        if not inside.contains(x, y):
            continue
        box = difference.cutout(Box(x - radius, y - radius, x + radius, y + radius))
        if not box.flagged(["NO_DATA", "SAT", "BAD", "CR"]).any():
            print(f"x {x:4d} y {y:4d}: flux {np.sum(box.image):9.0f} counts, true {source['flux']:9.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)

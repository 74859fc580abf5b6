"""List what was found in a difference beside what is true: compare_with_truth.py FOUND TRUTH

FOUND is a table of psfmatch detect, TRUTH the truth.ecsv of psfmatch demo.
"""

import sys

import numpy as np

from psfmatch_cli.tables import read_table

#: Pixels within which a detection is taken for the true source; the PSF of the demo is 4.6 pixels wide.
TOLERANCE = 3.0


def main(found_file: str, truth_file: str) -> None:
    """Print one line per detection, and how many of the true sources are among them."""
    found, truth = read_table(found_file), read_table(truth_file)
    flags = [name for name in found.colnames if name.startswith("flag_")]
    recovered, others = set(), 0
    print("     x      y  significance  true S/N  flags")
    for source in found:
        distance = np.hypot(truth["x"] - source["x"], truth["y"] - source["y"])
        nearest = int(np.argmin(distance))
        if distance[nearest] < TOLERANCE:
            recovered.add(nearest)
            snr = f"{truth['snr'][nearest]:9.1f}"
        else:
            others += 1
            snr = "        -"
        raised = " ".join(name.removeprefix("flag_") for name in flags if source[name])
        print(f"{source['x']:6.1f} {source['y']:6.1f} {source['snr']:13.1f} {snr}  {raised}".rstrip())
    print(f"{len(recovered)} of {len(truth)} changed sources found, {others} other detections")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Many pairs of images: what is to be done, who does it, and what came of it.

`Job` is the unit, one pair of one extension; `run_local` and `run_cluster` have jobs done by processes of this machine
and by a Dask cluster, and give an `Outcome` of each as it comes; `Journal` is the log of a folder of outputs, which is
at the same time the state that a second run goes on from.
"""

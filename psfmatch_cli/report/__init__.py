"""The report of a difference: one HTML page with pictures, that needs no other file and no network.

`psfmatch_cli.report.page.make_page` takes a `psfmatch_cli.report.subject.Subject` and returns the page. Each section is
a module: `panels`, `stamps`, `residuals`, `candidates`, `kernels`, `changes`, `numbers`. Pictures are PNGs of `png`
with the one palette of `colors`, charts are SVG of `charts`. All text passes `markup`, which escapes it.
"""

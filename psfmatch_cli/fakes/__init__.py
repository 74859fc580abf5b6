"""A trial of a subtraction with injected sources: what it finds of them, and how well it measures them.

``place`` draws places and fluxes, ``inject`` adds the sources to the science image, ``score`` compares what the
difference shows with what was put in, ``plot`` draws it, and ``trial`` is all of that in order.
"""

"""The parts of the simulator: settings, catalogue, optics and detector."""

"""The version of psfmatch; the build and every output read it here."""

__version__ = "0.1.0"

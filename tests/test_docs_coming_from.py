"""The pages for users of other programs leave none of their names out, and name tests that there are."""

import ast
import re

import pytest

from doc_pages import GUIDE, ROOT, code, rows, sections
from psfmatch_cli.image_psf_match import ImagePsfMatchTask
from psfmatch_cli.results import SubtractExposuresResult

IP_DIFFIM = GUIDE / "coming_from" / "ip_diffim.rst"
HOTPANTS = GUIDE / "coming_from" / "hotpants.rst"
TABLES = ("The task itself", "Sources and candidates", "Matching", "Subtracting")

_EXPOSURES = ("templateExposure", "scienceExposure", "templateFwhmPix", "scienceFwhmPix", "candidateList")
_EXPOSURES += ("doWarping", "convolveTemplate")
_MASKED = ("templateMaskedImage", "scienceMaskedImage", "candidateList", "templateFwhmPix", "scienceFwhmPix")
#: Methods of the upstream task and their parameters.
METHODS = {
    "ImagePsfMatchTask": ("args", "kwargs"),
    "emptyMetadata": (),
    "getFullMetadata": (),
    "getFullName": (),
    "getName": (),
    "getSelectSources": ("exposure", "sigma", "doSmooth", "idFactory"),
    "getTaskDict": (),
    "makeCandidateList": ("templateExposure", "scienceExposure", "kernelSize", "candidateList"),
    "makeField": ("doc",),
    "makeKernelBasisList": ("targetFwhmPix", "referenceFwhmPix", "basisDegGauss", "basisSigmaGauss", "metadata"),
    "makeSubtask": ("name", "keyArgs"),
    "matchExposures": _EXPOSURES,
    "matchMaskedImages": _MASKED,
    "subtractExposures": _EXPOSURES,
    "subtractMaskedImages": _MASKED,
    "timer": ("name", "logLevel"),
}
_MODELS = ("psfMatchingKernel", "backgroundModel", "kernelCellSet")
#: What they return and raise.
RESULTS = {
    "matchExposures": ("matchedImage", *_MODELS),
    "matchMaskedImages": ("psfMatchedMaskedImage", *_MODELS),
    "subtractExposures": ("subtractedExposure", "matchedImage", *_MODELS),
    "subtractMaskedImages": ("subtractedMaskedImage", "matchedImage", *_MODELS),
}
ERRORS = ("matchExposures raises RuntimeError", "matchMaskedImages raises RuntimeError")
#: Options of hotpants, as its help lists them.
OPTIONS = """
inim tmplim outim tu tuk tl tg tr tp tni tmi iu iuk il ig ir ip ini imi ki r kcs ft sft nft mins mous omi gd nrx nry
rf rkw nsx nsy ssf cmp afssc nss rss savexy c n fom sconv ko bgo ssig ks kfm okn fi fin convvar oni ond nim ndm oci
cim allm nc hki oki sht obs obz nsht nbs nbz ng pca v
"""


def snake(name):
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


@pytest.fixture(scope="module")
def upstream():
    """Rows of the tables of the task's methods."""
    page = sections(IP_DIFFIM)
    return [row for title in TABLES for row in rows(page[title])]


def test_every_method_parameter_result_and_error_of_upstream_has_one_row(upstream):
    named = [name for row in upstream for name in code(row[0])]
    wanted = [*METHODS, *(f"{method}({parameter})" for method, all_of in METHODS.items() for parameter in all_of)]
    wanted += [f"{method} -> {result}" for method, all_of in RESULTS.items() for result in all_of]
    assert sorted(named) == sorted([*wanted, *ERRORS])


def test_what_the_rows_say_is_here_is_here(upstream):
    results = set(SubtractExposuresResult.__dataclass_fields__) | set(dir(SubtractExposuresResult))
    for name, here, *_ in upstream:
        for method in code(name):
            if method in METHODS and method[0].islower():
                assert snake(method) in here
                assert callable(getattr(ImagePsfMatchTask, snake(method)))
            elif " -> " in method and code(here)[0] not in results:
                assert here == "as of ``match_exposures``", name


def test_the_tests_that_prove_it_exist(upstream):
    for row in upstream:
        proofs = code(row[3])
        assert proofs, row[0]
        for proof in proofs:
            path, _, name = proof.partition("::")
            tree = ast.parse((ROOT / path).read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, proof


def test_every_option_of_hotpants_has_one_row():
    named = [option for text in sections(HOTPANTS).values() for row in rows(text) for option in code(row[0])]
    assert sorted(named) == sorted(f"-{option}" for option in OPTIONS.split())

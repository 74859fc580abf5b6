# The steps one by one; a step is repeated only when what it reads is newer than what it made:
#   make -f pipeline.mk TEMPLATE=template.fits SCIENCE=science.fits OUT=results
# A command that fails writes no product, so make never takes half a result for a whole one.

PSFMATCH ?= psfmatch
OUT ?= results
# Options of the steps that read the pair, such as OPTIONS="--template-gain 2 --science-gain 2".
OPTIONS ?=
PAIR := $(TEMPLATE) $(SCIENCE) $(OPTIONS)

.PHONY: all
all: $(OUT)/matched.fits $(OUT)/found.ecsv

$(OUT):
	mkdir -p $@

$(OUT)/sources.ecsv: $(SCIENCE) | $(OUT)
	$(PSFMATCH) detect $(SCIENCE) -o $@ --overwrite

# Candidates may be edited by hand before the next step.
$(OUT)/candidates.ecsv: $(TEMPLATE) $(SCIENCE) $(OUT)/sources.ecsv
	$(PSFMATCH) candidates $(PAIR) --sources $(OUT)/sources.ecsv -o $@ --overwrite

$(OUT)/matched.fits: $(TEMPLATE) $(SCIENCE) $(OUT)/candidates.ecsv
	$(PSFMATCH) match $(PAIR) --sources $(OUT)/candidates.ecsv -o $@ --overwrite

$(OUT)/diff.fits: $(TEMPLATE) $(SCIENCE) $(OUT)/candidates.ecsv
	$(PSFMATCH) subtract $(PAIR) --sources $(OUT)/candidates.ecsv -o $@ --no-matched --overwrite

$(OUT)/found.ecsv: $(OUT)/diff.fits
	$(PSFMATCH) detect $(OUT)/diff.fits -o $@ --sigma 6 --overwrite
